import type { Address, Hex } from "@berth/protocol";
import { hexToBytes, keccak256 } from "viem";

/** A test, made once for `addresses`, that tells of a block's bloom filter whether the block may hold a log of theirs. */
export function bloomTest(addresses: readonly Address[]): (bloom: Hex) => boolean {
  const bitsOf = addresses.map((address) => {
    const hash = keccak256(hexToBytes(address), "bytes");
    return [0, 2, 4].map((i) => (((hash[i] as number) << 8) | (hash[i + 1] as number)) & 2047);
  });
  return (bloom) => bitsOf.some((bits) => bits.every((bit) => hasBit(bloom, bit)));
}

/** Bit 0 is the lowest of the last byte; four bits to a hex digit. */
function hasBit(bloom: Hex, bit: number): boolean {
  const digit = bloom[bloom.length - 1 - (bit >> 2)] ?? "0";
  return ((Number.parseInt(digit, 16) >> (bit & 3)) & 1) === 1;
}
