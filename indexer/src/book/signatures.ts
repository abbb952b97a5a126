import { type Rpc, toMarketError } from "@berth/chain";
import { type Address, type Hex, MarketError } from "@berth/protocol";
import { encodeFunctionData } from "viem";
import { createGate, type GateSize } from "../intake/gate.ts";
import { keccak } from "../intake/keccak.ts";
import { createKeyCheck } from "../intake/key-check.ts";
import { createRemembered } from "../intake/remembered.ts";

/** What contract accounts answer when a signature is theirs (ERC-1271), as the word that the contracts compare. */
const MAGIC_WORD = `0x1626ba7e${"0".repeat(56)}`;
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

/** Most gas that a contract may use to say whether a signature is its own. */
export const MAX_WALLET_GAS = 200_000n;
/** Contracts that are asked at a time, and orders that wait for it: fewer than the intake lets in, so that keys never wait. */
const WALLET_GATE: GateSize = { atWork: 4, waiting: 4 };
/** A contract may change its mind: how long its answers count. */
const YES_MS = 60_000;
const NO_MS = 10_000;
const MAX_REMEMBERED = 4096;

/** How RPCs say, where they do not say that it reverted, that a contract's own code failed. */
const EVM_FAULT =
  /stack ?(underflow|overflow|limit)|(bad|invalid) ?(jump|instruction|opcode|code)|write protection|static ?call|return ?data|gas uint64/i;

/** Did `account` sign `hash`? `sender` handed it in. Throws RPC_UNAVAILABLE, RPC_ERROR and INTAKE_BUSY when a contract cannot be asked. */
export type IsSignedBy = (sender: string, account: Address, hash: Hex, signature: Hex) => Promise<boolean>;

/** Keys are checked here; where the account is a contract it is asked (ERC-1271), a few at a time and with little gas. */
export function createSignatureCheck(rpc: Rpc, nowMs: () => number = Date.now): IsSignedBy {
  const gate = createGate(WALLET_GATE, busy);
  const answers = createRemembered<boolean>(MAX_REMEMBERED, nowMs);
  const keysOnly = createRemembered<true>(MAX_REMEMBERED, nowMs);

  async function ask(account: Address, hash: Hex, signature: Hex): Promise<boolean> {
    try {
      const code = await rpc.client.getCode({ address: account });
      if (code === undefined || code === "0x") {
        keysOnly.put(account, true, NO_MS);
        return false;
      }
      const call = { abi: isValidSignatureAbi, functionName: "isValidSignature", args: [hash, signature] } as const;
      const { data } = await rpc.client.call({ to: account, data: encodeFunctionData(call), gas: MAX_WALLET_GAS });
      return data?.slice(0, MAGIC_WORD.length) === MAGIC_WORD;
    } catch (error) {
      const failure = toMarketError(error, { action: `Asking ${account} about a signature` });
      if (failure.code === "REVERTED" || EVM_FAULT.test(failure.message)) return false;
      throw failure.code === "RPC_ERROR" ? unanswered(account, failure) : failure;
    }
  }

  return async (sender, account, hash, signature) => {
    if (await isKeyOf(account, hash, signature)) return true;
    if (keysOnly.get(account) === true) return false;
    const key = `${account}${hash}${Buffer.from(keccak(Buffer.from(signature.slice(2), "hex"))).toString("hex")}`;
    const known = answers.get(key);
    if (known !== undefined) return known;
    const answer = await gate.pass(sender, () => ask(account, hash, signature));
    answers.put(key, answer, answer ? YES_MS : NO_MS);
    return answer;
  };
}

/** That the RPC could not ask says nothing about the signature. */
function unanswered(account: Address, cause: MarketError): MarketError {
  return new MarketError("RPC_ERROR", `The RPC of the chain could not ask ${account} about a signature.`, {
    hint: "Hand the order in again a little later.",
    retryable: true,
    cause,
  });
}

function busy(): MarketError {
  return new MarketError("INTAKE_BUSY", "Too many contract accounts are being asked about their signatures.", {
    hint: "Hand the order in again after a few seconds, or sign with a key.",
    retryable: true,
  });
}

export function badSignature(what: string, signer: string): MarketError {
  return new MarketError("BAD_SIGNATURE", `The ${what} is not signed by ${signer}.`, {
    hint: `Sign the EIP-712 data with that account's key, for this chain id and this market's address. A contract account must say so with at most ${MAX_WALLET_GAS} gas.`,
  });
}
