import { MarketError } from "./errors.ts";

/** Bit of each trait in an order's `traits` mask. A bit, once given, never changes its meaning. */
export const traitBits = {
  "arch-amd64": 0,
  "arch-arm64": 1,
  "isolation-container": 8,
  "isolation-gvisor": 9,
  "isolation-vm": 10,
  "attest-exec": 16,
  "attest-tpm2": 17,
  "attest-tdx": 18,
  "attest-sev-snp": 19,
  "attest-nitro": 20,
  "network-mesh": 24,
  "network-egress": 25,
} as const;

export type Trait = keyof typeof traitBits;
export const traitNames = Object.keys(traitBits) as [Trait, ...Trait[]];

/** The mask with the bit of every named trait set. Throws UNKNOWN_TRAIT. */
export function traitsToMask(names: readonly string[]): bigint {
  return names.reduce((mask, name) => {
    const bit = traitBits[name as Trait];
    if (bit === undefined) {
      throw new MarketError("UNKNOWN_TRAIT", `There is no trait "${name}".`, {
        hint: `Known: ${traitNames.join(", ")}.`,
      });
    }
    return mask | (1n << BigInt(bit));
  }, 0n);
}

/** The names of the traits in a mask; a bit without a name is left out. */
export function maskToTraits(mask: bigint): Trait[] {
  return traitNames.filter((name) => (mask >> BigInt(traitBits[name])) & 1n);
}
