import type { OutboxEntry, OutboxState } from "@berth/chain";
import { type Hex, jobMarketAbi, termsOf, ZERO_BYTES32 } from "@berth/protocol";
import { expect } from "chai";
import { decodeFunctionData } from "viem";
import type { JobTools } from "../../../provider-node/src/core/ports.ts";
import { declineReplica, submitResult, transactionOf } from "../../../provider-node/src/jobs/submit.ts";
import type { AttemptRow, JobRow } from "../../../provider-node/src/store/journal.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

const market = `0x${"22".repeat(20)}` as const;
const terms = termsOf({ chainId: 31337, market }, aRequest({ replicas: 3 }), anOffer(), 2);
const { jobId } = terms.job;

describe("submitting a result", () => {
  let entries: Map<string, Pick<OutboxEntry, "state" | "createdAtMs">>;
  let calls: { to: string; data: Hex }[];
  beforeEach(() => {
    entries = new Map();
    calls = [];
  });

  const tools = {
    deployment: { market },
    outbox: {
      get: async (key: string) => entries.get(key),
      enqueue: async ({ key, to, data }: { key: string; to: string; data: Hex }) => {
        if (entries.has(key)) return;
        entries.set(key, { state: "queued", createdAtMs: Date.now() });
        calls.push({ to, data });
      },
    },
  } as unknown as JobTools;
  const job = { jobId, replica: 2, terms } as unknown as JobRow;
  const attemptOf = (attempt: number, state = "submitting") => {
    const claim = { resultHash: `0x${"33".repeat(32)}` as Hex, resultBytes: "1", charge: "1", cid: "" };
    return { jobId, replica: 2, attempt, state, facts: { claim } } as unknown as AttemptRow;
  };
  const submit = (attempt: number) => submitResult(job, attemptOf(attempt), tools);
  /** The newest call, its addresses in lower case as everywhere here. */
  const called = () => {
    const { functionName, args } = decodeFunctionData({ abi: jobMarketAbi, data: calls.at(-1)?.data ?? ZERO_BYTES32 });
    return { functionName, args: lowered(args) };
  };
  const view = (attempt: number, state?: string) => transactionOf(attemptOf(attempt, state), tools);
  /** The newest transaction comes to an end that was some time ago. */
  const ends = (state: OutboxState, createdAtMs = 0) =>
    entries.set([...entries.keys()].at(-1) ?? "", { state, createdAtMs });

  it("shows the market the terms and the claim, with nothing for a verifier", async () => {
    await submit(0);
    expect(calls.map(({ to }) => to)).to.deep.equal([market]);
    const claim = { resultHash: `0x${"33".repeat(32)}`, resultBytes: 1n, charge: 1n };
    expect(called()).to.deep.equal({ functionName: "submit", args: [terms, claim, "0x"] });
  });

  it("gives a replica back for itself, not for another that was lost", async () => {
    await declineReplica(job, attemptOf(0, "matched"), tools);
    expect(called()).to.deep.equal({ functionName: "decline", args: [terms, 2] });
  });

  it("makes one transaction however often it is called", async () => {
    for (let i = 0; i < 3; i++) await submit(0);
    expect(entries.size).to.equal(1);
    ends("mined");
    await submit(0);
    expect(entries.size).to.equal(1);
    expect(await view(0)).to.equal("mined");
  });

  it("makes another after one failed, but not at once", async () => {
    await submit(0);
    ends("failed", Date.now());
    expect(await view(0, "submitted")).to.equal("pending");
    ends("failed");
    expect(await view(0, "submitted")).to.equal("failed");
    await submit(0);
    await submit(0);
    expect(entries.size).to.equal(2);
    expect(await view(0)).to.equal("pending");
  });

  it("keeps the transactions of two attempts apart", async () => {
    await submit(0);
    ends("reverted");
    expect(await view(1)).to.equal("none");
    await submit(1);
    expect(await view(1)).to.equal("pending");
    expect(await view(0)).to.equal("failed");
  });
});

function lowered(value: unknown): unknown {
  if (typeof value === "string") return value.toLowerCase();
  if (Array.isArray(value)) return value.map(lowered);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, lowered(item)]));
}
