import { createRequire } from "node:module";
import type { Address, Hex } from "@berth/protocol";
import { recoverPublicKey } from "viem";
import { keccak } from "./keccak.ts";

/** r, s and v: what the contracts take of a key. Anything else is no signature to them. */
const SIGNATURE_BYTES = 65;
/** Half of the curve's order. From a signature with an `s` above it anyone could make a second one: contracts refuse both. */
const HALF_ORDER = Buffer.from("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0", "hex");

interface Secp256k1 {
  /** Uncompressed public key. Throws where no key made the signature. */
  ecdsaRecover(rs: Uint8Array, recovery: number, digest: Uint8Array, compressed: boolean): Uint8Array;
}
export type RecoverKey = (digest: Uint8Array, rs: Uint8Array, recovery: number) => Promise<Uint8Array> | Uint8Array;

/** libsecp256k1, where the package brings it compiled for this machine. */
export const recoverNatively: RecoverKey | undefined = loadNative();

/** Twenty times as slow, the same everywhere. */
export const recoverPortably: RecoverKey = async (digest, rs, recovery) => {
  const signature = Buffer.concat([rs, Buffer.from([27 + recovery])]);
  return Buffer.from((await recoverPublicKey({ hash: digest, signature })).slice(2), "hex");
};

/** The account whose key made `signature` of `hash`, or undefined when the contracts would not accept its form. */
export async function signerOf(
  hash: Hex,
  signature: Hex,
  recover: RecoverKey = recoverNatively ?? recoverPortably,
): Promise<Address | undefined> {
  if (signature.length !== 2 + 2 * SIGNATURE_BYTES) return undefined;
  const bytes = Buffer.from(signature.slice(2), "hex");
  const v = bytes[64];
  if ((v !== 27 && v !== 28) || bytes.compare(HALF_ORDER, 0, 32, 32, 64) > 0) return undefined;
  try {
    const key = await recover(Buffer.from(hash.slice(2), "hex"), bytes.subarray(0, 64), v - 27);
    return `0x${Buffer.from(keccak(key.subarray(1))).toString("hex", 12)}` as Address;
  } catch {
    return undefined;
  }
}

/** Its own door falls back to a package in JavaScript that we do not want; this is the room behind it. */
function loadNative(): RecoverKey | undefined {
  const require = createRequire(import.meta.url);
  try {
    const { ecdsaRecover } = require("secp256k1/bindings.js") as Secp256k1;
    return (digest, rs, recovery) => ecdsaRecover(rs, recovery, digest, false);
  } catch {
    return undefined;
  }
}
