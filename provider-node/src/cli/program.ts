import { Command } from "commander";
import { addClean } from "../commands/clean.ts";
import { addConfig } from "../commands/config.ts";
import { addDoctor } from "../commands/doctor.ts";
import { addDrain } from "../commands/drain.ts";
import { addExplain } from "../commands/explain.ts";
import { addGc } from "../commands/gc.ts";
import { addInit } from "../commands/init.ts";
import { addJobs } from "../commands/jobs.ts";
import { addRegister } from "../commands/register.ts";
import { addRotate } from "../commands/rotate.ts";
import { addStake } from "../commands/stake.ts";
import { addStart } from "../commands/start.ts";
import { addStatus } from "../commands/status.ts";
import { addWithdraw } from "../commands/withdraw.ts";
import { exitCodesHelp } from "./exit-codes.ts";
import { addGlobalFlags } from "./flags.ts";
import type { Run } from "./runner.ts";

/** The whole command line; `run` carries out what it says. */
export function createProgram(run: Run): Command {
  const program = new Command("berth-node")
    .description("Runs jobs of the Berth market on this machine.")
    .version("0.1.0")
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ outputError: () => {} })
    .addHelpText("after", exitCodesHelp);
  addGlobalFlags(program);
  const commands = [
    ...[addInit, addDoctor, addRegister, addStake, addStart],
    ...[addStatus, addJobs, addExplain],
    ...[addDrain, addGc, addRotate, addWithdraw, addClean, addConfig],
  ];
  for (const add of commands) add(program, run);
  return program;
}
