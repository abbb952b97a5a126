import { type Deployment, type Hex, identityRegistryAbi, textToBytes32 } from "@berth/protocol";
import { decodeEventLog, encodeEventTopics } from "viem";
import type { Query } from "../store/database.ts";
import { peerUrl } from "./peer-url.ts";

/** Indexers whose URLs the registry is read for, those with the most stake behind them first, then the oldest. */
const MAX_ANNOUNCED = 64;
/** Announcements that are looked at, the newest. */
const MAX_LOGS = 2_000;

/** The DID attribute by which an identity says where its indexer answers. */
export const INDEXER_ATTRIBUTE = textToBytes32("did/svc/BerthIndexer");
const EVENT = { abi: identityRegistryAbi, eventName: "DIDAttributeChanged" } as const;
const [SELECTOR] = encodeEventTopics(EVENT);

/**
 * Base URLs that identities published with the attribute `did/svc/BerthIndexer`. Anyone may publish one, so they are ordered by
 * the stake of who did, in tokens of the deployment.
 */
export async function announcedUrls(query: Query, { identity, tokens }: Deployment, now: number): Promise<string[]> {
  const logs = await query<{ topics: Hex; data: Hex }>(
    `SELECT hex(topics) AS topics, hex(data) AS data FROM logs
     WHERE substr(data, 1, 32) = '\\x${INDEXER_ATTRIBUTE.slice(2)}' AND address = unhex($1) AND substr(topics, 1, 32) = unhex($2)
     ORDER BY block_number DESC, log_index DESC LIMIT ${MAX_LOGS}`,
    [identity, SELECTOR],
  );
  const byIdentity = new Map<Hex, string | null>();
  for (const { topics, data } of logs.reverse()) {
    const { args } = decodeEventLog({ ...EVENT, topics: splitTopics(topics), data });
    const { value, validTo } = args;
    const who = args.identity.toLowerCase() as Hex;
    const url = peerUrl(Buffer.from(value.slice(2), "hex").toString("utf8"));
    if (validTo >= BigInt(now)) byIdentity.set(who, url ?? null);
    else if (byIdentity.get(who) === (url ?? null)) byIdentity.delete(who);
  }
  if (byIdentity.size === 0) return [];
  const ranked = await query<{ identity: Hex }>(
    `SELECT a.identity FROM unnest($1::text[]) WITH ORDINALITY AS a(identity, place)
     LEFT JOIN identities i ON i.identity = unhex(a.identity)
     LEFT JOIN stakes s ON s.operator = unhex(a.identity) AND hex(s.token) = ANY($2::text[])
     WHERE i.deactivated IS NOT TRUE
     GROUP BY a.identity, a.place ORDER BY coalesce(sum(s.free + s.locked), 0) DESC, a.place LIMIT ${MAX_ANNOUNCED}`,
    [[...byIdentity.keys()], tokens.map(({ address }) => address.toLowerCase())],
  );
  const urls = ranked.map((row) => byIdentity.get(row.identity)).filter((url) => url !== null && url !== undefined);
  return [...new Set(urls)];
}

function splitTopics(joined: Hex): [Hex, ...Hex[]] {
  return (joined.slice(2).match(/.{64}/g) ?? []).map((topic): Hex => `0x${topic}`) as [Hex, ...Hex[]];
}
