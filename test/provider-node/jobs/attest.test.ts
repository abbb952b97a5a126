import { type Evidence, type Hex, jobNonce, reportData, termsOf } from "@berth/protocol";
import { expect } from "chai";
import pino from "pino";
import type { AttestRequest } from "../../../provider-node/src/attest/attester.ts";
import type { JobTools } from "../../../provider-node/src/core/ports.ts";
import { attestAttempt } from "../../../provider-node/src/jobs/attest.ts";
import type { AttemptRow, JobRow } from "../../../provider-node/src/store/journal.ts";
import { anOffer, aRequest } from "../../support/orders.ts";
import { aSpec } from "../../support/specs.ts";

const deployment = { chainId: 31337, market: `0x${"d".repeat(40)}` } as const;
const operator = anOffer().operator;
const signer = `0x${"e".repeat(40)}` as const;
const [policyHash, wgKey]: Hex[] = [`0x${"6".repeat(64)}`, `0x${"8".repeat(64)}`];
const terms = termsOf(deployment, aRequest({ replicas: 2 }), anOffer(), 1);
const { jobId, specHash } = terms.job;
const digest = "a".repeat(64);

describe("attestAttempt", () => {
  it("binds the evidence to the replica by the job id, the matched offer and the time of the match", async () => {
    const asked: AttestRequest[] = [];
    const evidence = { version: 1 } as unknown as Evidence;
    const tools = {
      self: { operator, index: 0, account: { address: signer }, wgKey },
      deployment,
      machine: { policyHash },
      attester: {
        type: "exec",
        attest: async (request: AttestRequest) => {
          asked.push(request);
          return evidence;
        },
      },
      content: { addBytes: async () => ({ cid: "bafy", size: 13 }), pin: async () => {} },
      database: { atomically: (work: () => unknown) => work() },
      journal: { keep: () => {} },
      now: () => 1000,
    } as unknown as JobTools;
    const job = { jobId, replica: 1, matchedAt: 1234, terms } as JobRow;
    const spec = aSpec({ attestation: "exec", image: { digest: `sha256:${digest}`, cid: aSpec().image.cid } });
    const attempt = { jobId, replica: 1, attempt: 0, facts: { spec } } as unknown as AttemptRow;
    const context = { signal: new AbortController().signal, log: pino({ level: "silent" }) };

    const change = await attestAttempt(job, attempt, tools, context);
    expect(change).to.deep.equal({ state: "attested", facts: { evidence: "bafy" } });
    const nonce = jobNonce({ offerHash: terms.assignment.offerHash, matchedAt: 1234, jobId });
    const node = { operator, nodeIndex: 0, wgKey: wgKey as Hex, resultSigner: signer };
    const what = { specHash, imageDigest: `0x${digest}` as Hex, policyHash: policyHash as Hex };
    const expected = { chainId: 31337n, market: deployment.market, jobId, replica: 1, ...node, ...what, nonce };
    expect(asked.map(({ reportData }) => reportData)).to.deep.equal([reportData(expected)]);
  });
});
