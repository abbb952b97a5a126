import type { JobId } from "@berth/protocol";
import { expect } from "chai";
import { createIntake } from "../../../provider-node/src/jobs/intake.ts";

const jobId = `0x${"1".repeat(64)}` as JobId;

describe("createIntake", () => {
  it("adds up what came in for a replica, over all its parts and tries", () => {
    const intake = createIntake();
    const [one, two] = [
      { jobId, replica: 0 },
      { jobId, replica: 1 },
    ];
    intake.note(one, "image", 100);
    intake.note(one, "image", 250);
    intake.note(one, "input", 7);
    intake.note(one, "image", 50); // tried again: from the beginning
    intake.note(two, "image", 3);
    expect([intake.of(one), intake.of(two)]).to.deep.equal([257, 3]);
    intake.forget(one);
    expect([intake.of(one), intake.of(two)]).to.deep.equal([0, 3]);
  });
});
