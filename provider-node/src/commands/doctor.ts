import type { Command } from "commander";
import { exitCodes } from "../cli/exit-codes.ts";
import type { Run } from "../cli/runner.ts";
import { diagnose } from "../jobs/doctor.ts";
import { checkTable, example } from "./print.ts";

/** `berth-node doctor` */
export function addDoctor(program: Command, run: Run): void {
  program
    .command("doctor")
    .description("try everything this node needs, and say what to do about the rest")
    .addHelpText(
      "after",
      example("berth-node doctor", "berth-node doctor --json | jq '.checks[] | select(.status != \"ok\")'"),
    )
    .action((_flags: object, self: Command) =>
      run(self, async ({ config, context }) => {
        const diagnosis = await diagnose(config, context);
        const exitCode = diagnosis.ok ? exitCodes.ok : exitCodes.failed;
        return { json: diagnosis, text: checkTable(diagnosis.checks).trimEnd(), exitCode };
      }),
    );
}
