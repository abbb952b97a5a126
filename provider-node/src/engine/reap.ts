import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import pino from "pino";
import { createBubblewrapEngine } from "./bubblewrap.ts";
import { openBubblewrapStore } from "./bubblewrap-store.ts";
import { createPodmanEngine } from "./podman.ts";
import { openPodmanStore } from "./podman-store.ts";
import { reapSlurm } from "./slurm.ts";
import type { Context } from "./types.ts";

/** Reaping a handful of containers takes seconds; a hung mount must not hold up the next start for ever. */
const PATIENCE_MS = 120_000;

/**
 * Takes away every container, mount, cgroup and runtime folder that a node left, whose data is in `dataDir`: after a
 * kill -9, or before the folder is deleted. Images stay. Nothing happens where no engine was ever opened.
 * @throws MarketError ENGINE_*
 */
export async function reapEngine(
  dataDir: string,
  context: Context = { signal: AbortSignal.timeout(PATIENCE_MS), log: pino({ level: "silent" }) },
): Promise<void> {
  const doctors = existsSync(dataDir) ? readdirSync(dataDir).filter((name) => name.startsWith("doctor-")) : [];
  for (const home of [...doctors.map((name) => join(dataDir, name)), dataDir]) {
    await reapSlurm(home, context);
    await reapBubblewrap(home, context);
    if (!existsSync(join(home, "engine/ledger.jsonl"))) continue;
    const store = await openPodmanStore(home, context);
    const engine = createPodmanEngine({ store, runId: "reap", nodeId: "reap" });
    await engine.reap([], context);
    await engine.release(context);
  }
}

async function reapBubblewrap(home: string, context: Context): Promise<void> {
  if (!existsSync(join(home, "bubblewrap/ledger.jsonl"))) return;
  const engine = createBubblewrapEngine({ store: await openBubblewrapStore(home, context, { prove: false }) });
  await engine.reap([], context);
  await engine.release(context);
}
