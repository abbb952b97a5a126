import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import pino from "pino";
import type { EngineConfig } from "../config/engine.ts";
import { createBubblewrapEngine } from "./bubblewrap.ts";
import { openBubblewrapStore } from "./bubblewrap-store.ts";
import { openLedger } from "./ledger.ts";
import { createPodmanEngine } from "./podman.ts";
import { openPodmanStore } from "./podman-store.ts";
import { reapSlurm } from "./slurm.ts";
import type { Context, Engine } from "./types.ts";

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
    for (const reap of Object.values(reapers)) await reap(home, context);
  }
}

/**
 * Takes away what the engines left that the node ran before its configuration named `engine`: nobody else would. What
 * cannot be taken away now is in the log, and does not keep the node from its work.
 */
export async function reapOtherEngines(dataDir: string, engine: EngineConfig["type"], context: Context): Promise<void> {
  for (const [other, reap] of Object.entries(reapers)) {
    if (other === engine) continue;
    try {
      await reap(dataDir, context);
    } catch (error) {
      context.signal.throwIfAborted();
      context.log.warn({ err: error, engine: other }, "what another engine left could not be taken away");
    }
  }
}

const reapers: Readonly<Record<EngineConfig["type"], (home: string, context: Context) => Promise<void>>> = {
  podman: async (home, context) => {
    if (!hasOpen(join(home, "engine/ledger.jsonl"))) return;
    const store = await openPodmanStore(home, context);
    await reapAll(createPodmanEngine({ store, runId: "reap", nodeId: "reap" }), context);
  },
  bubblewrap: async (home, context) => {
    if (!hasOpen(join(home, "bubblewrap/ledger.jsonl"))) return;
    const store = await openBubblewrapStore(home, context, { prove: false });
    await reapAll(createBubblewrapEngine({ store }), context);
  },
  slurm: reapSlurm,
};

async function reapAll(engine: Engine, context: Context): Promise<void> {
  await engine.reap([], context);
  await engine.release(context);
}

function hasOpen(ledger: string): boolean {
  return existsSync(ledger) && openLedger(ledger).open().length > 0;
}
