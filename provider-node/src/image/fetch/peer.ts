import { createHash } from "node:crypto";
import type { Source } from "@berth/content";
import type { RegistryNode } from "../../store/journal.ts";

/** How many other nodes are asked for an image. */
const MAX_PEERS = 4;

/**
 * The gateways of other nodes that may have an image, for a node serves those it lately ran. Every image has an order of its
 * own, so that the same few nodes come to have it and nobody is asked for everything. Pure.
 */
export function peersFor(
  digest: string,
  nodes: readonly RegistryNode[],
  self: { operator: string; index: number },
  { now, allowPrivate }: { now: number; allowPrivate: boolean },
): Source[] {
  const rank = ({ operator, index }: RegistryNode) =>
    createHash("sha256").update(`${digest} ${operator} ${index}`).digest("hex");
  const others = nodes.filter(
    ({ operator, index, contentUrl, validTo }) =>
      (operator !== self.operator || index !== self.index) && validTo >= now && /^https?:\/\//.test(contentUrl),
  );
  const urls = new Set(others.sort((a, b) => (rank(a) < rank(b) ? -1 : 1)).map(({ contentUrl }) => contentUrl));
  return [...urls].slice(0, MAX_PEERS).map((url) => ({ url, publicOnly: !allowPrivate }));
}
