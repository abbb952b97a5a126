import { join } from "node:path";
import { z } from "zod";
import { readIfThere, writeDurably } from "../attest/durable-file.ts";
import type { MeshNode } from "./peers.ts";

const nodesSchema = z.array(
  z.strictObject({
    nodeId: z.string(),
    wgKey: z.templateLiteral(["0x", z.string().regex(/^[0-9a-fA-F]{64}$/)]),
    prefix56: z
      .string()
      .regex(/^[0-9a-f]{14}$/)
      .transform((digits) => BigInt(`0x${digits}`)),
    endpoint: z.string(),
    validTo: z.int(),
    revoked: z.boolean(),
  }),
);

/** Keeps the registry's last word, so that a node that starts while the chain is out of reach still has its peers. */
export async function saveNodes(stateDir: string, nodes: readonly MeshNode[]): Promise<void> {
  const rows = nodes.map(({ nodeId, wgKey, prefix56, endpoint, validTo, revoked }) => {
    return { nodeId, wgKey, prefix56: prefix56.toString(16).padStart(14, "0"), endpoint, validTo, revoked };
  });
  await writeDurably(fileIn(stateDir), JSON.stringify(rows));
}

/** The nodes saved last; none where the file is absent or unreadable, since the chain will tell again. */
export async function savedNodes(stateDir: string): Promise<MeshNode[]> {
  const text = await readIfThere(fileIn(stateDir));
  if (text === undefined) return [];
  try {
    return nodesSchema.parse(JSON.parse(text.toString("utf8")));
  } catch {
    return [];
  }
}

function fileIn(stateDir: string): string {
  return join(stateDir, "mesh-nodes.json");
}
