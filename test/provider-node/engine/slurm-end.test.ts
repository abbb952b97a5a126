import { expect } from "chai";
import { inspectedSchema } from "../../../provider-node/src/engine/podman-inspect.ts";
import { readEnd, type SlurmAttemptFacts, slurmStateOf } from "../../../provider-node/src/engine/slurm-end.ts";

const NOW = new Date("2026-06-01T12:00:00Z");
const ago = (seconds: number) => new Date(NOW.getTime() - seconds * 1000);
const NEVER = "0001-01-01T00:00:00Z";

function container(Status: string, ExitCode: number, startedAt: string | Date, finishedAt: string | Date) {
  const State = { Status, ExitCode, StartedAt: text(startedAt), FinishedAt: text(finishedAt) };
  return inspectedSchema.parse([{ State }])[0];
}
function text(time: string | Date): string {
  return typeof time === "string" ? time : time.toISOString();
}

/** An attempt that runs. */
const running: SlurmAttemptFacts = {
  isClaimed: true,
  end: undefined,
  inspected: undefined,
  startedAt: ago(100),
  isGone: false,
  goneMs: 0,
  graceMs: 60_000,
  nodeAnswers: true,
  now: NOW,
  cancelAt: undefined,
  maxSeconds: 3600,
  memoryMiB: 64,
};
const ended = "end=ended\nby=\nvolume=loop-ext4\nlogFree=1000000\npeakBytes=4096\ncpuNs=12345678901234\n";
const phaseOf = (changes: Partial<SlurmAttemptFacts>) => slurmStateOf({ ...running, ...changes }).phase;

describe("slurm end", () => {
  it("reads what the compute node wrote, and takes what is missing for lost", () => {
    expect(readEnd(ended)).to.deep.include({ end: "ended", by: "", cpuNs: 12_345_678_901_234n, oomKills: undefined });
    expect(readEnd(`${ended}oomKills=2\n`).oomKills).to.equal(2);
    expect(readEnd("failed=no such image: a=b\n").failed).to.equal("no such image: a=b");
    expect(readEnd("")).to.deep.include({ end: "lost", failed: undefined, cpuNs: 0n, logFree: 0 });
    expect(readEnd("end=ended\ncpuNs=\npeakBytes=-1\n")).to.deep.include({ cpuNs: 0n, peakBytes: 0 });
  });

  it("is created until a compute node has claimed it, whatever Slurm says", () => {
    expect(phaseOf({ isClaimed: false, isGone: true, goneMs: 1e9 })).to.equal("created");
    expect(phaseOf({})).to.equal("running");
  });

  it("is lost when Slurm has let go of it and its node, which answers, has said nothing for a while", () => {
    expect(phaseOf({ isGone: true, goneMs: 59_000 })).to.equal("running");
    expect(phaseOf({ isGone: true, goneMs: 61_000 })).to.equal("lost");
  });

  it("is not lost while its node is cut off and may still be running it", () => {
    const gone = { isGone: true, goneMs: 1e6, nodeAnswers: false };
    expect(phaseOf({ ...gone, startedAt: ago(3600) })).to.equal("running");
    expect(phaseOf({ ...gone, startedAt: ago(3661) })).to.equal("lost");
    expect(phaseOf({ ...gone, startedAt: undefined })).to.equal("running");
  });

  it("has the container's own exit code, and times out by the compute node's clock alone", () => {
    const facts = { ...running, end: readEnd(ended), isGone: true };
    const exited = slurmStateOf({ ...facts, inspected: container("exited", 3, ago(90), ago(80)) });
    expect(exited).to.deep.include({
      phase: "exited",
      exitCode: 3,
      timedOut: false,
      cancelled: false,
      oomKilled: false,
    });
    expect(exited.startedAt).to.deep.equal(ago(90));
    const overdue = slurmStateOf({ ...facts, inspected: container("exited", -1, ago(9000), ago(5400)) });
    expect(overdue).to.deep.include({ phase: "exited", timedOut: true });
    const peak = { ...facts, end: { ...readEnd(ended), peakBytes: 64 * 2 ** 20 } };
    expect(slurmStateOf({ ...peak, inspected: container("exited", 137, ago(9), ago(8)) }).oomKilled).to.equal(true);
  });

  it("is cancelled when we asked, and lost when somebody else ended it", () => {
    const inspected = container("exited", 137, ago(90), ago(80));
    const facts = { ...running, end: readEnd(ended.replace("by=", "by=kill")), inspected };
    expect(slurmStateOf({ ...facts, cancelAt: ago(85) })).to.deep.include({ phase: "exited", cancelled: true });
    expect(slurmStateOf({ ...facts, cancelAt: ago(-1e6) })).to.deep.include({ phase: "exited", cancelled: true }); // clocks differ
    expect(slurmStateOf(facts).phase).to.equal("lost");
    const byItself = { ...facts, end: readEnd(ended), cancelAt: ago(85) };
    expect(slurmStateOf(byItself)).to.deep.include({ phase: "exited", cancelled: false });
  });

  it("is lost when the container or its monitor vanished", () => {
    expect(phaseOf({ end: readEnd("end=lost") })).to.equal("lost");
    expect(phaseOf({ end: readEnd(ended) })).to.equal("lost");
    expect(phaseOf({ end: readEnd(ended), inspected: container("running", 0, ago(90), NEVER) })).to.equal("lost");
    expect(phaseOf({ end: readEnd(ended), inspected: container("created", 0, NEVER, NEVER) })).to.equal("lost");
  });

  it("may be submitted again when nothing of it was started, unless it was withdrawn", () => {
    const facts = { ...running, end: readEnd("failed=no runtime") };
    expect(slurmStateOf(facts)).to.deep.equal({ phase: "created" });
    expect(slurmStateOf({ ...facts, cancelAt: ago(1) })).to.deep.include({ phase: "exited", cancelled: true });
  });
});
