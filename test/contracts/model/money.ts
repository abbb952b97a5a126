import { put, type Storage } from "./storage.ts";

type Books = "balances" | "wallets" | "owed";

export const amountIn = (storage: Storage, book: Books, account: string): bigint => storage[book][account] ?? 0n;

/** `storage` with `amount` more for `account`; less where it is negative. */
export function add(storage: Storage, book: Books, account: string, amount: bigint): Storage {
  return put(storage, book, account, amountIn(storage, book, account) + amount);
}

/** `amount` tokens change hands. */
export function transfer(storage: Storage, from: string, to: string, amount: bigint): Storage {
  return add(add(storage, "wallets", from, -amount), "wallets", to, amount);
}
