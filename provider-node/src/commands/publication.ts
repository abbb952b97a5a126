import { randomBytes } from "node:crypto";
import type { Rpc } from "@berth/chain";
import {
  type Address,
  type Deployment,
  type Hex,
  identityRegistryAbi,
  MarketError,
  nodeKeyTypedData,
} from "@berth/protocol";
import {
  BaseError,
  ContractFunctionRevertedError,
  encodeAbiParameters,
  encodeFunctionData,
  keccak256,
  type LocalAccount,
  slice,
  stringToHex,
} from "viem";
import { type Config, need } from "../config.ts";
import type { Call } from "./operator.ts";

/** CID of a document about the node; this node publishes none. */
const NO_PROFILE = "";

/** The two keys that a publication is about. The hot one signs that it agrees. */
export interface NodeKeys {
  hot: LocalAccount;
  /** As the registry stores it. */
  wgKey: Hex;
}

/** What the registry is told about a node, and the call that tells it. */
export interface Publication {
  contentUrl: string;
  wgEndpoint: string;
  /** Unix seconds. */
  validTo: number;
  /** As `Node.servicesHash` has it. */
  servicesHash: Hex;
  call: Call;
}

/** @param controller who will send the call */
export async function planPublication(
  config: Config,
  { hot, wgKey }: NodeKeys,
  {
    rpc,
    deployment,
    controller,
    validDays,
  }: { rpc: Rpc; deployment: Deployment; controller: Address; validDays: number },
): Promise<Publication> {
  const operator = need(config, "operator");
  const { index } = config;
  const contentUrl = publicUrlOf(config);
  const wgEndpoint = config.mesh.enabled ? (config.mesh.endpoint ?? "") : "";
  const { timestamp } = await rpc.client.getBlock({ blockTag: "latest" });
  const validTo = Number(timestamp) + validDays * 86_400;
  const registry = { chainId: rpc.chainId, registry: deployment.identity };
  const keyProof = await hot.signTypedData(nodeKeyTypedData(registry, { operator, index, wgKey }));
  const profile = { index, key: hot.address, wgKey, validTo, wgEndpoint, contentUrl, profileCid: NO_PROFILE };
  const salt = await freeSalt(rpc, deployment.identity, { operator, profile, keyProof, from: controller });
  const data = encodeFunctionData({
    abi: identityRegistryAbi,
    functionName: "publishNode",
    args: [operator, { ...profile, salt }, keyProof],
  });
  const until = new Date(validTo * 1000).toISOString().slice(0, 10);
  const description = `Publishes node ${index} of ${operator}: hot key ${hot.address} until ${until}, its WireGuard key, and its content at ${contentUrl}.`;
  const servicesHash = servicesHashOf(wgEndpoint, contentUrl);
  const call: Call = { what: "publish node", description, to: deployment.identity, data };
  return { contentUrl, wgEndpoint, validTo, servicesHash, call };
}

/** The first 24 bytes of what commits to a node's three texts. */
function servicesHashOf(wgEndpoint: string, contentUrl: string): Hex {
  const hashes = [wgEndpoint, contentUrl, NO_PROFILE].map((text) => keccak256(stringToHex(text)));
  const types = [{ type: "bytes32" }, { type: "bytes32" }, { type: "bytes32" }] as const;
  return slice(keccak256(encodeAbiParameters(types, hashes as [Hex, Hex, Hex])), 0, 24);
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
