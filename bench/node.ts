// How fast a provider node is, beside what it could not beat: `npm run bench -- node [jobs publish recovery]`. A real chain, a real
// node, real podman; every reference runs in this same call. The aims: no-op jobs one after another in at most 2.0 times a hardened
// `podman run` of the same image plus 250 ms; eight at a time at 0.8 of the throughput of eight `podman run`; publishing at 0.8 of
// the bare importer; ready again after kill -9 within 2 s; idle memory under 180 MB.

import { randomFillSync } from "node:crypto";
import { createReadStream, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type ContentStore, openEmbeddedStore } from "@berth/content";
import { importer, type WritableStorage } from "ipfs-unixfs-importer";
import type { CID } from "multiformats/cid";
import pino from "pino";
import { command } from "../provider-node/src/engine/command.ts";
import { openPodmanStore, writeConfig } from "../provider-node/src/engine/podman-store.ts";
import { sandboxArgs } from "../provider-node/src/engine/sandbox-policy.ts";
import { importImage } from "../provider-node/src/image/import.ts";
import { imageName } from "../provider-node/src/image/name.ts";
import { type MarketBench, openMarketBench } from "../test/provider-node/daemon/market-bench.ts";
import { berthNode, type NodeProcess, startNode } from "../test/provider-node/daemon/node-process.ts";
import { registerNode } from "../test/provider-node/daemon/registered-node.ts";
import { eventually } from "../test/support/eventually.ts";
import { busyboxImage } from "../test/support/images.ts";
import { createReport, median, timed } from "./lib/report.ts";

const MIB = 2 ** 20;
const JOBS = 8;
const PAST_JOBS = 1000;
const ROUNDS = 5;

const report = createReport("node");
const { row } = report;
const sections = { jobs: benchJobs, publish: benchPublish, recovery: benchRecovery };
const wanted = process.argv.slice(2);
const context = { signal: AbortSignal.timeout(900_000), log: pino({ level: "silent" }) };
for (const [name, run] of Object.entries(sections)) {
  if (wanted.length === 0 || wanted.includes(name)) await run();
}
report.print();
process.exit(0);

/** Jobs that do nothing: what is left is what the node costs. */
async function benchJobs(): Promise<void> {
  await withNode(async ({ bench, node }) => {
    await bench.offer();
    row("idle memory", "MiB", memoryOf(node.pid), 180);
    const podman = await openReference();
    try {
      await oneJob(bench, node);
      await podman.run("warm");
      const [jobs, runs]: [number[], number[]] = [[], []];
      for (let i = 0; i < JOBS; i++) {
        runs.push(await timed(() => podman.run(`one-${i}`)));
        jobs.push(await timed(() => oneJob(bench, node)));
      }
      row("no-op job: match mined to result sent", "ms", median(jobs), median(runs));
      row("no-op job: the same, less 250 ms", "ms", median(jobs) - 250, median(runs));

      const many = Array.from({ length: JOBS }, (_, i) => i);
      const [references, alls]: [number[], number[]] = [[], []];
      for (let round = 0; round < ROUNDS; round++) {
        references.push(await timed(() => Promise.all(many.map((i) => podman.run(`many-${round}-${i}`)))));
        const matches: { jobId: string }[] = [];
        process.kill(node.pid, "SIGSTOP"); // it finds all of them at once
        for (const _ of many) matches.push(await bench.match({}));
        const all = await timed(() => {
          process.kill(node.pid, "SIGCONT");
          return Promise.all(matches.map(({ jobId }) => sent(node, jobId)));
        });
        alls.push(all);
      }
      row(`${JOBS} at a time`, "jobs/s", (JOBS * 1000) / median(alls), (JOBS * 1000) / median(references));
    } finally {
      await podman.close();
    }
  });
}

/** 100 MiB of outputs into the node's store, and by the bare importer into one like it: both end pinned, on disk. */
async function benchPublish(): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "berth-bench-"));
  try {
    const outputs = join(dir, "outputs");
    mkdirSync(outputs);
    for (let i = 0; i < 10; i++) writeFileSync(join(outputs, `file-${i}`), randomFillSync(Buffer.alloc(10 * MIB)));
    const [references, owns]: [number[], number[]] = [[], []];
    for (let i = 0; i < ROUNDS; i++) {
      references.push(await intoStore(join(dir, `bare-${i}`), (store) => bareImport(outputs, store)));
      owns.push(await intoStore(join(dir, `own-${i}`), async (store) => (await store.addPath(outputs)).cid));
    }
    row("publishing 100 MiB", "MiB/s", 100_000 / median(owns), 100_000 / median(references));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

async function intoStore(dir: string, add: (store: ContentStore) => Promise<string>): Promise<number> {
  const store = await openEmbeddedStore({ dir });
  const ms = await timed(async () => store.pin(await add(store), 2 ** 32));
  await store.close();
  rmSync(dir, { recursive: true });
  return ms;
}

async function bareImport(folder: string, { blocks }: ContentStore): Promise<string> {
  const files = readdirSync(folder).map((path) => ({ path, content: createReadStream(join(folder, path)) }));
  const target = {
    async put(cid: CID, bytes: Parameters<WritableStorage["put"]>[1]) {
      if (!(bytes instanceof Uint8Array)) throw new Error("the importer hands over whole blocks");
      await blocks.put(cid, bytes);
      return cid;
    },
  };
  let root: CID | undefined;
  const options = { profile: "unixfs-v1-2025", wrapWithDirectory: true } as object;
  for await (const { cid } of importer(files, target, options)) root = cid;
  return String(root);
}

/** A node with many past jobs and eight that run is killed and started again. */
async function benchRecovery(): Promise<void> {
  await withNode(async ({ bench, node, flags, dataDir, restart }) => {
    await oneJob(bench, node);
    for (let i = 0; i < JOBS; i++) await bench.match({ command: ["/bin/sleep", "100"] });
    await eventually("all eight run", () => count(dataDir, "running") === JOBS, 60_000);
    await node.kill("SIGKILL");
    copyPast(dataDir);
    row("recovery: 1,000 past and 8 running jobs", "ms", await timed(async () => await restart(flags).ready), 2000);
  });
}

interface Bench {
  bench: MarketBench;
  node: NodeProcess;
  flags: string[];
  dataDir: string;
  restart(flags: string[]): NodeProcess;
}

async function withNode(work: (on: Bench) => Promise<void>): Promise<void> {
  const bench = await openMarketBench();
  const settings = { confirmations: "0", pollMs: "50", "transactions.settle.enabled": "false" };
  let node: NodeProcess | undefined;
  let cleanUp: (() => Promise<unknown>) | undefined;
  const restart = (again: string[]) => {
    node = startNode(again);
    return node;
  };
  try {
    // Blocks come with transactions: the clock of a chain is no part of what is measured.
    await bench.anvil.call("evm_setIntervalMining", [0]);
    await bench.anvil.call("evm_setAutomine", [true]);
    const { flags, dataDir } = await registerNode(bench, "b", settings);
    cleanUp = () => berthNode([...flags, "clean"]);
    await restart(flags).ready;
    await work({ bench, node: node as unknown as NodeProcess, flags, dataDir, restart });
  } finally {
    await node?.kill("SIGTERM");
    await cleanUp?.();
    await bench.close();
  }
}

async function oneJob(bench: MarketBench, node: NodeProcess): Promise<void> {
  const { jobId } = await bench.match({});
  await sent(node, jobId);
}

/** Until the node's log says that the transaction with the result left. */
async function sent(node: NodeProcess, jobId: string): Promise<void> {
  await node.says((line) => line.includes(`"key":"submit:${jobId}`) && line.includes('"to":"sent"'));
}

/** The hardened container of the node without the node, by podman as it comes. */
async function openReference() {
  const dir = mkdtempSync(join(tmpdir(), "berth-bench-"));
  const store = await openPodmanStore(dir, context);
  const image = await busyboxImage();
  await importImage(image.dir, image.digest, store, context);
  const { stdout } = await store.run(["image", "inspect", "--format={{.Id}}", imageName(image.digest)], context);
  mkdirSync(join(dir, "out"), { mode: 0o777 });
  const runFolder = join(store.exitsFolder, "../..");
  mkdirSync(join(dir, "plain/tmp"), { recursive: true });
  const env = writeConfig(join(dir, "plain"), runFolder, "overlay");
  const place = [
    "--root",
    join(store.folder, "store"),
    "--runroot",
    join(runFolder, "r"),
    "--tmpdir",
    join(runFolder, "t"),
  ];
  const base = [...place, "--runtime", store.runtime, "--storage-driver=overlay", "--cgroup-manager=cgroupfs"];
  return {
    async run(name: string) {
      const spec = {
        ...{ name, jobId: "bench", replica: 0, attempt: 0, imageDigest: image.digest, command: ["/bin/true"] },
        ...{ env: {}, resources: { cpuMilli: 500, memoryMiB: 64, diskMiB: 16, gpus: 0 }, maxSeconds: 60 },
        ...{ inputs: [], outputPath: "/out", outputs: { maxBytes: MIB, maxFiles: 10 }, network: "none" as const },
      };
      const logPath = join(dir, `${name}.log`);
      const at = { imageId: stdout.trim(), cgroupParent: "", logPath, outputDir: join(dir, "out") };
      const args = sandboxArgs(spec, { ...at, runId: "bench", nodeId: "bench" });
      const hardened = ["run", "--rm", ...args.filter((flag) => !flag.startsWith("--cgroup-parent"))];
      const { exitCode, stderr } = await command("podman", [...base, ...hardened], { ...context, cwd: dir, env });
      if (exitCode !== 0) throw new Error(`podman run: ${stderr}`);
    },
    async close() {
      await store.release(context);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function count(dataDir: string, state: string): number {
  const db = new DatabaseSync(join(dataDir, "journal.db"), { readOnly: true });
  const found = db.prepare("SELECT count(*) AS n FROM attempts WHERE state = ?").get(state) as { n: number };
  db.close();
  return found.n;
}

/** A past as long as that of a node that has worked for weeks: its own first job, again and again. */
function copyPast(dataDir: string): void {
  const db = new DatabaseSync(join(dataDir, "journal.db"));
  const first = db.prepare("SELECT job_id FROM jobs ORDER BY matched_at LIMIT 1").get() as { job_id: string };
  db.exec("BEGIN");
  for (let i = 0; i < PAST_JOBS; i++) {
    const id = `0x${i.toString(16).padStart(64, "0")}`;
    db.prepare(
      "INSERT INTO jobs (job_id, replica, terms, matched_at) SELECT ?, replica, terms, matched_at FROM jobs WHERE job_id = ?",
    ).run(id, first.job_id);
    db.prepare(
      "INSERT INTO attempts SELECT ?, replica, attempt, 'cleaned', since, outcome, message, facts FROM attempts WHERE job_id = ?",
    ).run(id, first.job_id);
  }
  db.exec("COMMIT");
  db.close();
}

/** Resident memory of a process, in MiB. */
function memoryOf(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
}
