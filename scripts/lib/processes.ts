import { readFileSync } from "node:fs";

/** A process that cannot be mistaken for a later one with the same number. */
export interface ProcessRef {
  pid: number;
  /** Clock ticks after boot at which it started (field 22 of /proc/PID/stat). */
  startTicks: string;
}

/** The process that has `pid` now; undefined when there is none. */
export function processRef(pid: number): ProcessRef | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in parentheses may itself hold spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [state] = fields;
    const startTicks = fields[19];
    return state === "Z" || startTicks === undefined ? undefined : { pid, startTicks };
  } catch {
    return undefined;
  }
}

/** Does exactly this process still run? */
export function isAlive({ pid, startTicks }: ProcessRef): boolean {
  return processRef(pid)?.startTicks === startTicks;
}

/** Asks a process to stop, and forces it after `graceMs`. Returns when it is gone. */
export async function stopProcess(ref: ProcessRef, { graceMs = 15_000 } = {}): Promise<void> {
  send(ref, "SIGTERM");
  const forceAt = Date.now() + graceMs;
  let forced = false;
  while (isAlive(ref)) {
    if (!forced && Date.now() > forceAt) {
      send(ref, "SIGKILL");
      forced = true;
    }
    await new Promise((done) => setTimeout(done, 20));
  }
}

function send(ref: ProcessRef, signal: NodeJS.Signals): void {
  if (!isAlive(ref)) return;
  try {
    process.kill(ref.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
