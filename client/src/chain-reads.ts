import { type DecodedLog, decodeLogs, parseLogs, type RawLog, toMarketError } from "@berth/chain";
import {
  type Address,
  didAttributes,
  type Hex,
  identityRegistryAbi,
  type JobId,
  jobMarketAbi,
  MarketError,
  type UnixSeconds,
} from "@berth/protocol";
import { type Abi, encodeEventTopics, erc20Abi, hexToString, pad, stringToHex, toHex } from "viem";
import type { Client } from "./client.ts";
import type { TokenInfo } from "./format.ts";

/** States of a replica in the contract's order. */
const replicaStates = [
  "none",
  "posted",
  "active",
  "submitted",
  "judging",
  "disputed",
  "settled",
  "refunded",
  "cancelled",
] as const;
export type ReplicaState = (typeof replicaStates)[number];

/** What the market's storage holds of one replica. */
export interface StoredReplica {
  state: ReplicaState;
  /** Unix seconds; 0 before. */
  matchedAt: UnixSeconds;
  /** Of the submission, or of what came after it: a dispute, a lease's last claim. */
  lastAt: UnixSeconds;
  /** 21 bytes: first of the hash of the terms, from the submission on of the terms and the claim. */
  commitment: Hex;
}

/** May its result be approved? */
export function hasOpenResult(state: ReplicaState): boolean {
  return state === "submitted" || state === "judging";
}

/** Unix seconds of the newest block. */
export async function chainNow({ rpc }: Client): Promise<UnixSeconds> {
  return Number((await reading(rpc.client.getBlock({ blockTag: "latest" }), "Reading the newest block")).timestamp);
}

/**
 * Unix seconds that orders count from: a chain at rest has an old newest block, and its next one will have the time of
 * day; a test chain may be ahead of it.
 */
export async function orderNow(client: Client): Promise<UnixSeconds> {
  return Math.max(await chainNow(client), Math.floor(Date.now() / 1000));
}

/** A replica as the market stores it now. */
export async function storedReplica(
  { rpc, deployment }: Client,
  jobId: JobId,
  replica: number,
): Promise<StoredReplica> {
  const call = {
    address: deployment.market,
    abi: jobMarketAbi,
    functionName: "replicaOf",
    args: [jobId, replica],
  } as const;
  const { state, ...stored } = await reading(rpc.client.readContract(call), "Reading a replica");
  return { state: replicaStates[state] ?? "none", ...stored };
}

/** Unix seconds of a block. */
export async function blockTime({ rpc }: Client, height: number): Promise<UnixSeconds> {
  const block = await reading(rpc.client.getBlock({ blockNumber: BigInt(height) }), "Reading a block");
  return Number(block.timestamp);
}

/** What a transaction called; undefined where the RPC does not have it any more. */
export async function callDataOf({ rpc }: Client, hash: Hex, signal?: AbortSignal): Promise<Hex | undefined> {
  const transaction = (await rpc.request("eth_getTransactionByHash", [hash], { signal })) as { input?: Hex } | null;
  return transaction?.input;
}

/** Token units that `account` has in the market. */
export async function marketBalance({ rpc, deployment }: Client, account: Address, token: Address): Promise<bigint> {
  const call = {
    address: deployment.market,
    abi: jobMarketAbi,
    functionName: "balanceOf",
    args: [account, token],
  } as const;
  return await reading(rpc.client.readContract(call), "Reading the balance in the market");
}

/** Token units in `account`'s own wallet. */
export async function tokenBalance({ rpc }: Client, account: Address, token: Address): Promise<bigint> {
  const call = { address: token, abi: erc20Abi, functionName: "balanceOf", args: [account] } as const;
  return await reading(rpc.client.readContract(call), "Reading the token balance");
}

/**
 * The token to pay with: a symbol of the deployment record, an address, or the record's first token.
 * Throws TOKEN_UNKNOWN.
 */
export async function tokenOf({ rpc, deployment }: Client, name?: string): Promise<TokenInfo> {
  const { tokens } = deployment;
  const listed = tokens.find(
    ({ address, symbol }) => name === undefined || address === name.toLowerCase() || symbol === name,
  );
  if (listed !== undefined) return listed;
  if (name === undefined || !/^0x[0-9a-fA-F]{40}$/.test(name)) {
    const known = tokens.map(({ symbol }) => symbol).join(", ") || "none";
    throw new MarketError(
      "TOKEN_UNKNOWN",
      name === undefined ? "No token is named to pay with." : `There is no token "${name}".`,
      {
        hint: `Known by name: ${known}. Any other is given by its address with --token.`,
      },
    );
  }
  const token = { address: name.toLowerCase() as Address, abi: erc20Abi } as const;
  try {
    const [symbol, decimals] = await Promise.all([
      rpc.client.readContract({ ...token, functionName: "symbol" }),
      rpc.client.readContract({ ...token, functionName: "decimals" }),
    ]);
    return { address: token.address, symbol, decimals };
  } catch (cause) {
    throw new MarketError("TOKEN_UNKNOWN", `There is no ERC-20 token at ${name}.`, { cause });
  }
}

/** Like `tokenOf` for an address, but one that does not answer is shown by its address in whole units. */
export async function tokenAt(client: Client, address: Address): Promise<TokenInfo> {
  return await tokenOf(client, address).catch(() => ({ address, symbol: address, decimals: 0 }));
}

export type MarketEvent = DecodedLog<typeof jobMarketAbi>;
type IdentityEvent = DecodedLog<typeof identityRegistryAbi>;

/** Everything that the market ever said about a job, in order. */
export async function jobEvents(client: Client, jobId: JobId, signal?: AbortSignal): Promise<MarketEvent[]> {
  const logs = await findLogs(client, { address: client.deployment.market, topics: [null, jobId] }, signal);
  return decodeLogs(jobMarketAbi, logs);
}

/** The jobs that a requester posted, cancelled or had matched. */
export async function requesterEvents(
  client: Client,
  requester: Address,
  signal?: AbortSignal,
): Promise<MarketEvent[]> {
  const names = ["RequestPosted", "JobMatched"] as const;
  const topics = [names.map((eventName) => selector(jobMarketAbi, eventName)), null, pad(requester)];
  return decodeLogs(jobMarketAbi, await findLogs(client, { address: client.deployment.market, topics }, signal));
}

/** One publication of a node's keys: in force until the next one. */
export interface Publication {
  key: Address;
  wgKey: Hex;
  contentUrl: string;
  /** Height of its block, and of the next publication's or revocation's: the first in which it no longer counts. */
  fromBlock: number;
  untilBlock: number;
}

/** Every publication of a node's keys, oldest first. */
export async function publicationsOf(
  client: Client,
  operator: Address,
  index: number,
  signal?: AbortSignal,
): Promise<Publication[]> {
  const names = ["NodePublished", "NodeRevoked"] as const;
  const topics = [names.map((eventName) => selector(identityRegistryAbi, eventName)), pad(operator), pad(toHex(index))];
  const events = decodeLogs(
    identityRegistryAbi,
    await findLogs(client, { address: client.deployment.identity, topics }, signal),
  );
  return events.flatMap((event, at) => {
    if (event.eventName !== "NodePublished") return [];
    const { key, wgKey, contentUrl } = event.args;
    const untilBlock = events[at + 1]?.log.blockNumber ?? Number.POSITIVE_INFINITY;
    return [{ key: key.toLowerCase() as Address, wgKey, contentUrl, fromBlock: event.log.blockNumber, untilBlock }];
  });
}

/** The address of content that an identity's DID document names now, if any. */
export async function contentUrlOf(
  client: Client,
  identity: Address,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const topics = [selector(identityRegistryAbi, "DIDAttributeChanged"), pad(identity)];
  const logs = await findLogs(client, { address: client.deployment.identity, topics }, signal);
  const now = await chainNow(client);
  const name = stringToHex(didAttributes.contentUrl, { size: 32 });
  const last = decodeLogs(identityRegistryAbi, logs)
    .filter(
      (event): event is Extract<IdentityEvent, { eventName: "DIDAttributeChanged" }> =>
        event.eventName === "DIDAttributeChanged" && event.args.name === name,
    )
    .at(-1);
  return last !== undefined && last.args.validTo > BigInt(now) ? hexToString(last.args.value) : undefined;
}

/** Addresses and bytes in lower case, as everywhere in this house. */
export function lowerCase<T extends object>(words: T): T {
  const lower = Object.entries(words).map(([name, value]) => [
    name,
    typeof value === "string" ? value.toLowerCase() : value,
  ]);
  return Object.fromEntries(lower) as T;
}

interface LogFilter {
  address: Address;
  topics: (Hex | Hex[] | null)[];
}

const FIRST_RANGE = 10_000;
const SMALLEST_RANGE = 100;

/** Logs since the market exists; in pieces where the RPC refuses so long a range. */
async function findLogs({ rpc, deployment }: Client, filter: LogFilter, signal?: AbortSignal): Promise<RawLog[]> {
  const look = async (fromBlock: number, toBlock: number | "latest") => {
    const range = { fromBlock: toHex(fromBlock), toBlock: toBlock === "latest" ? toBlock : toHex(toBlock) };
    return parseLogs(await rpc.request("eth_getLogs", [{ ...filter, ...range }], { signal }), "the market");
  };
  try {
    return await look(deployment.fromBlock, "latest");
  } catch (error) {
    signal?.throwIfAborted();
    const reason = toMarketError(error, { action: "Reading the market's events" });
    if (reason.retryable) throw reason;
  }
  const head = Number(await reading(rpc.client.getBlockNumber({ cacheTime: 0 }), "Reading the newest block's number"));
  const found: RawLog[] = [];
  let step = FIRST_RANGE;
  for (let from = deployment.fromBlock; from <= head; ) {
    try {
      found.push(...(await look(from, Math.min(head, from + step - 1))));
      from += step;
    } catch (error) {
      signal?.throwIfAborted();
      if (step <= SMALLEST_RANGE) throw toMarketError(error, { action: "Reading the market's events" });
      step = Math.max(SMALLEST_RANGE, Math.floor(step / 4));
    }
  }
  return found;
}

function selector(abi: Abi, eventName: string): Hex {
  return encodeEventTopics({ abi, eventName } as never)[0] as Hex;
}

/** What viem throws, said in this house's words. */
async function reading<T>(call: Promise<T>, action: string): Promise<T> {
  try {
    return await call;
  } catch (error) {
    throw toMarketError(error, { action });
  }
}
