import type { Hex, JobId } from "@berth/protocol";
import { expect } from "chai";
import { createDecisions, type Decision } from "../../../provider-node/src/store/decisions.ts";
import { openDatabase } from "../../../provider-node/src/store/open.ts";

const jobId = (n: number) => `0x${n.toString(16).padStart(64, "0")}` as JobId;
const requester: Hex = `0x${"1".repeat(40)}`;

function aDecision(change: Partial<Decision> = {}): Decision {
  const about = { at: 1000, jobId: jobId(1), replica: null, what: "posted" as const, requester };
  return { ...about, code: "price", text: "It pays 5.", values: { wanted: "7", has: "5" }, ...change };
}

describe("createDecisions", () => {
  it("gives back what was recorded, newest first", () => {
    const decisions = createDecisions(openDatabase(":memory:"));
    const later = aDecision({ at: 1001, what: "match", replica: 0, code: "hook-refused", text: "No.", values: {} });
    const other = aDecision({ jobId: jobId(2) });
    for (const decision of [aDecision(), later, other]) decisions.record(decision);
    expect(decisions.get(jobId(1))).to.deep.equal([later, aDecision()]);
    expect(decisions.recent(2)).to.deep.equal([other, later]);
    expect(decisions.get(jobId(3))).to.deep.equal([]);
  });

  it("writes a reason anew only when it has changed", () => {
    const decisions = createDecisions(openDatabase(":memory:"));
    decisions.record(aDecision());
    decisions.record(aDecision({ at: 2000 }));
    expect(decisions.get(jobId(1))).to.deep.equal([aDecision()]);
    decisions.record(aDecision({ text: "It pays 6." }));
    decisions.record(aDecision({ at: 3000 }));
    expect(decisions.get(jobId(1)).map(({ text }) => text)).to.deep.equal(["It pays 5.", "It pays 6.", "It pays 5."]);
  });

  it("keeps the newest rows only", () => {
    const decisions = createDecisions(openDatabase(":memory:"), 3);
    for (let n = 1; n <= 5; n++) decisions.record(aDecision({ jobId: jobId(n) }));
    expect(decisions.recent(10).map((row) => row.jobId)).to.deep.equal([jobId(5), jobId(4), jobId(3)]);
  });
});
