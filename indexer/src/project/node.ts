import type { Hex, Request } from "@berth/protocol";
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
      revoked: false,
      epoch: 0,
      limitsHash: null,
      limits: null,
      active: 0,
      cpuMilli: 0,
      memoryMiB: 0,
      diskMiB: 0,
      gpus: 0,
    }
  );
}

/** The row with one replica of `request` more (`sign` 1) or fewer (−1) in use. */
export function withUse(row: NodeRow, request: Request, sign: 1 | -1): NodeRow {
  return {
    ...row,
    active: row.active + sign,
    cpuMilli: row.cpuMilli + sign * request.cpuMilli,
    memoryMiB: row.memoryMiB + sign * request.memoryMiB,
    diskMiB: row.diskMiB + sign * request.diskMiB,
    gpus: row.gpus + sign * request.gpus,
  };
}
