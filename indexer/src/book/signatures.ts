import { type Rpc, toMarketError } from "@berth/chain";
import { type Address, type Hex, MarketError } from "@berth/protocol";
import { createKeyCheck } from "../intake/key-check.ts";

/** What contract accounts answer when a signature is theirs (ERC-1271). */
const MAGIC = "0x1626ba7e";
/** Signatures that are known to be good, so that the same order is verified once. */
const MAX_VERIFIED = 16_384;
const isKeyOf = createKeyCheck(MAX_VERIFIED);
const isValidSignatureAbi = [
  {
    type: "function",
    name: "isValidSignature",
    stateMutability: "view",
    inputs: [
      { name: "hash", type: "bytes32" },
      { name: "signature", type: "bytes" },
    ],
    outputs: [{ name: "", type: "bytes4" }],
  },
] as const;

/**
 * Did `account` sign `hash`? Keys are checked here; where the account is a contract it is asked (ERC-1271).
 * Throws RPC_UNAVAILABLE when a contract cannot be asked.
 */
export async function isSignedBy(rpc: Rpc, account: Address, hash: Hex, signature: Hex): Promise<boolean> {
  if (await isKeyOf(account, hash, signature)) return true;
  try {
    const code = await rpc.client.getCode({ address: account });
    if (code === undefined || code === "0x") return false;
    const answer = await rpc.client.readContract({
      address: account,
      abi: isValidSignatureAbi,
      functionName: "isValidSignature",
      args: [hash, signature],
    });
    return answer === MAGIC;
  } catch (error) {
    const failure = toMarketError(error, { action: `Asking ${account} about a signature` });
    if (failure.code === "REVERTED") return false;
    if (failure.code === "RPC_ERROR") return false;
    throw failure;
  }
}

export function badSignature(what: string, signer: string): MarketError {
  return new MarketError("BAD_SIGNATURE", `The ${what} is not signed by ${signer}.`, {
    hint: "Sign the EIP-712 data with that account's key, for this chain id and this market's address.",
  });
}
