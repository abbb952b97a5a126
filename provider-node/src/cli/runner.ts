import { MarketError } from "@berth/protocol";
import { type Command, CommanderError } from "commander";
import { type Answer, printAnswer, printError } from "../commands/print.ts";
import { type Config, type ConfigSources, loadConfig } from "../config.ts";
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

/** A runner whose commands stop politely on the first signal, and at once on the second. */
export function createRunner(): { run: Run; stopped: () => boolean } {
  const stopping = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.on(name, () => {
      if (stopping.signal.aborted) process.exit(exitCodes.interrupted);
      stopping.abort(new MarketError("STOPPED", `Stopped by ${name}.`));
    });
  }
  return {
    stopped: () => stopping.signal.aborted,
    async run(command, work, { loud } = { loud: false }) {
      const sources = sourcesOf(command);
      const config = loadConfig(sources);
      const level = !loud && config.logLevel === "info" ? "warn" : config.logLevel;
      const asJson = wantsJson(command);
      const context = { signal: stopping.signal, log: createLog(level) };
      const answer = await work({ config, sources, asJson, context });
      if (answer === undefined) return;
      printAnswer(answer, asJson);
      process.exitCode = answer.exitCode ?? exitCodes.ok;
    },
  };
}

/** Parses the command line and runs its command. What goes wrong is said, and is in the exit code. */
export async function runProgram(program: Command, stopped: () => boolean): Promise<void> {
  const json = process.argv.includes("--json");
  try {
    await program.parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return;
      process.exitCode = exitCodes.usage;
      if (error.code === "commander.help") return;
      const hint = "`berth-node help` and `berth-node help COMMAND` say what there is.";
      printError(new MarketError("USAGE", error.message.replace(/^error: /, ""), { hint }), { json });
    } else if (stopped()) process.exitCode = exitCodes.interrupted;
    else {
      printError(error, { json });
      process.exitCode = exitCodeOf(error);
    }
  }
}
