import { outcomes, type Result } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { chargedSeconds, checkRun, neverRan } from "../../../client/src/actions/check-run.ts";

const MATCHED = 1_700_000_000;
const times = { matchedAt: MATCHED, submittedAt: MATCHED + 100 };
const at = (seconds: number) => new Date((MATCHED + seconds) * 1000).toISOString();
const exited: Partial<Result> = {
  outcome: "exited",
  exitCode: 0,
  imageDigest: `sha256:${"1".repeat(64)}`,
  startedAt: at(10),
  finishedAt: at(70),
};
const record = (change: Partial<Result> = {}, wallMs = 60_000) =>
  ({ ...exited, usage: { wallMs }, ...change }) as Result;
const ended = ["timed-out", "out-of-memory", "output-too-large"] as const;

describe("checkRun", () => {
  const run = (change: Partial<Result>) => checkRun(record(change), times);

  it("takes an honest run, and one that ended before it began", () => {
    expect(run({})).to.include("exited with code 0");
    for (const outcome of ended) expect(run({ outcome, exitCode: null })).to.include(outcome);
    expect(run({ outcome: "spec-invalid", exitCode: null, startedAt: null })).to.include("nothing started");
  });

  it("wants an exit code and an image of what ran to its end, and an exit code of nothing else", () => {
    expect(() => run({ exitCode: null })).to.throw("no exit code");
    expect(() => run({ imageDigest: null })).to.throw("says nothing of the image");
    for (const outcome of ended) {
      expect(() => run({ outcome })).to.throw("has the exit code 0");
      expect(() => run({ outcome, exitCode: null, startedAt: null })).to.throw("nothing of when the command started");
    }
  });

  it("wants the run between match and result, as far as clocks agree", () => {
    expect(run({ startedAt: at(-299), finishedAt: at(399) })).to.be.a("string");
    expect(() => run({ startedAt: at(-301) })).to.throw("before the match at 2023-11-14T22:13:20.000Z");
    expect(() => run({ finishedAt: at(401) })).to.throw("after the result was submitted");
    expect(() => run({ startedAt: at(71) })).to.throw("began at");
    expect(() => run({ outcome: "lost", exitCode: null, startedAt: null, finishedAt: at(-301) })).to.throw("match");
  });
});

describe("chargedSeconds", () => {
  it("counts the time between start and end, and a reading's slack", () => {
    expect(chargedSeconds(record())).to.equal(60);
    expect(chargedSeconds(record({}, 61_000))).to.equal(61);
    expect(() => chargedSeconds(record({}, 61_001))).to.throw("took 60000 ms from start to end, but 61001 ms");
  });

  it("counts nothing where nothing ran, whatever the outcome", () => {
    const anyRecord = fc.record({
      outcome: fc.constantFrom(...outcomes),
      startedAt: fc.constantFrom(null, at(10)),
      wallMs: fc.nat(60_000),
    });
    fc.assert(
      fc.property(anyRecord, ({ outcome, startedAt, wallMs }) => {
        const one = record({ outcome, startedAt }, wallMs);
        if (wallMs > 0 && (startedAt === null || neverRan(one)))
          expect(() => chargedSeconds(one)).to.throw("nothing ran");
        else expect(chargedSeconds(one)).to.equal(Math.floor(wallMs / 1000));
      }),
    );
  });
});

describe("neverRan", () => {
  it("is believed only of outcomes that a command need not have started for", () => {
    const believed = (startedAt: string | null) => outcomes.filter((outcome) => neverRan({ outcome, startedAt }));
    const before = ["inputs-unavailable", "spec-invalid", "image-mismatch"];
    expect(believed(null)).to.have.members([...before, "lost", "cancelled"]);
    expect(believed(at(10))).to.have.members(before);
  });
});
