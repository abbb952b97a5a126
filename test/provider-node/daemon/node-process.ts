import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

const main = join(import.meta.dirname, "../../../provider-node/src/main.ts");

export interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs one command of `berth-node` to its end. */
export async function berthNode(args: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  return await startCommand(args, env).ended;
}

/** One command of `berth-node` while it runs. */
export interface RunningCommand {
  ended: Promise<Ran>;
  /** What it has said so far. */
  stderr(): string;
  kill(signal: NodeJS.Signals): void;
}

export function startCommand(args: readonly string[], env: Record<string, string> = {}): RunningCommand {
  const child = spawn(process.execPath, [main, ...args], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = [read(child, "stdout"), read(child, "stderr")];
  const ended = once(child, "close").then(([code]) => {
    return { code: code as number | null, stdout: stdout.join("\n"), stderr: stderr.join("\n") };
  });
  return { ended, stderr: () => stderr.join("\n"), kill: (signal) => void child.kill(signal) };
}

/** A daemon under test. */
export interface NodeProcess {
  pid: number;
  /** The line it prints when it is ready. Rejects with its log when it ends before that. */
  ready: Promise<Record<string, string | number | null>>;
  /** Resolves with the signal that ended it, or null. */
  ended: Promise<NodeJS.Signals | null>;
  /** How it ended, where no signal did that. */
  exitCode: Promise<number | null>;
  log(): string;
  /** Resolves once a line of its log is like this. */
  says(isIt: (line: string) => boolean): Promise<void>;
  kill(signal: NodeJS.Signals): Promise<void>;
}

export function startNode(args: readonly string[], env: Record<string, string> = {}): NodeProcess {
  const child = spawn(process.execPath, [main, ...args, "start"], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: string[] = [];
  const stderr = createInterface({ input: child.stderr });
  stderr.on("line", (line) => lines.push(line));
  const closed = once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>;
  const ended = closed.then(([, signal]) => signal);
  const ready = new Promise<Record<string, string | number | null>>((resolve, reject) => {
    createInterface({ input: child.stdout }).once("line", (line) => resolve(JSON.parse(line)));
    void ended.then((signal) =>
      reject(new Error(`the node ended (${signal}) before it was ready:\n${lines.join("\n")}`)),
    );
  });
  ready.catch(() => undefined);
  return {
    pid: child.pid ?? 0,
    ready,
    ended,
    exitCode: closed.then(([code]) => code),
    log: () => lines.join("\n"),
    says: (isIt) =>
      new Promise((resolve) => {
        const look = (line: string) => {
          if (!isIt(line)) return;
          stderr.off("line", look);
          resolve();
        };
        if (lines.some(isIt)) resolve();
        else stderr.on("line", look);
      }),
    async kill(signal) {
      child.kill(signal);
      await ended;
    },
  };
}

function read(child: ChildProcess, stream: "stdout" | "stderr"): string[] {
  const lines: string[] = [];
  const input = child[stream];
  if (input !== null) createInterface({ input }).on("line", (line) => lines.push(line));
  return lines;
}
