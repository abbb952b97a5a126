import { type testTokenAbi, ZERO_ADDRESS } from "@berth/protocol";
import type { DecodeEventLogReturnType } from "viem";
import { transfer } from "./money.ts";
import { put, type Storage } from "./storage.ts";

export function replayToken(storage: Storage, event: DecodeEventLogReturnType<typeof testTokenAbi>): Storage {
  if (event.eventName !== "Transfer") return storage;
  const { from, to, value } = event.args;
  // What is minted comes from nowhere.
  return put(transfer(storage, from, to, value), "wallets", ZERO_ADDRESS, 0n);
}
