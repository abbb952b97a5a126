import type { OutboxEntry, OutboxState } from "@berth/chain";
import type { Hex, JobId } from "@berth/protocol";
import { expect } from "chai";
import type { JobTools } from "../../../provider-node/src/core/ports.ts";
import { submitResult, transactionOf } from "../../../provider-node/src/jobs/submit.ts";
import type { AttemptRow, JobRow } from "../../../provider-node/src/store/journal.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

const jobId = `0x${"11".repeat(32)}` as JobId;

describe("submitting a result", () => {
  let entries: Map<string, Pick<OutboxEntry, "state" | "createdAtMs">>;
  beforeEach(() => {
    entries = new Map();
  });

  const tools = {
    deployment: { market: `0x${"22".repeat(20)}` },
    outbox: {
      get: async (key: string) => entries.get(key),
      enqueue: async ({ key }: { key: string }) => {
        if (!entries.has(key)) entries.set(key, { state: "queued", createdAtMs: Date.now() });
      },
    },
  } as unknown as JobTools;
  const job = { jobId, replica: 0, request: aRequest({}), offer: anOffer({}) } as unknown as JobRow;
  const attemptOf = (attempt: number, state = "submitting") => {
    const claim = { resultHash: `0x${"33".repeat(32)}` as Hex, resultBytes: "1", charge: "1", cid: "" };
    return { jobId, replica: 0, attempt, state, facts: { claim } } as unknown as AttemptRow;
  };
  const submit = (attempt: number) => submitResult(job, attemptOf(attempt), tools);
  const view = (attempt: number, state?: string) => transactionOf(attemptOf(attempt, state), tools);
  /** The newest transaction comes to an end that was some time ago. */
  const ends = (state: OutboxState, createdAtMs = 0) =>
    entries.set([...entries.keys()].at(-1) ?? "", { state, createdAtMs });

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
