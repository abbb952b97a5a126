import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import type { Run } from "../cli/runner.ts";
import type { Config } from "../config.ts";
import { openMachine } from "../jobs/open-machine.ts";
import type { Context } from "../log.ts";
import { reapMesh } from "../mesh/ledger.ts";
import { lockDataFolder } from "../store/open.ts";
import { example, facts } from "./print.ts";

export interface CleanAnswer {
  /** Attempts whose container, volume and control group were taken away. */
  removed: string[];
}

/** `berth-node clean` */
export function addClean(program: Command, run: Run): void {
  program
    .command("clean")
    .description("take away the containers and interfaces of a stopped node; keys, journal and content stay")
    .addHelpText("after", example("systemctl stop berth-node && berth-node clean"))
    .action((_flags: object, self: Command) =>
      run(self, async ({ config, context }) => {
        const answer = await clean(config, context);
        return { json: answer, text: facts([["removed", answer.removed.join(", ") || "nothing"]]) };
      }),
    );
}

/**
 * Takes away what a stopped node left on the machine for its next start: containers, volumes, mounts, the mesh interface.
 * Keys, journal and content stay. What was running is lost. Throws NODE_RUNNING.
 */
async function clean(config: Config, context: Context): Promise<CleanAnswer> {
  const lock = lockDataFolder(config.dataDir);
  try {
    await reapMesh(join(config.dataDir, "mesh"), context);
    const nodeId = `${config.operator}-${config.index}`;
    const { dataDir, runId } = config;
    const { engine } = await openMachine({ dataDir, runId, nodeId, engine: config.engine }, context);
    const removed = await engine.reap([], context);
    await engine.release(context);
    await rm(join(config.dataDir, "staging"), { recursive: true, force: true });
    return { removed };
  } finally {
    lock.release();
  }
}
