import type { JobId } from "@berth/protocol";
import { expect } from "chai";
import type { AttemptState } from "../../../provider-node/src/core/states.ts";
import { createPhaseClock } from "../../../provider-node/src/metrics/phases.ts";
import type { AttemptRow } from "../../../provider-node/src/store/journal.ts";

function at(state: AttemptState, since = 0, attempt = 0): AttemptRow {
  const jobId = `0x${"1".repeat(64)}` as JobId;
  return { jobId, replica: 0, attempt, state, since, outcome: null, message: "", facts: {} };
}

describe("createPhaseClock", () => {
  it("times each phase from its first state to the state after its last", () => {
    const took: [string, number][] = [];
    let nowMs = 0;
    const observe = createPhaseClock(
      (phase, seconds) => took.push([phase, seconds]),
      () => nowMs,
    );
    const states: AttemptState[] = [
      ...(["matched", "fetching", "prepared", "attested", "running", "exited"] as const),
      ...(["collected", "published", "submitting", "submitted", "final", "cleaned"] as const),
    ];
    for (const [i, to] of states.slice(1).entries()) {
      nowMs += 1000 * (i + 1);
      observe({ from: at(states[i] as AttemptState), to: at(to) });
    }
    expect(took).to.deep.equal([
      ["fetch", 2],
      ["start", 3 + 4],
      ["run", 5],
      ["collect", 6],
      ["publish", 7],
      ["submit", 8 + 9],
    ]);
  });

  it("measures a phase that an earlier process began by the journal's seconds", () => {
    const took: [string, number][] = [];
    const observe = createPhaseClock((phase, seconds) => took.push([phase, seconds]));
    observe({ from: at("running", 100), to: at("exited", 142) });
    expect(took).to.deep.equal([["run", 42]]);
  });
});
