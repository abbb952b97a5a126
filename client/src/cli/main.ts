import { MarketError } from "@berth/protocol";
import { Command, CommanderError } from "commander";
import { addLs, addShow } from "../commands/jobs.ts";
import { addImage, addMoney, addOffers, addSettling } from "../commands/market.ts";
import { addGet, addLogs, addVerify } from "../commands/results.ts";
import { addResume, addRun } from "../commands/run.ts";
import { exitCodesHelp } from "./exit-codes.ts";
import { createRunner, reportError } from "./runner.ts";
import { addGlobalFlags } from "./session.ts";

// A reader like `head` that has seen enough is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit();
});
const run = createRunner();
const program = new Command("berth")
  .description("Run containers on a market of machines, and check what comes back.")
  .version("0.1.0")
  .exitOverride()
  .configureHelp({ showGlobalOptions: true })
  .configureOutput({ outputError: () => {} })
  .addHelpText("after", exitCodesHelp);
addGlobalFlags(program);
for (const add of [addRun, addResume, addLs, addShow, addLogs, addGet, addVerify, addOffers, addSettling, addMoney])
  add(program, run);
addImage(program);

try {
  await program.parseAsync();
} catch (error) {
  const asJson = process.argv.includes("--json");
  if (!(error instanceof CommanderError)) reportError(error, asJson);
  else if (error.exitCode !== 0 && error.code !== "commander.help") {
    const hint =
      "`berth --help` and `berth COMMAND --help` say what there is. Arguments for the job itself go after --.";
    reportError(new MarketError("USAGE", error.message.replace(/^error: /, ""), { hint }), asJson);
  } else if (error.exitCode !== 0) process.exitCode = 2;
}
