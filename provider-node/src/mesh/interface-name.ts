import { createHash } from "node:crypto";

/**
 * The name of a node's mesh interface: 14 characters (Linux allows 15), the same for the same run and index, and
 * different for any other on this machine. wireguard-go's sockets share one folder across network namespaces, so a name
 * must be unique machine-wide.
 */
export function interfaceName(runId: string, index: number): string {
  return `bm${createHash("sha256").update(`${runId}/${index}`).digest("hex").slice(0, 12)}`;
}
