import { MarketError } from "@berth/protocol";
import { execa } from "execa";
import type { Devnet } from "./devnet.ts";
import { waitFor } from "./wait.ts";

/** What one node sees of another over the mesh. */
export interface MeshPing {
  from: string;
  to: string;
  address: string;
  milliseconds: number;
}

interface NodeRow {
  operator: string;
  meshAddress: string;
}

/** Every node pings every other by the address derived from its DID. Empty when the mesh is off. Throws MESH_SILENT. */
export async function pingOverMesh(devnet: Devnet): Promise<MeshPing[]> {
  const { items } = (await (await fetch(`${devnet.indexerUrl}/nodes`)).json()) as { items: NodeRow[] };
  const addressOf = (operator: string) =>
    items.find((row) => row.operator.toLowerCase() === operator.toLowerCase())?.meshAddress ?? "";
  const pings: MeshPing[] = [];
  for (const from of devnet.nodes.filter((node) => node.mesh)) {
    for (const to of devnet.nodes.filter((node) => node.mesh && node !== from)) {
      const address = addressOf(to.operator.address);
      const milliseconds = await waitFor(`a ping of node ${to.number}`, () => ping(from.host.namespace, address), {
        timeoutMs: 20_000,
      }).catch((cause) => {
        throw new MarketError("MESH_SILENT", `Node ${from.number} cannot reach node ${to.number} at ${address}.`, {
          cause,
        });
      });
      pings.push({ from: `node ${from.number}`, to: `node ${to.number}`, address, milliseconds });
    }
  }
  return pings;
}

async function ping(namespace: string, address: string): Promise<number | undefined> {
  const args = [`--net=/run/netns/${namespace}`, "ping", "-6", "-c", "1", "-W", "1", address];
  const { stdout, exitCode } = await execa("nsenter", args, { reject: false });
  const time = /time=([\d.]+) ms/.exec(stdout)?.[1];
  return exitCode === 0 && time !== undefined ? Number(time) : undefined;
}
