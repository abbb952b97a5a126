import { connectRpc, type Rpc } from "@berth/chain";
import type { ContentStore } from "@berth/content";
import { type Deployment, type MarketDomain, MarketError } from "@berth/protocol";
import { type Logger, pino } from "pino";
import { createIndexer, type Indexer } from "./indexer.ts";
import type { ProgressEvent } from "./progress.ts";
import type { Wallet, WalletMaker } from "./wallet.ts";

/** What every action works with. Plain data: actions are functions that take it first. */
export interface Client {
  readonly rpc: Rpc;
  readonly deployment: Deployment;
  /** What orders of this market are signed for. */
  readonly domain: MarketDomain;
  /** Undefined: only what the chain itself can do. */
  readonly indexer: Indexer | undefined;
  /** Undefined: reading only. */
  readonly wallet: Wallet | undefined;
  readonly store: ContentStore;
  /** Gateways asked for content besides those that nodes publish. */
  readonly contentGateways: readonly string[];
  readonly log: Logger;
  readonly pollMs: number;
}

export interface ClientOptions {
  /** Asked in this order; the next one when one fails. */
  rpcUrls: readonly string[];
  deployment: Deployment;
  indexerUrl?: string | undefined;
  /** A wallet, or a function that makes one over the client's own RPC. */
  wallet?: Wallet | WalletMaker | undefined;
  store: ContentStore;
  contentGateways?: readonly string[] | undefined;
  log?: Logger | undefined;
  /** Milliseconds between two looks at the chain. Default 500. */
  pollMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** What every long call accepts. */
export interface Context {
  signal?: AbortSignal | undefined;
  onProgress?: ((event: ProgressEvent) => void) | undefined;
  log?: Logger | undefined;
}

/**
 * Connects to the chain and makes sure that the market is there.
 * Throws WRONG_CHAIN, NOT_DEPLOYED, RPC_UNAVAILABLE, RPC_URL_INVALID.
 */
export async function createClient(options: ClientOptions): Promise<Client> {
  const { deployment, indexerUrl, wallet, store, contentGateways = [], pollMs = 500, signal } = options;
  const log = options.log ?? pino({ level: "silent" });
  const { chainId, identity, staking, market } = deployment;
  const rpc = await connectRpc({
    urls: options.rpcUrls,
    expectedChainId: chainId,
    log,
    ...(signal === undefined ? {} : { signal }),
  });
  await rpc.assertDeployed({ market, "identity registry": identity, "staking contract": staking }, { signal });
  return {
    rpc,
    deployment,
    domain: { chainId, market },
    indexer: indexerUrl === undefined ? undefined : createIndexer(indexerUrl),
    wallet: typeof wallet === "function" ? wallet(rpc) : wallet,
    store,
    contentGateways,
    log,
    pollMs,
  };
}

/** The client's wallet. Throws WALLET_MISSING: reading needs none, this does. */
export function walletOf({ wallet }: Client): Wallet {
  if (wallet !== undefined) return wallet;
  throw new MarketError("WALLET_MISSING", "This needs a key to sign with, and none is given.", {
    hint: "Give --key-file FILE, set BERTH_KEY_FILE, or write keyFile into the configuration.",
  });
}

/** The client's indexer. Throws INDEXER_MISSING. */
export function indexerOf({ indexer }: Client): Indexer {
  if (indexer !== undefined) return indexer;
  throw new MarketError("INDEXER_MISSING", "This asks an indexer, and none is given.", {
    hint: "Give --indexer URL, set BERTH_INDEXER, or write indexerUrl into the configuration.",
  });
}
