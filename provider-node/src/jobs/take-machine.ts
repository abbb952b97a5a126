import type { MarketError } from "@berth/protocol";
import type { Config } from "../config.ts";
import { attemptName } from "../core/attempt-name.ts";
import type { Machine } from "../core/ports.ts";
import type { Context } from "../log.ts";
import type { Journal } from "../store/journal.ts";
import { openMachine } from "./open-machine.ts";

/** The engine, with everything that no open attempt needs cleaned away; or none, with the reason in the log. */
export async function takeMachine(
  config: Config,
  journal: Journal,
  gpuDevices: () => readonly string[],
  own: Context,
): Promise<Machine | undefined> {
  try {
    const nodeId = `${config.operator}-${config.index}`;
    const { dataDir, runId, engine } = config;
    const machine = await openMachine({ dataDir, runId, nodeId, engine, gpuDevices }, own);
    const keep = journal.open().map((attempt) => attemptName(runId, attempt));
    const reaped = await machine.engine.reap(keep, own);
    if (reaped.length > 0) own.log.info({ reaped }, "left-over containers removed");
    return machine;
  } catch (error) {
    own.signal.throwIfAborted();
    const { message, hint } = error as MarketError;
    own.log.error(
      { reason: message, hint },
      "this machine cannot run jobs; the node serves content and follows the chain",
    );
    return undefined;
  }
}

/** Leaves nothing on the machine, unless attempts go on without this process. */
export async function releaseMachine(machine: Machine | undefined, { log }: Context): Promise<void> {
  if (machine === undefined || machine.engine.list().length > 0) return;
  await machine.engine.release({ log, signal: AbortSignal.timeout(15_000) });
}
