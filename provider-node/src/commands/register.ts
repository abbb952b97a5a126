import { randomBytes } from "node:crypto";
import type { Rpc } from "@berth/chain";
import {
  type Address,
  didOf,
  type Hex,
  identityRegistryAbi,
  jobMarketAbi,
  MarketError,
  nodeKeyTypedData,
} from "@berth/protocol";
import { BaseError, ContractFunctionRevertedError, encodeFunctionData } from "viem";
import { connectChain } from "../chain/connect.ts";
import { readKey } from "../chain/keys.ts";
import { areLimits, readNotAccepted, readRegistration } from "../chain/registration.ts";
import { type Config, keyFileOf, need, wgKeyFileOf } from "../config.ts";
import { acceptedBy, limitsFor } from "../core/offer.ts";
import { capacityOf } from "../jobs/doctor.ts";
import type { Context } from "../log.ts";
import { loadOrCreateKey } from "../mesh/keys.ts";
import { assertController, openOperator, type Sent } from "./operator.ts";

/** CID of a document about the node; this node publishes none. */
const NO_PROFILE = "";

export interface RegisterAnswer {
  did: string;
  operator: Address;
  index: number;
  key: Address;
  wgKey: string;
  contentUrl: string;
  wgEndpoint: string;
  /** Unix seconds. */
  validTo: number;
  transactions: Sent[];
}

export interface RegisterOptions {
  operatorKeyFile: string;
  /** Days for which the hot key counts. */
  validDays: number;
}

/**
 * Publishes the node's keys and addresses, then the limits that the operator sets for it and what it accepts. May be
 * repeated: what is as it should be costs nothing.
 */
export async function register(config: Config, options: RegisterOptions, context: Context): Promise<RegisterAnswer> {
  const operator = need(config, "operator");
  const { rpc, deployment } = await connectChain(config, context);
  const hot = readKey(keyFileOf(config), "hot key");
  const { wgKey, publicKey } = await loadOrCreateKey(wgKeyFileOf(config));
  const contentUrl = publicUrlOf(config);
  const found = await readRegistration(rpc, deployment, { operator, index: config.index });
  const wallet = openOperator(options.operatorKeyFile, rpc, 0, context);
  const transactions: Sent[] = [];
  try {
    assertController(wallet.account, operator, found.controller);
    const { timestamp } = await rpc.client.getBlock({ blockTag: "latest" });
    const validTo = Number(timestamp) + options.validDays * 86_400;
    const registry = { chainId: rpc.chainId, registry: deployment.identity };
    const keyProof = await hot.signTypedData(nodeKeyTypedData(registry, { operator, index: config.index, wgKey }));
    const wgEndpoint = config.mesh.enabled ? (config.mesh.endpoint ?? "") : "";
    const profile = {
      index: config.index,
      key: hot.address,
      wgKey,
      validTo,
      wgEndpoint,
      contentUrl,
      profileCid: NO_PROFILE,
    };
    const salt = await freeSalt(rpc, deployment.identity, {
      operator,
      profile,
      keyProof,
      from: wallet.account.address,
    });
    const data = encodeFunctionData({
      abi: identityRegistryAbi,
      functionName: "publishNode",
      args: [operator, { ...profile, salt }, keyProof],
    });
    transactions.push(await wallet.send("publish node", { to: deployment.identity, data }));

    if (config.offers.token !== undefined) {
      const limits = limitsFor(capacityOf(config), config.offers);
      if (!areLimits(found.limits, limits)) {
        const args = [operator, config.index, limits] as const;
        const setLimits = encodeFunctionData({ abi: jobMarketAbi, functionName: "setNodeLimits", args });
        transactions.push(await wallet.send("set limits", { to: deployment.market, data: setLimits }));
      }
      const missing = await readNotAccepted(rpc, deployment, { operator, what: acceptedBy(config.offers) });
      if (missing.length > 0) {
        const args = [operator, missing, true] as const;
        const setAccepted = encodeFunctionData({ abi: jobMarketAbi, functionName: "setAccepted", args });
        transactions.push(await wallet.send("set accepted", { to: deployment.market, data: setAccepted }));
      }
    }
    const key = hot.address.toLowerCase() as Address;
    const about = { did: didOf(rpc.chainId, operator), operator, index: config.index, key, wgKey: publicKey };
    return { ...about, contentUrl, wgEndpoint, validTo, transactions };
  } finally {
    await wallet.close();
  }
}

/** Where others reach this node's content. Throws CONFIG_MISSING when only the machine itself could. */
function publicUrlOf({ http }: Config): string {
  if (http.publicUrl !== undefined) return http.publicUrl;
  if (http.port !== 0 && !["0.0.0.0", "::"].includes(http.host)) {
    return `http://${http.host.includes(":") ? `[${http.host}]` : http.host}:${http.port}`;
  }
  throw new MarketError("CONFIG_MISSING", "The address at which others reach this node is not known.", {
    hint: "Set http.publicUrl (--public-url URL).",
  });
}

/** The mesh prefix follows from the salt; where somebody else has it already, another salt gives another one. */
async function freeSalt(
  rpc: Rpc,
  identity: Address,
  {
    operator,
    profile,
    keyProof,
    from,
  }: { operator: Address; profile: Omit<Profile, "salt">; keyProof: Hex; from: Address },
): Promise<bigint> {
  for (let salt = 0n; ; salt = randomBytes(8).readBigUInt64BE()) {
    try {
      await rpc.client.simulateContract({
        address: identity,
        abi: identityRegistryAbi,
        functionName: "publishNode",
        args: [operator, { ...profile, salt }, keyProof],
        account: from,
      });
      return salt;
    } catch (error) {
      const reverted =
        error instanceof BaseError ? error.walk((e) => e instanceof ContractFunctionRevertedError) : null;
      const name = reverted instanceof ContractFunctionRevertedError ? reverted.data?.errorName : undefined;
      if (name !== "PrefixTaken") return salt; // sending it tells what else is wrong
    }
  }
}

interface Profile {
  index: number;
  key: Address;
  wgKey: Hex;
  salt: bigint;
  validTo: number;
  wgEndpoint: string;
  contentUrl: string;
  profileCid: string;
}
