import { connectRpc, toMarketError } from "@berth/chain";
import { type Hex, identityRegistryAbi, MarketError } from "@berth/protocol";
import type { Logger } from "pino";
import { encodeFunctionData, stringToHex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import type { IndexerConfig } from "../config.ts";
import { INDEXER_ATTRIBUTE } from "./announced.ts";
import { peerUrl } from "./peer-url.ts";

export interface AnnounceOptions {
  /** Base URL that the indexer has for others. */
  url: string;
  /** How long others follow it; 0 takes the announcement back. In seconds. */
  seconds: number;
  signal: AbortSignal;
  log: Logger;
}

/**
 * Says in the registry, as the key's account, where an indexer answers; other indexers then read its orders. Returns the
 * transaction once it is mined. Throws PEER_URL_INVALID, KEY_MISSING, REVERTED, INSUFFICIENT_GAS_FUNDS, RPC_UNAVAILABLE.
 */
export async function announceIndexer(
  { deployment, rpcUrls, matcherKey }: Pick<IndexerConfig, "deployment" | "rpcUrls" | "matcherKey">,
  { url: text, seconds, signal, log }: AnnounceOptions,
): Promise<Hex> {
  const url = peerUrl(text);
  if (url === undefined) {
    throw new MarketError("PEER_URL_INVALID", `${text} is no URL that other indexers could ask.`, {
      hint: "Give an http or https URL without user, query and fragment.",
    });
  }
  if (matcherKey === undefined) {
    throw new MarketError("KEY_MISSING", "No key was given to announce with.", {
      hint: "Give the file with an account's private key with --key-file.",
    });
  }
  const account = privateKeyToAccount(matcherKey);
  const rpc = await connectRpc({ urls: rpcUrls, expectedChainId: deployment.chainId, log, signal });
  const abi = identityRegistryAbi;
  const value = stringToHex(url);
  const data =
    seconds > 0
      ? encodeFunctionData({
          abi,
          functionName: "setAttribute",
          args: [account.address, INDEXER_ATTRIBUTE, value, BigInt(seconds)],
        })
      : encodeFunctionData({
          abi,
          functionName: "revokeAttribute",
          args: [account.address, INDEXER_ATTRIBUTE, value],
        });
  try {
    const prepared = await rpc.client.prepareTransactionRequest({
      account,
      to: deployment.identity,
      data,
      chain: null,
    });
    const raw = await account.signTransaction({ ...prepared, chainId: deployment.chainId } as never);
    const hash = await rpc.client.sendRawTransaction({ serializedTransaction: raw });
    const { status } = await rpc.client.waitForTransactionReceipt({ hash });
    if (status === "success") return hash;
  } catch (error) {
    throw toMarketError(error, { abi, action: "The announcement" });
  }
  throw new MarketError("REVERTED", "The announcement was refused by the registry.", {
    hint: "Does the key's account still control its own identity?",
  });
}
