import { expect } from "chai";
import { type AttemptFacts, outcomeOf, stateOf } from "../../../provider-node/src/engine/verdict.ts";

const MIB = 1024 * 1024;
const started = new Date("2026-01-01T00:00:00Z");
const later = (seconds: number) => new Date(started.getTime() + seconds * 1000);

/** Ran ten seconds of sixty and exited with 0. */
const exited: AttemptFacts = {
  status: "exited",
  exitCode: 0,
  startedAt: started,
  finishedAt: later(10),
  monitorAlive: false,
  startIntent: { bootId: "this" },
  bootId: "this",
  hasRun: true,
  cancelAt: undefined,
  maxSeconds: 60,
  memoryBytes: 64 * MIB,
  peakBytes: 10 * MIB,
  oomKills: undefined,
};
const outcome = (facts: Partial<AttemptFacts>) => outcomeOf(stateOf({ ...exited, ...facts }), false);

describe("stateOf", () => {
  it("keeps the exit code of a job that ended by itself", () => {
    expect(stateOf({ ...exited, exitCode: 3 })).to.deep.include({ phase: "exited", exitCode: 3 });
  });

  it("does not believe that a container runs whose monitor is dead", () => {
    const running = { ...exited, status: "running", finishedAt: undefined };
    expect(stateOf({ ...running, monitorAlive: false }).phase).to.equal("lost");
    expect(stateOf({ ...running, monitorAlive: true }).phase).to.equal("running");
  });

  it("does not take the exit code 0 that podman shows after a reboot for success", () => {
    expect(stateOf({ ...exited, status: "created", bootId: "next", finishedAt: undefined }).phase).to.equal("lost");
    expect(stateOf({ ...exited, status: "created", bootId: "next", startedAt: undefined }).phase).to.equal("lost");
  });

  it("calls a container created that was never started, even when the start was intended", () => {
    const created = { ...exited, status: "created", startedAt: undefined, finishedAt: undefined, hasRun: false };
    expect(stateOf(created).phase).to.equal("created");
    expect(stateOf({ ...created, startIntent: undefined }).phase).to.equal("created");
  });

  it("does not start again what was cut short while starting, once anything ran", () => {
    const cut = { ...exited, status: "created", startedAt: undefined, finishedAt: undefined, hasRun: true };
    expect(stateOf(cut).phase).to.equal("lost");
    expect(stateOf({ ...cut, startIntent: undefined }).phase).to.equal("created");
  });

  it("tells a container that vanished from one that never was", () => {
    expect(stateOf({ ...exited, status: undefined }).phase).to.equal("lost");
    expect(stateOf({ ...exited, status: undefined, startIntent: undefined }).phase).to.equal("absent");
  });

  it("accepts a job of a millisecond, which podman says finished before it started", () => {
    const state = stateOf({ ...exited, finishedAt: new Date(started.getTime() - 3) });
    expect(state.phase).to.equal("exited");
    expect(state.finishedAt).to.deep.equal(started);
  });

  it("calls exit code -1 before the time limit lost: the monitor did not see the end", () => {
    expect(stateOf({ ...exited, exitCode: -1 }).phase).to.equal("lost");
  });
});

describe("outcomeOf", () => {
  it("maps each way to end", () => {
    expect(outcome({})).to.equal("exited");
    expect(outcome({ exitCode: -1, finishedAt: later(60.1) })).to.equal("timed-out");
    expect(outcome({ exitCode: 137, finishedAt: later(61) })).to.equal("timed-out");
    expect(outcome({ exitCode: 137, peakBytes: 65 * MIB })).to.equal("out-of-memory");
    expect(outcome({ exitCode: 137, oomKills: 1 })).to.equal("out-of-memory");
    expect(outcome({ exitCode: 137, cancelAt: later(9) })).to.equal("cancelled");
    expect(outcome({ status: "running" })).to.equal("lost");
    expect(outcomeOf(stateOf(exited), true)).to.equal("output-too-large");
  });

  it("leaves a job that killed itself its own exit code", () => {
    expect(outcome({ exitCode: 137 })).to.equal("exited");
    expect(outcome({ exitCode: 137, oomKills: 0, peakBytes: 65 * MIB })).to.equal("exited");
  });

  it("does not call a job cancelled that ended well before it was asked to", () => {
    expect(outcome({ cancelAt: later(20) })).to.equal("exited");
  });
});
