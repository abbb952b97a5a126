import type { Machine, Wanted } from "../core/ports.ts";
import type { Context } from "../log.ts";
import type { Reason } from "../store/decisions.ts";

/**
 * Why a job within this node's capacity still finds no place: a cluster offers a sum, and one job runs on one of its
 * machines. A cluster that does not answer just now is no reason.
 */
export async function reasonUnfit(
  unfit: Machine["unfit"],
  { cpuMilli, memoryMiB, gpus, maxSeconds }: Wanted,
  context: Context,
): Promise<Reason | undefined> {
  const wanted = { cpuMilli, memoryMiB, gpus, maxSeconds };
  const text = await unfit?.(wanted, context).catch(() => undefined);
  context.signal.throwIfAborted();
  return text === undefined ? undefined : { code: "too-large", text, values: wanted };
}
