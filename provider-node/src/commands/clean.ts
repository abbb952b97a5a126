import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../config.ts";
import { openMachine } from "../jobs/open-machine.ts";
import type { Context } from "../log.ts";
import { reapMesh } from "../mesh/ledger.ts";
import { lockDataFolder } from "../store/open.ts";

export interface CleanAnswer {
  /** Attempts whose container, volume and control group were taken away. */
  removed: string[];
}

/**
 * Takes away what a stopped node left on the machine for its next start: containers, volumes, mounts, the mesh interface.
 * Keys, journal and content stay. What was running is lost. Throws NODE_RUNNING.
 */
export async function clean(config: Config, context: Context): Promise<CleanAnswer> {
  const lock = lockDataFolder(config.dataDir);
  try {
    await reapMesh(join(config.dataDir, "mesh"), context);
    const nodeId = `${config.operator}-${config.index}`;
    const { engine } = await openMachine({ dataDir: config.dataDir, runId: config.runId, nodeId }, context);
    const removed = await engine.reap([], context);
    await engine.release(context);
    await rm(join(config.dataDir, "staging"), { recursive: true, force: true });
    return { removed };
  } finally {
    lock.release();
  }
}
