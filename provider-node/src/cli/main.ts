import { MarketError } from "@berth/protocol";
import { printError } from "../commands/print.ts";
import { exitCodes } from "./exit-codes.ts";
import { createProgram } from "./program.ts";
import { createRunner, failureOf } from "./runner.ts";

// A reader like `head` that has seen enough is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit();
});

// The first signal asks to stop, the second ends the process at once. Containers run on either way.
const stopping = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.on(name, () => {
    if (stopping.signal.aborted) process.exit(exitCodes.interrupted);
    stopping.abort(new MarketError("STOPPED", `Stopped by ${name}.`));
  });
}

try {
  await createProgram(createRunner(stopping.signal)).parseAsync();
} catch (thrown) {
  const failure = failureOf(thrown, stopping.signal);
  process.exitCode = failure.exitCode;
  if (failure.error !== undefined) printError(failure.error, { json: process.argv.includes("--json") });
}
