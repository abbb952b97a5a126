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
  /** What the operator lets the node commit to; all zero until it was said. */
  limits: NodeLimits;
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
  const [node, controller, deactivated, use, limits] = await Promise.all([
    client.readContract({ ...registry, functionName: "nodeOf", args: [operator, index] }),
    client.readContract({ ...registry, functionName: "controllerOf", args: [operator] }),
    client.readContract({ ...registry, functionName: "deactivated", args: [operator] }),
    client.readContract({ address: market, abi: jobMarketAbi, functionName: "useOf", args: [operator, index] }),
    client.readContract({ address: market, abi: jobMarketAbi, functionName: "limitsOf", args: [operator, index] }),
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
    limits,
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

/** Which of `what` (tokens, verifiers, arbiters) the operator does not let its nodes sign for yet. */
export async function readNotAccepted(
  rpc: Rpc,
  { market }: Deployment,
  { operator, what }: { operator: Address; what: readonly Address[] },
): Promise<Address[]> {
  const call = { address: market, abi: jobMarketAbi, functionName: "accepts" } as const;
  const accepted = await Promise.all(
    what.map((item) => rpc.client.readContract({ ...call, args: [operator, item] })),
  ).catch((error: unknown) => {
    throw toMarketError(error, { action: "Reading what the operator accepts" });
  });
  return what.filter((_, at) => accepted[at] !== true);
}

/** Has the operator said what the node may commit to? */
export function hasLimits({ limits }: Registration): boolean {
  return limits.maxActive > 0;
}

export function areLimits(stored: NodeLimits, wanted: NodeLimits): boolean {
  return (Object.keys(wanted) as (keyof NodeLimits)[]).every((name) => stored[name] === wanted[name]);
}

export function isPublished({ key }: Registration): boolean {
  return key !== ZERO_ADDRESS;
}
