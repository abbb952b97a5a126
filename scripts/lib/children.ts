import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { MarketError } from "@berth/protocol";
import { processRef } from "./processes.ts";
import type { RunLedger } from "./run-ledger.ts";

/** A program of the run that goes on in the background. Its output is in `logFile`. */
export interface Child {
  what: string;
  process: ChildProcess;
  logFile: string;
  /** Resolves with a sentence when the program has ended. */
  ended: Promise<string>;
}

interface StartOptions {
  what: string;
  file: string;
  args: string[];
  logFile: string;
  env?: Record<string, string>;
  ipc?: boolean;
}

/** Starts a program of the run. It is in the ledger, and its stdout and stderr go to a file. */
export async function startChild(ledger: RunLedger, options: StartOptions): Promise<Child> {
  const { what, file, args, logFile, env = {}, ipc = false } = options;
  const log = createWriteStream(logFile, { flags: "a" });
  await once(log, "open");
  const stdio = ["ignore", log, log, ...(ipc ? (["ipc"] as const) : [])] as ("ignore" | typeof log | "ipc")[];
  // A group of its own: a Ctrl-C in the terminal reaches the run's owner alone, which stops everything in order.
  const child = spawn(file, args, { stdio, detached: true, env: { ...process.env, ...env } });
  const failed = new Promise<string>((resolve) => child.once("error", (error) => resolve(error.message)));
  const exited = new Promise<string>((resolve) =>
    child.once("exit", (code, signal) => resolve(signal ? `ended by ${signal}` : `exited with code ${code}`)),
  );
  const ref = child.pid === undefined ? undefined : processRef(child.pid);
  if (ref) ledger.record({ kind: "process", what, process: ref });
  log.close();
  return { what, process: child, logFile, ended: Promise.race([failed, exited]) };
}

/** Waits for `ready`, or throws CHILD_ENDED with the end of the program's output when it dies before. */
export async function untilReady<T>(child: Child, ready: Promise<T>): Promise<T> {
  const died = child.ended.then(async (how) => {
    const output = await readFile(child.logFile, "utf8").catch(() => "");
    throw new MarketError(
      "CHILD_ENDED",
      `The ${child.what} ${how}.\n${output.trimEnd().split("\n").slice(-20).join("\n")}`,
      {
        hint: "The lines above are the end of its output.",
      },
    );
  });
  died.catch(() => {});
  return await Promise.race([ready, died]);
}
