import { type Rpc, toMarketError } from "@berth/chain";
import {
  type Address,
  type Deployment,
  type Hex,
  identityRegistryAbi,
  jobMarketAbi,
  type NodeLimits,
  providerStakingAbi,
  ZERO_ADDRESS,
} from "@berth/protocol";
import { encodeAbiParameters, keccak256 } from "viem";

/** How the contracts see a node. */
export interface Registration {
  /** Zero: not published. */
  key: Address;
  /** Unix seconds: the last second in which the key counts. */
  validTo: number;
  /** Bits 8…63 of the node's /64. */
  prefix: bigint;
  wgKey: Hex;
  keyVersion: number;
  epoch: number;
  limitsHash: Hex;
  /** Who may register and withdraw for the operator. */
  controller: Address;
  deactivated: boolean;
}

export async function readRegistration(
  rpc: Rpc,
  { identity, market }: Deployment,
  { operator, index }: { operator: Address; index: number },
): Promise<Registration> {
  const { client } = rpc;
  const registry = { address: identity, abi: identityRegistryAbi } as const;
  const [node, controller, deactivated, use, limitsHash] = await Promise.all([
    client.readContract({ ...registry, functionName: "nodeOf", args: [operator, index] }),
    client.readContract({ ...registry, functionName: "controllerOf", args: [operator] }),
    client.readContract({ ...registry, functionName: "deactivated", args: [operator] }),
    client.readContract({ address: market, abi: jobMarketAbi, functionName: "useOf", args: [operator, index] }),
    client.readContract({ address: market, abi: jobMarketAbi, functionName: "limitsHashOf", args: [operator, index] }),
  ]).catch((error: unknown) => {
    throw toMarketError(error, { action: "Reading the node's registration" });
  });
  const lower = (address: string) => address.toLowerCase() as Address;
  const { validTo, prefix, wgKey, keyVersion } = node;
  const { epoch } = use;
  return {
    key: lower(node.key),
    validTo,
    prefix,
    wgKey,
    keyVersion,
    epoch,
    limitsHash,
    controller: lower(controller),
    deactivated,
  };
}

/** Token units of stake: free to back new bonds, and locked behind open replicas. */
export async function readStake(
  rpc: Rpc,
  { staking }: Deployment,
  { operator, token }: { operator: Address; token: Address },
): Promise<{ free: bigint; locked: bigint }> {
  const call = { address: staking, abi: providerStakingAbi, functionName: "stakeOf", args: [operator, token] } as const;
  return await rpc.client.readContract(call).catch((error: unknown) => {
    throw toMarketError(error, { action: "Reading the operator's stake" });
  });
}

/** What the market stores of a node's limits: `keccak256(abi.encode(limits))`. */
export function limitsHashOf(limits: NodeLimits): Hex {
  const setter = jobMarketAbi.find((item) => item.type === "function" && item.name === "setNodeLimits");
  const type = setter?.type === "function" ? setter.inputs[2] : undefined;
  if (type === undefined) throw new Error("the market's ABI lacks setNodeLimits");
  return keccak256(encodeAbiParameters([type], [limits] as never));
}

export function isPublished({ key }: Registration): boolean {
  return key !== ZERO_ADDRESS;
}
