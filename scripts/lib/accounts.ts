import type { Hex } from "@berth/protocol";
import { bytesToHex } from "viem";
import { type Account, mnemonicToAccount, privateKeyToAccount } from "viem/accounts";

/** An account of the devnet with its key in the open: anybody may know it, so it must never hold real money. */
export interface OpenAccount {
  name: string;
  address: Hex;
  privateKey: Hex;
  account: Account;
}

// The phrase that Hardhat and its users have always had on local chains.
const PHRASE = "test test test test test test test test test test test junk";

/** The funded accounts of a devnet, by what they do. */
export const openAccounts = {
  faucet: openAccount("faucet", 0),
  requester: openAccount("requester", 1),
  matcher: openAccount("matcher", 2),
  sink: openAccount("sink", 3),
  operators: [openAccount("operator 0", 10), openAccount("operator 1", 11)],
} as const;

function openAccount(name: string, addressIndex: number): OpenAccount {
  const key = mnemonicToAccount(PHRASE, { addressIndex }).getHdKey().privateKey;
  if (key === null) throw new Error("a phrase gives private keys");
  const privateKey = bytesToHex(key);
  return {
    name,
    address: privateKeyToAccount(privateKey).address,
    privateKey,
    account: privateKeyToAccount(privateKey),
  };
}
