import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { isAlive, type ProcessRef, processRef } from "../../../scripts/lib/processes.ts";
import { type Made, openRun, reapDeadRuns, takeAway } from "../../../scripts/lib/run-ledger.ts";

const nothing = async () => {};

describe("the ledger of a run", () => {
  let runs: string;
  beforeEach(() => {
    runs = mkdtempSync(join(tmpdir(), "berth-runs-"));
  });
  afterEach(() => rmSync(runs, { recursive: true, force: true }));

  /** A run whose owner is the given process, with what it made. */
  const runOf = (id: string, owner: ProcessRef | undefined, made: Made[] = []) => {
    const folder = join(runs, id);
    mkdirSync(folder);
    const entries: Made[] = [...(owner === undefined ? [] : [{ kind: "owner" as const, process: owner }]), ...made];
    writeFileSync(join(folder, "ledger.jsonl"), entries.map((entry) => `${JSON.stringify(entry)}\n`).join(""));
    return folder;
  };

  it("names its owner first, and gives back what was recorded, in order", () => {
    const ledger = openRun(runs);
    expect(ledger.id).to.match(/^[0-9a-f]{6}$/);
    ledger.record({ kind: "namespace", name: "a" });
    ledger.record({ kind: "link", name: "b" });
    expect(ledger.entries()).to.deep.equal([
      { kind: "owner", process: processRef(process.pid) },
      { kind: "namespace", name: "a" },
      { kind: "link", name: "b" },
    ]);
  });

  it("passes over a line that a crash cut short", () => {
    const ledger = openRun(runs);
    ledger.record({ kind: "namespace", name: "whole" });
    appendFileSync(join(ledger.folder, "ledger.jsonl"), '{"kind":"link","na');
    expect(ledger.entries().slice(1)).to.deep.equal([{ kind: "namespace", name: "whole" }]);
  });

  it("leaves a run alone while its owner lives", async () => {
    const ledger = openRun(runs);
    expect(await reapDeadRuns(runs, nothing)).to.deep.equal([]);
    expect(existsSync(ledger.folder)).to.equal(true);
  });

  it("takes another process with the owner's number for another one, by its start", async () => {
    const self = processRef(process.pid);
    const folder = runOf("abcdef", { pid: process.pid, startTicks: String(Number(self?.startTicks) - 1) });
    expect(await reapDeadRuns(runs, nothing)).to.deep.equal(["abcdef"]);
    expect(existsSync(folder)).to.equal(false);
  });

  it("takes away a run that has no owner on record", async () => {
    runOf("000000", undefined);
    expect(await reapDeadRuns(runs, nothing)).to.deep.equal(["000000"]);
  });

  it("ends the processes of a dead run, and the folders that it made elsewhere", async () => {
    const child = spawn("sleep", ["60"], { stdio: "ignore" });
    const exited = once(child, "exit");
    const ref = processRef(child.pid ?? 0);
    if (ref === undefined) throw new Error("no child");
    const elsewhere = mkdtempSync(join(tmpdir(), "berth-elsewhere-"));
    const nodes: string[] = [];
    runOf("dead00", { pid: 4_194_305, startTicks: "1" }, [
      { kind: "process", what: "sleeper", process: ref },
      { kind: "folder", folder: elsewhere },
      { kind: "node-data", folder: "/nowhere/node0" },
    ]);
    await reapDeadRuns(runs, async (folder) => void nodes.push(folder));
    await exited;
    expect(isAlive(ref)).to.equal(false);
    expect(existsSync(elsewhere)).to.equal(false);
    expect(nodes).to.deep.equal(["/nowhere/node0"]);
  });

  it("does not touch a process that only has the number of one that the run started", async () => {
    const child = spawn("sleep", ["60"], { stdio: "ignore" });
    const ref = processRef(child.pid ?? 0);
    if (ref === undefined) throw new Error("no child");
    const stale = { ...ref, startTicks: String(Number(ref.startTicks) - 1) };
    runOf("dead01", { pid: 4_194_305, startTicks: "1" }, [{ kind: "process", what: "old", process: stale }]);
    await reapDeadRuns(runs, nothing);
    expect(isAlive(ref)).to.equal(true);
    child.kill("SIGKILL");
    await once(child, "exit");
  });

  it("is taken away once when two start at the same time", async () => {
    runOf("dead02", { pid: 4_194_305, startTicks: "1" }, [{ kind: "node-data", folder: "/nowhere/node0" }]);
    const calls: string[] = [];
    const both = await Promise.all([1, 2].map(() => reapDeadRuns(runs, async (folder) => void calls.push(folder))));
    expect(both.flat()).to.deep.equal(["dead02"]);
    expect(calls).to.deep.equal(["/nowhere/node0"]);
  });

  it("is taken away twice without harm", async () => {
    const ledger = openRun(runs);
    await takeAway(ledger, nothing);
    await takeAway(ledger, nothing);
    expect(existsSync(ledger.folder)).to.equal(false);
  });

  it("never shows a run without its owner", () => {
    const ledger = openRun(runs);
    const [first] = readFileSync(join(ledger.folder, "ledger.jsonl"), "utf8").split("\n");
    expect(JSON.parse(first ?? "")).to.have.property("kind", "owner");
    expect(existsSync(join(runs, `.${ledger.id}`))).to.equal(false);
  });
});
