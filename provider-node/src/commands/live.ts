import { MarketError } from "@berth/protocol";
import { z } from "zod";
import { askNode } from "../http/admin-client.ts";

const liveSchema = z.object({
  ready: z.boolean(),
  offer: z.union([z.object({ expiresAt: z.number() }), z.object({ none: z.string() })]),
  troubles: z.array(z.object({ jobId: z.string(), replica: z.number(), message: z.string() })),
  fetched: z.array(z.object({ jobId: z.string(), replica: z.number(), bytes: z.number() })).default([]),
});

/** What the running node says of itself; null when none runs. */
export type Live = z.infer<typeof liveSchema>;

export async function readLive(dataDir: string, context: { signal: AbortSignal }): Promise<Live | null> {
  try {
    return (await askNode(dataDir, { method: "GET", path: "/status", schema: liveSchema }, context)) ?? null;
  } catch (error) {
    // It is just stopping: the journal says the rest.
    if (error instanceof MarketError && error.code === "NODE_NOT_ANSWERING") return null;
    throw error;
  }
}
