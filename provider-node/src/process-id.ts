import { readdir, readFile } from "node:fs/promises";
import { setTimeout as wait } from "node:timers/promises";

/** A process that cannot be mistaken for a later one with the same number, within one boot. */
export interface ProcessId {
  pid: number;
  /** Clock ticks from boot to its start. */
  startTicks: number;
}

/** Identifies a living process; undefined when there is none with that number. */
export async function identify(pid: number): Promise<ProcessId | undefined> {
  const fields = await statOf(pid);
  if (fields === undefined || fields[0] === "Z" || fields[0] === "X") return undefined;
  return { pid, startTicks: Number(fields[19]) };
}

/** Number of the process that a process is a child of; undefined when it is gone. */
export async function parentOf(pid: number): Promise<number | undefined> {
  const parent = (await statOf(pid))?.[1];
  return parent === undefined ? undefined : Number(parent);
}

/** The fields after the name in /proc/PID/stat. */
async function statOf(pid: number): Promise<string[] | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" "); // the name, in brackets, may contain anything
}

/** Is it still this very process? */
export async function isAlive({ pid, startTicks }: ProcessId): Promise<boolean> {
  return (await identify(pid))?.startTicks === startTicks;
}

/** Living processes with exactly these arguments after the program's name, whose path may differ. */
export async function findByCommand(program: string, args: readonly string[]): Promise<ProcessId[]> {
  const found: ProcessId[] = [];
  for (const entry of await readdir("/proc")) {
    if (!/^[0-9]+$/.test(entry)) continue;
    const line = await readFile(`/proc/${entry}/cmdline`, "utf8").catch(() => "");
    const [file = "", ...rest] = line.split("\0").slice(0, -1);
    if (file.split("/").at(-1) !== program || rest.join("\0") !== args.join("\0")) continue;
    const process = await identify(Number(entry));
    if (process) found.push(process);
  }
  return found;
}

/** Ends a process that is not our child: politely, then by force after `graceMs`. Returns once it is gone. */
export async function endProcess(process: ProcessId, graceMs: number): Promise<void> {
  const forceAt = performance.now() + graceMs;
  for (let name: NodeJS.Signals = "SIGTERM"; await isAlive(process); ) {
    try {
      globalThis.process.kill(process.pid, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
    await wait(POLL_MS);
    if (performance.now() > forceAt) name = "SIGKILL";
  }
}

const POLL_MS = 10;
