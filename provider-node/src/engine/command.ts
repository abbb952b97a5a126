import { MarketError } from "@berth/protocol";
import { execa } from "execa";

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
  /** In a session of its own: Ctrl-C or the death of this process's group does not cut it short. */
  detached?: boolean;
}

/**
 * Runs a program of the host and returns how it ended; a nonzero exit is a result, not an error.
 * @throws MarketError TOOL_MISSING when there is no such program; what `signal` was aborted with
 */
export async function command(file: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> {
  const { signal, cwd, env = { PATH: process.env["PATH"] ?? DEFAULT_PATH }, detached = false } = options;
  const result = await execa(file, args, {
    cancelSignal: signal,
    env,
    extendEnv: false,
    stdin: "ignore",
    reject: false,
    detached,
    ...(cwd === undefined ? {} : { cwd }),
  });
  if (result.isCanceled) signal.throwIfAborted();
  if (result.exitCode === undefined) {
    if (result.code === "ENOENT") {
      throw new MarketError("TOOL_MISSING", `The program "${file}" is not installed.`, {
        hint: "Install the packages that the operator guide lists, then run `doctor` again.",
      });
    }
    throw new MarketError("TOOL_DIED", `${file} died: ${result.shortMessage}`, { retryable: true, cause: result });
  }
  return { exitCode: result.exitCode, stdout: result.stdout, stderr: result.stderr };
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
