import { createHash } from "node:crypto";
import { readFileSync, realpathSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { JobId } from "@berth/protocol";
import { expect } from "chai";
import { execa } from "execa";
import { detectCgroups, removeCgroup } from "../../../provider-node/src/engine/cgroup.ts";
import { mountPoints } from "../../../provider-node/src/engine/volume.ts";
import { eventually } from "../../support/eventually.ts";
import { mountSmallDisk, type SmallDisk } from "../../support/small-disk.ts";
import { isRunning } from "../engine/traces.ts";
import { type AttemptOnMachine, attemptOnMachine, WAITING } from "./attempt-on-machine.ts";
import { type MarketBench, type Matched, openMarketBench } from "./market-bench.ts";
import { berthNode, type NodeProcess, startNode } from "./node-process.ts";
import { type NodeResults, resultsOf } from "./node-results.ts";
import { type RegisteredNode, registerNode } from "./registered-node.ts";

const DISK_MIB = 400;
const OUTPUT_BYTES = 3_000_000;
/** Room for the journal, and not for the outputs. */
const LITTLE_ROOM = 1_000_000;
/** Makes the kernel's boot id another one for a process. */
const AFTER_REBOOT = `--import=data:text/javascript,${encodeURIComponent(`
  import fs from "node:fs";
  import { syncBuiltinESMExports } from "node:module";
  const { readFileSync } = fs;
  fs.readFileSync = (path, ...rest) => path === "/proc/sys/kernel/random/boot_id" ? "another" : readFileSync(path, ...rest);
  syncBuiltinESMExports();
`)}`;

describe("berth-node on a machine that fails", function () {
  this.timeout(300_000);
  let bench: MarketBench;
  let disk: SmallDisk;
  let registered: RegisteredNode;
  let flags: string[];
  let results: NodeResults;
  let node: NodeProcess;

  before(async () => {
    bench = await openMarketBench();
    disk = await mountSmallDisk(join(bench.dir, "node"), join(bench.dir, "disk.img"), DISK_MIB);
    registered = await registerNode(bench, "m", { minFreeMiB: "0", "transactions.settle.enabled": "false" });
    flags = registered.flags;
    results = resultsOf(bench, registered.url);
  });

  afterEach(async function () {
    if (this.currentTest?.state === "failed") process.stderr.write(`${node?.log()}\n`);
    disk.makeRoom();
    await node?.kill("SIGTERM");
  });

  after(async () => {
    await node?.kill("SIGKILL");
    const cleaned = flags === undefined ? undefined : await berthNode([...flags, "clean"]);
    await disk?.unmount();
    await bench?.close();
    expect(cleaned?.code, cleaned?.stdout).to.equal(0);
    expect(mountPoints().filter((path) => path.includes(registered.dataDir))).to.deep.equal([]);
  });

  it("fetches on when a full disk has room again", async () => {
    node = startNode(flags);
    await node.ready;
    const matched = await bench.match(
      { command: ["/bin/sh", "-c", "echo here > /out/file; exit 3"] },
      { served: null },
    );
    await node.says(stepFailed(matched.jobId, "CONTENT_UNAVAILABLE"));
    // Else the journal of the next block would be the first that has no room.
    await mining(0);
    disk.fill();
    await bench.serve(matched.spec);
    await node.says(stepFailed(matched.jobId, /ENOSPC|full|space/));
    disk.makeRoom();
    await mining(1);
    const result = await results.resultOf(matched.jobId);
    expect(result).to.deep.include({ outcome: "exited", exitCode: 3, attempt: 0 });
    expect(await bench.results(matched.jobId)).to.have.length(1);
    isSound();
  });

  it("brings home all of a job that ends on a full disk, though the node cannot keep up its journal meanwhile", async () => {
    node = startNode(flags);
    await node.ready;
    const [shell, option, script] = WAITING;
    const writing = script?.replace("exit 3", `yes berth | head -c ${OUTPUT_BYTES} > /out/data; echo ended; exit 3`);
    const matched = await bench.match({
      command: [shell, option, writing].map(String),
      outputs: { path: "/out", maxBytes: 2 * OUTPUT_BYTES, maxFiles: 10 },
      idempotent: false,
    });
    const attempt = attemptOnMachine(registered, matched.jobId);
    await attempt.runs();
    await mining(0);
    disk.fill(LITTLE_ROOM);
    attempt.letGo();
    await node.says(stepFailed(matched.jobId, "ENOSPC"));
    disk.fill();
    await mining(1);
    expect([await node.exitCode, await node.ended]).to.deep.equal([1, null]); // a supervisor starts it again
    disk.fill(); // it let go of some room when it closed its journal
    const onFull = await berthNode([...flags, "start"]);
    expect(onFull.code, onFull.stdout + onFull.stderr).to.equal(1);
    expect(JSON.parse(onFull.stdout.split("\n").at(-1) ?? "").error).to.deep.include({ code: "DISK_FULL" });
    disk.makeRoom();
    node = startNode(flags);
    const result = await results.resultOf(matched.jobId);
    expect(result).to.deep.include({ outcome: "exited", exitCode: 3, attempt: 0 });
    expect(await results.textOf(result.stdout?.cid)).to.equal("begun\nended\n");
    expect(statSync(join(await results.outputsOf(result), "data")).size).to.equal(OUTPUT_BYTES);
    expect(await bench.results(matched.jobId)).to.have.length(1);
    isSound();
  });

  it("says of a job whose monitor was killed that it is lost, and runs it again where that is allowed", async () => {
    node = startNode(flags);
    await node.ready;
    const [once, again] = await twoRuns();
    for (const { attempt } of [once, again]) process.kill(attempt.monitor(), "SIGKILL");
    await isLostAndRunAgain(once, again);
  });

  it("says of a job that a reboot ended that it is lost, and runs it again where that is allowed", async () => {
    node = startNode(flags);
    await node.ready;
    const [once, again] = await twoRuns();
    await node.kill("SIGKILL");
    await powerCut([once.attempt, again.attempt]);
    node = startNode(flags, { NODE_OPTIONS: AFTER_REBOOT });
    await isLostAndRunAgain(once, again);
  });

  type Run = Matched & { attempt: AttemptOnMachine };

  /** One job that may run once, and one that may run again. */
  async function twoRuns(): Promise<[Run, Run]> {
    const run = async (idempotent: boolean) => {
      const matched = await bench.match({ command: WAITING, idempotent }, { request: { challengeWindow: 3600 } });
      return { ...matched, attempt: attemptOnMachine(registered, matched.jobId) };
    };
    const runs: [Run, Run] = [await run(false), await run(true)];
    for (const { attempt } of runs) await attempt.runs();
    return runs;
  }

  async function isLostAndRunAgain(once: Run, again: Run): Promise<void> {
    const next = attemptOnMachine(registered, again.jobId, 1);
    await next.runs();
    next.letGo();
    const lost = await results.resultOf(once.jobId);
    expect(lost).to.deep.include({ outcome: "lost", exitCode: null, outputs: null, attempt: 0 });
    const ended = await results.resultOf(again.jobId);
    expect(ended).to.deep.include({ outcome: "exited", exitCode: 3, attempt: 1 });
    for (const matched of [once, again]) {
      await bench.approve(matched, await results.claimOf(matched.jobId));
      await eventually("it is over", async () => (await results.phaseOf(matched.jobId)) === "done", 120_000);
      expect(await bench.results(matched.jobId)).to.have.length(1);
    }
    for (const attempt of [once.attempt, again.attempt, next]) await attempt.gone();
  }

  /** The node is dead already; now everything goes that is not on a disk. */
  async function powerCut(attempts: readonly AttemptOnMachine[]): Promise<void> {
    const pids = attempts.flatMap((attempt) => [attempt.monitor(), attempt.job()]);
    for (const pid of pids) process.kill(pid, "SIGKILL");
    await eventually("all have ended", () => !pids.some(isRunning));
    const home = realpathSync(registered.dataDir);
    const id = createHash("sha256").update(home).digest("hex").slice(0, 12);
    const run = join("/run/berth", id);
    const mounted = mountPoints().filter((path) => path.startsWith(`${home}/`) || path.startsWith(`${run}/`));
    for (const path of mounted.reverse()) await execa("umount", ["--lazy", path]);
    rmSync(run, { recursive: true });
    for (const { name } of attempts) await removeCgroup(detectCgroups(), `/berth-${id}/${name}`);
  }

  /** Every so many seconds a block; 0: none. */
  async function mining(seconds: number): Promise<void> {
    await bench.anvil.call("evm_setIntervalMining", [seconds]);
  }

  /** Neither the journal nor the ledger has a torn entry. */
  function isSound(): void {
    const db = new DatabaseSync(join(registered.dataDir, "journal.db"), { readOnly: true });
    try {
      expect(db.prepare("PRAGMA integrity_check").all()).to.deep.equal([{ integrity_check: "ok" }]);
    } finally {
      db.close();
    }
    const lines = readFileSync(join(registered.dataDir, "engine/ledger.jsonl"), "utf8").split("\n").filter(Boolean);
    for (const line of lines) expect(() => JSON.parse(line)).to.not.throw();
  }
});

function stepFailed(jobId: JobId, why: string | RegExp): (line: string) => boolean {
  return (line) => line.includes(jobId) && line.includes("step failed") && line.search(why) >= 0;
}
