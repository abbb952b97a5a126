import { join } from "node:path";
import { type ContentStore, createKuboStore, openEmbeddedStore } from "@berth/content";
import type { Config } from "../config.ts";

/** The content that this node serves: in its data folder, or in a Kubo daemon. */
export async function openContent({ dataDir, kuboUrl }: Config): Promise<ContentStore> {
  const dir = join(dataDir, "content");
  return kuboUrl === undefined ? await openEmbeddedStore({ dir }) : await createKuboStore({ url: kuboUrl, dir });
}
