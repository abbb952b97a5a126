import { chargeOfDown, depositOf, type JobId, resultSchema, type Terms, termsOf, X18 } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { privateKeyToAccount } from "viem/accounts";
import { signResult } from "../../../provider-node/src/core/result-record.ts";
import type { AttemptRow, JobRow } from "../../../provider-node/src/store/journal.ts";
import { anOffer, anyOffer, anyRequest, aRequest } from "../../support/orders.ts";

const market = `0x${"d".repeat(40)}` as const;
const deployment = { chainId: 31337, fromBlock: 0, identity: market, staking: market, market, tokens: [] };
const account = privateKeyToAccount(`0x${"11".repeat(32)}`);
const self = {
  ...{ operator: market, index: 0, account, wgKey: `0x${"0".repeat(64)}` as const, runId: "t", publicUrl: "" },
};
const policyHash = `0x${"0".repeat(64)}` as const;
const MATCHED_AT = 1_900_000_000;

interface Ran {
  wallMs: number;
  /** Seconds by the chain's clock from the match until everything was collected. */
  elapsed: number;
}

async function recordOf(
  terms: Terms,
  { wallMs, elapsed }: Ran,
  facts: AttemptRow["facts"] = {},
  changes: Partial<AttemptRow> = {},
) {
  const id = { jobId: terms.job.jobId as JobId, replica: 0 };
  const job: JobRow = { ...id, terms, matchedAt: MATCHED_AT, droppedAt: null, chain: "active" };
  const startedAt = MATCHED_AT * 1000;
  const attempt: AttemptRow = {
    ...{ ...id, attempt: 0, state: "collected", since: MATCHED_AT + elapsed, outcome: "exited", message: "" },
    facts: {
      usage: { wallMs, cpuNs: "5", peakBytes: 6 },
      startedAt,
      finishedAt: startedAt + wallMs,
      exitCode: 0,
      ...facts,
    },
    ...changes,
  };
  return await signResult(job, attempt, { self, deployment, policyHash });
}

describe("signResult", () => {
  const terms = (request = {}, offer = {}) =>
    termsOf({ chainId: 31337, market }, aRequest({ maxSeconds: 100, ...request }), anOffer(offer), 0);

  it("charges the whole seconds that were metered", async () => {
    const { result, claim } = await recordOf(terms(), { wallMs: 2999, elapsed: 10 });
    expect(claim.charge).to.equal(chargeOfDown(terms(), 2));
    expect(result.usage.wallMs).to.equal(2999);
  });

  it("charges nothing, not even the base charge, for what this node offered and could not do", async () => {
    const { result, claim } = await recordOf(
      terms(),
      { wallMs: 0, elapsed: 7 },
      { unserved: true },
      { outcome: "cancelled" },
    );
    expect([claim.charge, result.charge]).to.deep.equal([0n, "0"]);
    expect(resultSchema.parse(result).outcome).to.equal("cancelled");
  });

  it("charges no more time than passed on the chain, though this machine's clock jumped", async () => {
    const { result, claim } = await recordOf(terms(), { wallMs: 3_600_000, elapsed: 7 });
    expect(claim.charge).to.equal(chargeOfDown(terms(), 7));
    expect(result.usage.wallMs).to.equal(3_600_000);
    expect((await recordOf(terms(), { wallMs: 5000, elapsed: -3 })).claim.charge).to.equal(chargeOfDown(terms(), 0));
  });

  it("charges no time for a run that this node lost, and says how long it was all the same", async () => {
    const { result, claim } = await recordOf(terms(), { wallMs: 2999, elapsed: 10 }, {}, { outcome: "lost" });
    expect(claim.charge).to.equal(chargeOfDown(terms(), 0));
    expect(result.usage.wallMs).to.equal(2999);
  });

  it("never claims more than the market allows, whatever was metered", async () => {
    const metered = fc.record({ wallMs: fc.nat({ max: 2 ** 45 }), elapsed: fc.nat({ max: 2 ** 31 }) });
    await fc.assert(
      fc.asyncProperty(anyRequest, anyOffer, metered, async (request, offer, ran) => {
        const own = termsOf({ chainId: 31337, market }, request, offer, 0);
        const { claim } = await recordOf(own, ran);
        // As JobMarket: the base charge and the rate for the elapsed time, at most `maxSeconds`, rounded down.
        const seconds = BigInt(Math.min(ran.elapsed, own.job.maxSeconds));
        const most = own.assignment.baseCharge + (own.assignment.rateX18 * seconds) / X18;
        expect(claim.charge <= most).to.equal(true);
        expect(claim.charge <= depositOf(own)).to.equal(true);
      }),
      { numRuns: 50 },
    );
  });

  it("says what came in, what goes out, and for how long the run held its GPUs", async () => {
    const outputs = {
      cid: "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
      bytes: 34,
      files: 1,
      skipped: [],
    };
    const { result } = await recordOf(terms({ gpus: 2 }), { wallMs: 1500, elapsed: 9 }, { inBytes: 12, outputs });
    expect(resultSchema.parse(result)).to.deep.equal(result);
    expect(result.usage).to.deep.equal({
      ...{ wallMs: 1500, cpuNs: "5", peakBytes: 6, gpuMs: 3000, inBytes: 12, outBytes: 34 },
    });
    expect((await recordOf(terms(), { wallMs: 1500, elapsed: 9 })).result.usage.gpuMs).to.equal(0);
  });

  it("is the same, byte for byte, each time", async () => {
    const [one, two] = [
      await recordOf(terms(), { wallMs: 9, elapsed: 1 }),
      await recordOf(terms(), { wallMs: 9, elapsed: 1 }),
    ];
    expect(one.cid).to.equal(two.cid);
  });
});
