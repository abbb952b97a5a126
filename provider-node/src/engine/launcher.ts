import { type ChildProcessByStdio, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { shellWord } from "./shell-word.ts";

export interface Launch {
  file: string;
  args: readonly string[];
  cwd: string;
  /** The whole environment. */
  env: Readonly<Record<string, string>>;
  /** Ends the program, politely at first; it is waited for. */
  signal: AbortSignal;
}

export interface Ended {
  /** As a shell tells it: 128 and the signal's number where one ended the program; undefined when nobody knows any more. */
  status: number | undefined;
  stdout: string;
  stderr: string;
}

interface Running {
  began(pid: number): void;
  ended(status: number | undefined): void;
}

interface Shell {
  process: ChildProcessByStdio<Writable, Readable, null>;
  /** Where what the programs print goes. */
  folder: string;
  running: Map<string, Running>;
}

const FORCE_AFTER_MS = 5000;

/**
 * Starts programs by one small shell that stays, in a session of its own: a fork of a process as large as a node stops it
 * until the program has begun and copies its page tables, which costs more than most of the programs do (ADR 0020). What
 * a program prints goes through files in memory, gone when they are read; the shell leaves with this process.
 */
export function createLauncher(): (launch: Launch) => Promise<Ended> {
  let shell: Shell | undefined;
  let lastId = 0;
  return async (launch) => {
    launch.signal.throwIfAborted();
    if (shell === undefined) {
      const opened = openShell();
      opened.process.once("exit", () => {
        if (shell === opened) shell = undefined; // the next program gets a new one
      });
      shell = opened;
    }
    return await startBy(shell, String(++lastId), launch);
  };
}

function openShell(): Shell {
  const folder = folderInMemory();
  const running: Shell["running"] = new Map();
  const env = { PATH: process.env["PATH"] ?? "/usr/bin:/bin" };
  const own = spawn("/bin/sh", [], { stdio: ["pipe", "pipe", "ignore"], detached: true, cwd: "/", env });
  own.stdin.write(`trap ${shellWord(`wait; rm -rf ${shellWord(folder)}`)} EXIT\n`);
  own.stdin.write(`clean='env -i --default-signal=INT,QUIT'; $clean true || clean='env -i'\n`); // as old as coreutils 8.30
  own.stdin.on("error", () => undefined); // the shell is gone, which `close` tells
  let rest = "";
  own.stdout.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const [what, id = "", number] = line.split(" ");
      if (what === "began") running.get(id)?.began(Number(number));
      else running.get(id)?.ended(Number(number));
    }
  });
  own.once("error", () => undefined); // `close` comes after it
  own.once("close", () => {
    for (const one of [...running.values()]) one.ended(undefined);
    rmSync(folder, { recursive: true, force: true });
  });
  own.unref();
  return { process: own, folder, running };
}

async function startBy(shell: Shell, id: string, { file, args, cwd, env, signal }: Launch): Promise<Ended> {
  const { process: own, folder, running } = shell;
  const [out, err] = [join(folder, `${id}.out`), join(folder, `${id}.err`)];
  const end = Promise.withResolvers<number | undefined>();
  let pid: number | undefined;
  let force: NodeJS.Timeout | undefined;
  const stop = () => {
    if (pid === undefined) return;
    tryKill(pid, "SIGTERM");
    force ??= setTimeout(tryKill, FORCE_AFTER_MS, pid, "SIGKILL");
  };
  const began = (found: number) => {
    pid = found;
    if (signal.aborted) stop();
  };
  running.set(id, { began, ended: end.resolve });
  hold(shell);
  signal.addEventListener("abort", stop);
  try {
    const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    // A shell without job control has what it starts in the background ignore two signals, and so would a job of ours.
    const words = ["exec $clean", ...[...variables, file, ...args].map(shellWord)];
    const program = `( cd ${shellWord(cwd)} && ${words.join(" ")} ) </dev/null >${shellWord(out)} 2>${shellWord(err)}`;
    own.stdin.write(`{ ${program} & p=$!; echo "began ${id} $p"; wait $p; echo "ended ${id} $?"; } &\n`);
    return { status: await end.promise, stdout: textOf(out), stderr: textOf(err) };
  } finally {
    clearTimeout(force);
    signal.removeEventListener("abort", stop);
    running.delete(id);
    hold(shell);
    for (const path of [out, err]) rmSync(path, { force: true });
  }
}

/** This process stays for as long as the shell has something to say. */
function hold({ process: { stdin, stdout }, running }: Shell): void {
  for (const pipe of [stdin, stdout] as unknown as { ref(): void; unref(): void }[]) {
    if (running.size > 0) pipe.ref();
    else pipe.unref();
  }
}

function folderInMemory(): string {
  try {
    return mkdtempSync("/dev/shm/berth-");
  } catch {
    return mkdtempSync(join(tmpdir(), "berth-"));
  }
}

/** Without the end of its last line; empty when the shell took it with it. */
function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8").replace(/\r?\n$/, "");
  } catch {
    return "";
  }
}

function tryKill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // it ended by itself
  }
}
