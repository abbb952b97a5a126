import { MarketError } from "@berth/protocol";
import { type Command, CommanderError } from "commander";
import { type Answer, answerText } from "../commands/print.ts";
import { type Config, type ConfigSources, loadConfig } from "../config.ts";
import { isDiskFull } from "../disk.ts";
import { type Context, createLog } from "../log.ts";
import { exitCodeOf, exitCodes } from "./exit-codes.ts";
import { sourcesOf, wantsJson } from "./flags.ts";

/** What a command works with. */
export interface Session {
  config: Config;
  sources: ConfigSources;
  asJson: boolean;
  context: Context;
}

/**
 * Runs one command: reads the settings, prints the answer, sets the exit code. Commands that answer keep quiet unless
 * something is wrong; a `loud` one tells what it does.
 */
export type Run = (
  command: Command,
  work: (session: Session) => Promise<Answer | undefined>,
  options?: { loud: boolean },
) => Promise<void>;

/**
 * @param signal stops a command politely
 * @param write where answers go; default: stdout
 */
export function createRunner(signal: AbortSignal, write = (text: string) => void process.stdout.write(text)): Run {
  return async (command, work, { loud } = { loud: false }) => {
    const sources = sourcesOf(command);
    const config = loadConfig(sources);
    const level = !loud && config.logLevel === "info" ? "warn" : config.logLevel;
    const asJson = wantsJson(command);
    const answer = await work({ config, sources, asJson, context: { signal, log: createLog(level) } });
    if (answer === undefined) return;
    write(answerText(answer, asJson));
    process.exitCode = answer.exitCode ?? exitCodes.ok;
  };
}

/** What to say of anything thrown, and the exit code for it. Nothing is said of help, nor of a stop that was asked for. */
export function failureOf(thrown: unknown, signal: AbortSignal): { error?: unknown; exitCode: number } {
  if (!(thrown instanceof CommanderError)) {
    if (signal.aborted) return { exitCode: exitCodes.interrupted };
    const error = isDiskFull(thrown) ? diskFull(thrown) : thrown;
    return { error, exitCode: exitCodeOf(error) };
  }
  if (thrown.exitCode === 0) return { exitCode: exitCodes.ok };
  if (thrown.code === "commander.help") return { exitCode: exitCodes.usage };
  const hint = "`berth-node help` and `berth-node help COMMAND` say what there is.";
  const error = new MarketError("USAGE", thrown.message.replace(/^error: /, ""), { hint });
  return { error, exitCode: exitCodes.usage };
}

function diskFull(cause: unknown): MarketError {
  const hint = "Free some space: what is under way goes on from there, once the node runs again.";
  return new MarketError("DISK_FULL", "There is no room left on the disk.", { hint, cause });
}
