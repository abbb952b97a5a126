import { accessSync, constants, statSync } from "node:fs";
import { join } from "node:path";
import { MarketError } from "@berth/protocol";
import { createLauncher } from "./launcher.ts";

export interface CommandResult {
  exitCode: number;
  stdout: string;
  stderr: string;
}

export interface CommandOptions {
  signal: AbortSignal;
  cwd?: string;
  /** The whole environment of the command; nothing is inherited. */
  env?: Record<string, string>;
}

/** One for the process: it starts nothing until something is run. */
const launch = createLauncher();

/**
 * Runs a program of the host and returns how it ended; a nonzero exit is a result, not an error. Neither Ctrl-C nor the
 * death of this process cuts it short.
 * @throws MarketError TOOL_MISSING when there is no such program, TOOL_DIED; what `signal` was aborted with
 */
export async function command(file: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> {
  const { signal, cwd = process.cwd(), env = { PATH: process.env["PATH"] ?? DEFAULT_PATH } } = options;
  if (findProgram(file, env["PATH"] ?? DEFAULT_PATH) === undefined) {
    throw new MarketError("TOOL_MISSING", `The program "${file}" is not installed.`, {
      hint: "Install the packages that the operator guide lists, then run `doctor` again.",
    });
  }
  const { status, stdout, stderr } = await launch({ file, args, cwd, env, signal });
  if (status !== 0) signal.throwIfAborted(); // it ended because it was to
  if (status === undefined || status > SIGNALLED) {
    const how = status === undefined ? "nobody knows how" : `by signal ${status - SIGNALLED}`;
    throw new MarketError("TOOL_DIED", `${file} died: ${how}.`, { retryable: true });
  }
  return { exitCode: status, stdout, stderr };
}

/** Like `command`, for steps that must succeed. Throws MarketError `code` with the program's last words. */
export async function mustRun(
  file: string,
  args: readonly string[],
  { code, doing, ...options }: CommandOptions & { code: string; doing: string },
): Promise<string> {
  const { exitCode, stdout, stderr } = await command(file, args, options);
  if (exitCode !== 0) {
    const words = stderr.trim().split("\n").at(-1) ?? "";
    throw new MarketError(code, `${doing} failed: ${words || `${file} ended with ${exitCode}`}.`, { retryable: true });
  }
  return stdout;
}

/** Debian leaves the system folders out of a user's PATH. */
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** What a shell adds to the number of the signal that ended a program. */
const SIGNALLED = 128;

/** Where the program is; `path` is like the variable PATH. */
export function findProgram(file: string, path: string): string | undefined {
  const places = file.includes("/") ? [file] : path.split(":").map((folder) => join(folder || ".", file));
  return places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return statSync(place).isFile();
    } catch {
      return false;
    }
  });
}
