import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Made } from "../../scripts/lib/run-ledger.ts";
import { waitFor } from "../../scripts/lib/wait.ts";
import { type Traces, tracesOf } from "./e2e-host.ts";

const root = join(import.meta.dirname, "..", "..");

/** Where `npm run demo` and `npm run devnet` keep their runs. */
const defaultRuns = join(root, ".berth", "runs");

/** A script that runs in the background, with a folder of its own for everything temporary. */
export interface Script {
  process: ChildProcess;
  /** `$TMPDIR` of the script and of everything that it starts. */
  tmp: string;
  stdout(): string;
  stderr(): string;
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** Ends it the hard way if it still runs, and removes `tmp`. */
  dispose(): Promise<void>;
}

export function startScript(file: string, args: string[] = []): Script {
  const tmp = mkdtempSync(join(tmpdir(), "bt-"));
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("BERTH_")));
  const child = spawn(process.execPath, [file, ...args], {
    cwd: root,
    env: { ...env, TMPDIR: tmp },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout?.on("data", (chunk: Buffer) => {
    stdout += chunk;
  });
  child.stderr?.on("data", (chunk: Buffer) => {
    stderr += chunk;
  });
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) =>
    child.once("close", (code, signal) => resolve({ code, signal })),
  );
  return {
    process: child,
    tmp,
    stdout: () => stdout,
    stderr: () => stderr,
    ended,
    async dispose() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
      await ended;
      rmSync(tmp, { recursive: true, force: true });
    },
  };
}

/** Waits until the script's run has made `enough`, and gives the run's folder. Fails when the script ends before. */
export async function untilMade(
  script: Script,
  enough: (made: Made[]) => boolean,
  runsFolder = defaultRuns,
): Promise<string> {
  return await waitFor("the run's folder", async () => {
    if (script.process.exitCode !== null) throw new Error(`the script ended:\n${script.stderr()}`);
    const folder = runOf(script, runsFolder);
    return folder !== undefined && enough(ledgerOf(folder)) ? folder : undefined;
  });
}

/** Waits until a job of the script's run has a container that runs, and notes everything that the run has made. */
export async function untilJobRuns(script: Script, runsFolder = defaultRuns): Promise<Traces> {
  const folder = await untilMade(
    script,
    (made) => made.filter(({ kind }) => kind === "node-data").length === 2,
    runsFolder,
  );
  return await waitFor(
    "a container of the run",
    async () => {
      if (script.process.exitCode !== null) throw new Error(`the script ended:\n${script.stderr()}`);
      const traces = tracesOf(folder);
      return traces.processes.some(({ pid }) => isContained(pid, traces.engineIds)) ? traces : undefined;
    },
    { timeoutMs: 240_000 },
  );
}

/** Does the process run inside a job's cgroup, as the job itself and not as its monitor? */
function isContained(pid: number, engineIds: string[]): boolean {
  try {
    const groups = readFileSync(`/proc/${pid}/cgroup`, "utf8");
    const uid = /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return engineIds.some((id) => groups.includes(`berth-${id}`)) && Number(uid) >= 100_000;
  } catch {
    return false;
  }
}

function runOf(script: Script, runsFolder: string): string | undefined {
  if (!existsSync(runsFolder)) return undefined;
  return readdirSync(runsFolder)
    .map((id) => join(runsFolder, id))
    .find((folder) =>
      ledgerOf(folder).some((made) => made.kind === "owner" && made.process.pid === script.process.pid),
    );
}

function ledgerOf(folder: string): Made[] {
  try {
    const lines = readFileSync(join(folder, "ledger.jsonl"), "utf8").split("\n");
    return lines.flatMap((line) => (line.endsWith("}") ? [JSON.parse(line) as Made] : []));
  } catch {
    return [];
  }
}
