import { existsSync, rmSync } from "node:fs";
import { reapEngine } from "../../provider-node/src/engine/reap.ts";

/** Takes away containers, mounts and cgroups that a node left under its data folder, then the folder. */
export async function reapNodeData(folder: string): Promise<void> {
  if (!existsSync(folder)) return;
  await reapEngine(folder);
  rmSync(folder, { recursive: true, force: true });
}
