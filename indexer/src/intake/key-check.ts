import type { Address, Hex } from "@berth/protocol";
import { createRecent } from "./recent.ts";
import { type RecoverKey, signerOf } from "./recover.ts";

/** Did `account`'s own key sign `hash`? */
export type KeyCheck = (account: Address, hash: Hex, signature: Hex) => Promise<boolean>;

/**
 * The same order comes again and again, from its signer and from other indexers: the last `max` good signatures are verified
 * once. Bad ones are not kept, so junk pushes nothing out.
 */
export function createKeyCheck(max: number, recover?: RecoverKey): KeyCheck {
  const good = createRecent(max);
  return async (account, hash, signature) => {
    const key = `${account}${hash}${signature}`.toLowerCase();
    if (good.has(key)) return true;
    if ((await signerOf(hash, signature, recover)) !== account.toLowerCase()) return false;
    good.add(key);
    return true;
  };
}
