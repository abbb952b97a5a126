import { readFileSync } from "node:fs";
import { connectRpc, type Rpc, readHead } from "@berth/chain";
import { type Deployment, type Hex, MarketError, parseDeployment } from "@berth/protocol";
import { type Config, need } from "../config.ts";
import type { Context } from "../log.ts";

/** A chain that answers, and the market on it. */
export interface ChainAccess {
  rpc: Rpc;
  deployment: Deployment;
  /** Hash of the chain's first block: a devnet started afresh has another one. */
  genesis: Hex;
}

/** Throws CONFIG_MISSING, DEPLOYMENT_INVALID, DEPLOYMENT_UNREADABLE, RPC_UNAVAILABLE, WRONG_CHAIN, NOT_DEPLOYED. */
export async function connectChain(
  config: Config,
  { signal, log }: Context,
  onFailure?: (host: string) => void,
): Promise<ChainAccess> {
  const deployment = readDeployment(config);
  const expectedChainId = deployment.chainId;
  const rpc = await connectRpc({ urls: config.rpcUrls, expectedChainId, log, signal, onFailure });
  const { identity, staking, market } = deployment;
  await rpc.assertDeployed({ "identity registry": identity, "staking contract": staking, market }, { signal });
  const first = (await rpc.request("eth_getBlockByNumber", ["0x0", false], { signal })) as { hash?: Hex } | null;
  if (typeof first?.hash !== "string") {
    throw new MarketError("RPC_INCONSISTENT", "The RPC gave no first block.", { retryable: true });
  }
  return { rpc, deployment, genesis: first.hash };
}

/** The deployment record that the configuration names. Throws CONFIG_MISSING, DEPLOYMENT_UNREADABLE, DEPLOYMENT_INVALID. */
function readDeployment(config: Config): Deployment {
  const file = need(config, "deploymentFile");
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, "utf8"));
  } catch (cause) {
    throw new MarketError(
      "DEPLOYMENT_UNREADABLE",
      `The deployment record ${file} cannot be read: ${(cause as Error).message}`,
      {
        hint: "It is a JSON file; a devnet writes one, and an indexer serves one at /deployment.",
        cause,
      },
    );
  }
  return parseDeployment(value);
}

/** Seconds by which this machine's clock is ahead of the newest block's time (negative: behind). */
export async function clockSkew(rpc: Rpc, signal: AbortSignal): Promise<number> {
  const { timestamp } = await readHead(rpc, signal);
  return Math.floor(Date.now() / 1000) - timestamp;
}
