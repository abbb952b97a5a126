import type { Hex, Job } from "@berth/protocol";
import type { NodeRow } from "../store/tables.ts";
import type { State } from "./state.ts";

/** The node's row, or that of a node nothing is known of yet. */
export async function nodeRow(state: State, operator: Hex, index: number): Promise<NodeRow> {
  const found = await state.get("nodes", { operator, index });
  return (
    found ?? {
      operator,
      index,
      key: null,
      wgKey: null,
      prefix: null,
      validTo: 0,
      keyVersion: 0,
      wgEndpoint: "",
      contentUrl: "",
      profileCid: "",
      revoked: false,
      epoch: 0,
      limits: null,
      active: 0,
      cpuMilli: 0,
      memoryMiB: 0,
      diskMiB: 0,
      gpus: 0,
      declinedAt: 0,
      touched: false,
    }
  );
}

/** The row with one replica of `job` more in use (`sign` 1) or one fewer (−1). */
export function withUse(row: NodeRow, job: Job, sign: 1 | -1): NodeRow {
  return {
    ...row,
    touched: true,
    active: row.active + sign,
    cpuMilli: row.cpuMilli + sign * job.cpuMilli,
    memoryMiB: row.memoryMiB + sign * job.memoryMiB,
    diskMiB: row.diskMiB + sign * job.diskMiB,
    gpus: row.gpus + sign * job.gpus,
  };
}
