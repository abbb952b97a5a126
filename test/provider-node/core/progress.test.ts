import { type JobId, termsOf } from "@berth/protocol";
import { expect } from "chai";
import { progressOf } from "../../../provider-node/src/core/progress.ts";
import type { AttemptState } from "../../../provider-node/src/core/states.ts";
import type { AttemptRow, JobRow } from "../../../provider-node/src/store/journal.ts";
import { anOffer, aRequest } from "../../support/orders.ts";
import { aSpec } from "../../support/specs.ts";

const domain = { chainId: 31337, market: `0x${"d".repeat(40)}` } as const;
const terms = termsOf(domain, aRequest({ submitWindow: 900, maxSeconds: 300 }), anOffer(), 0);
const job: JobRow = {
  ...{ jobId: terms.job.jobId as JobId, replica: 0, terms, matchedAt: 1000, droppedAt: null, chain: "active" },
};
const spec = aSpec({ timeouts: { startSeconds: 60, runSeconds: 120 } });

function at(state: AttemptState, facts: AttemptRow["facts"] = { spec }): AttemptRow {
  return { jobId: job.jobId, replica: 0, attempt: 0, state, since: 1050, outcome: null, message: "", facts };
}

describe("progressOf", () => {
  it("has the deadline that presses now", () => {
    const deadlines = (state: AttemptState) => progressOf(job, at(state), 1055).deadline;
    expect(deadlines("fetching")).to.equal(1060);
    expect(deadlines("running")).to.equal(1050 + 120);
    expect(deadlines("collected")).to.equal(1900);
    expect(deadlines("submitted")).to.equal(null);
    expect(progressOf(job, at("running", {}), 1055).deadline).to.equal(1050 + 300);
  });

  it("counts the seconds of a run, and only of a run", () => {
    expect(progressOf(job, at("running"), 1055).runningSeconds).to.equal(5);
    expect(progressOf(job, at("running"), 1049).runningSeconds).to.equal(0);
    expect(progressOf(job, at("exited"), 1055).runningSeconds).to.equal(null);
  });

  it("knows what came in from the process that fetches, and after it from the journal", () => {
    expect(progressOf(job, at("fetching"), 1055, 12).fetchedBytes).to.equal(12);
    expect(progressOf(job, at("running", { spec, inBytes: 34 }), 1055).fetchedBytes).to.equal(34);
  });
});
