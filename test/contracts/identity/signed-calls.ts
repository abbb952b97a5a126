import { type Actor, time } from "../support/actors.ts";
import { aProfile, CHAIN_ID, DAY, type Deployed, keyProof, text32 } from "../support/market.ts";

/** A call as its controller signs it: `ChangeOwner` is sent by `changeOwnerSigned`. */
export interface Call {
  type: keyof typeof types;
  /** The members of the struct without nonce and deadline. */
  message: Record<string, unknown>;
  /** What the function takes in their place. */
  args: unknown[];
}

/** What differs from the honest signature. */
interface Forged {
  chainId?: number;
  registry?: string;
  nonce?: bigint;
  deadline?: number;
}

const member = (member: string) => {
  const [type = "", name = ""] = member.split(" ");
  return { type, name };
};
const struct = (members: string) => `${members},uint48 nonce,uint40 deadline`.split(",").map(member);
/** Written down here a second time, so that a changed type in the contract does not go unnoticed. */
const types = {
  ChangeOwner: struct("address identity,address newOwner"),
  AddDelegate: struct("address identity,bytes32 delegateType,address delegate,uint256 validity"),
  RevokeDelegate: struct("address identity,bytes32 delegateType,address delegate"),
  SetAttribute: struct("address identity,bytes32 name,bytes value,uint256 validity"),
  RevokeAttribute: struct("address identity,bytes32 name,bytes value"),
  PublishNode: struct("address operator,NodeProfile profile"),
  RevokeNode: struct("address operator,uint32 index"),
};
const nodeProfile = (
  "uint32 index,address key,bytes32 wgKey,uint64 salt,uint40 validTo," +
  "string wgEndpoint,string contentUrl,string profileCid"
)
  .split(",")
  .map(member);

/** The signature of `signer` for `call`, and the deadline that it covers. */
export async function signCall(on: Deployed, signer: Actor, { type, message }: Call, forged: Forged = {}) {
  const { chainId = CHAIN_ID, registry = on.addresses.identity, deadline = (await time.latest()) + DAY } = forged;
  const identity = message["identity"] ?? message["operator"];
  const nonce = forged.nonce ?? ((await on.identity.nonceOf(identity)) as bigint);
  const domain = { name: "Berth Identity", version: "1", chainId, verifyingContract: registry };
  const used = { [type]: types[type], ...(type === "PublishNode" ? { NodeProfile: nodeProfile } : {}) };
  return { deadline, signature: await signer.signTypedData(domain, used, { ...message, nonce, deadline }) };
}

/** Somebody who holds the signature sends it. */
export function send(
  on: Deployed,
  sender: Actor,
  { type, args }: Call,
  { deadline, signature }: { deadline: number; signature: string },
  options = {},
) {
  const name = `${type.charAt(0).toLowerCase()}${type.slice(1)}Signed` as "changeOwnerSigned";
  return on.identity.connect(sender)[name](...args, deadline, signature, options);
}

export const changeOwner = (identity: Actor, newOwner: string): Call =>
  sameArgs("ChangeOwner", { identity: identity.address, newOwner });

export const addDelegate = (identity: Actor, kind: string, delegate: Actor, validity: number): Call =>
  sameArgs("AddDelegate", {
    identity: identity.address,
    delegateType: text32(kind),
    delegate: delegate.address,
    validity,
  });

export const revokeDelegate = (identity: Actor, kind: string, delegate: Actor): Call =>
  sameArgs("RevokeDelegate", { identity: identity.address, delegateType: text32(kind), delegate: delegate.address });

export const setAttribute = (identity: Actor, name: string, value: string, validity: number): Call =>
  sameArgs("SetAttribute", { identity: identity.address, name: text32(name), value, validity });

export const revokeAttribute = (identity: Actor, name: string, value: string): Call =>
  sameArgs("RevokeAttribute", { identity: identity.address, name: text32(name), value });

export const revokeNode = (operator: Actor, index: number): Call =>
  sameArgs("RevokeNode", { operator: operator.address, index });

export async function publishNode(
  on: Deployed,
  operator: Actor,
  key: Actor,
  replaced: Record<string, unknown> = {},
): Promise<Call> {
  const profile = await aProfile(key, replaced);
  const node = { operator: operator.address as `0x${string}`, index: profile.index, wgKey: profile.wgKey };
  const proof = await keyProof(on, key, node);
  return {
    type: "PublishNode",
    message: { operator: operator.address, profile },
    args: [operator.address, profile, proof],
  };
}

const sameArgs = (type: Call["type"], message: Record<string, unknown>): Call => ({
  type,
  message,
  args: Object.values(message),
});
