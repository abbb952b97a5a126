#!/usr/bin/env node
import { Command } from "commander";
import { exitCodesHelp } from "./cli/exit-codes.ts";
import { addGlobalFlags } from "./cli/flags.ts";
import { createRunner, runProgram } from "./cli/runner.ts";
import { addClean } from "./commands/clean.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addExplain } from "./commands/explain.ts";
import { addInit } from "./commands/init.ts";
import { addJobs } from "./commands/jobs.ts";
import { addRegister } from "./commands/register.ts";
import { addStake } from "./commands/stake.ts";
import { addStart } from "./commands/start.ts";
import { addStatus } from "./commands/status.ts";
import { addWithdraw } from "./commands/withdraw.ts";

// A reader like `head` that has seen enough is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit();
});
const { run, stopped } = createRunner();
const program = new Command("berth-node")
  .description("Runs jobs of the Berth market on this machine.")
  .version("0.1.0")
  .exitOverride()
  .configureHelp({ showGlobalOptions: true })
  .configureOutput({ outputError: () => {} })
  .addHelpText("after", exitCodesHelp);
addGlobalFlags(program);
for (const add of [
  addInit,
  addDoctor,
  addRegister,
  addStake,
  addStart,
  addStatus,
  addJobs,
  addExplain,
  addWithdraw,
  addClean,
])
  add(program, run);

await runProgram(program, stopped);
