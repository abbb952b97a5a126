import { type Hex, type Job, MarketError } from "@berth/protocol";
import type { JobRow, OrderJson, ReplicaRow } from "../store/tables.ts";
import type { State } from "./state.ts";

/** `amount` (token units) may be negative. */
export async function credit(state: State, account: Hex, token: Hex, amount: bigint): Promise<void> {
  if (amount === 0n) return;
  const row = await state.get("balances", { account, token });
  state.put("balances", { account, token, amount: (row?.amount ?? 0n) + amount });
}

/** A replica that was matched, with its job. Throws EVENTS_OUT_OF_ORDER. */
export async function matchedReplica(
  state: State,
  { jobId, replica: number }: { jobId: Hex; replica: number },
): Promise<{ row: JobRow; job: Job; replica: ReplicaRow }> {
  const { row, job } = await matchedJob(state, jobId);
  const replica = await state.get("replicas", { jobId, replica: number });
  if (replica === undefined) throw outOfOrder(`replica ${number} of job ${jobId}`);
  return { row, job, replica };
}

/** A job that was matched. Throws EVENTS_OUT_OF_ORDER. */
export async function matchedJob(state: State, jobId: Hex): Promise<{ row: JobRow; job: Job }> {
  const row = await state.get("jobs", { jobId });
  if (row === undefined || row.job === null) throw outOfOrder(`job ${jobId}`);
  return { row, job: jobOf(row.job) };
}

/** The job behind what `orderToJson` made of it, which only this program writes: nothing is checked again. */
function jobOf(json: OrderJson): Job {
  const { arbiterFee, bond, bounty } = json;
  const amounts = { arbiterFee: BigInt(arbiterFee ?? 0), bond: BigInt(bond ?? 0), bounty: BigInt(bounty ?? 0) };
  return { ...json, ...amounts } as unknown as Job;
}

function outOfOrder(what: string): MarketError {
  return new MarketError("EVENTS_OUT_OF_ORDER", `An event names ${what}, which no earlier event opened.`, {
    hint: "Does the deployment record name the block in which the contracts were made? Correct it and start with an empty data folder.",
  });
}
