// How fast signed orders are verified: `npm run bench -- intake [--offers=400] [--rounds=5] [--seed=1]`. One thread; every offer has
// members and a key of its own, and goes from what was parsed to the address that signed it. The reference is viem's
// recoverTypedDataAddress on the same offers, a part of them, rounds interleaved; both must name the signer.
// Seconds are those of the processor, so that other programs on the machine count little.
// The aim: 8,000 signed offers per second and core.

import { parseArgs } from "node:util";
import { type Hex, type Offer, offerTypedData } from "@berth/protocol";
import { hashTypedData, hexToBytes, keccak256, recoverTypedDataAddress, toHex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { orderHashes } from "../indexer/src/intake/order-hash.ts";
import { recoverNatively, recoverPortably, signerOf } from "../indexer/src/intake/recover.ts";
import { anOffer } from "../test/support/orders.ts";
import { createReport, median } from "./lib/report.ts";

const AIM = 8000;
/** What is slow verifies every so many-th offer only. */
const SLOW_SHARE = 8;
/** Processor time of each measurement, at least. */
const LEAST_SECONDS = 0.2;
const domain = { chainId: 31337, market: `0x${"3".repeat(40)}` } as const;

interface Signed {
  offer: Offer;
  signature: Hex;
  signer: string;
  digest: Uint8Array;
  rs: Uint8Array;
  recovery: number;
}
const { values: flags } = parseArgs({
  options: {
    offers: { type: "string", default: "400" },
    rounds: { type: "string", default: "5" },
    seed: { type: "string", default: "1" },
  },
});
const signed = await signOffers(Number(flags.offers), Number(flags.seed));
const few = signed.filter((_, i) => i % SLOW_SHARE === 0);
const hashes = orderHashes(domain);
const recoverBare = recoverNatively ?? recoverPortably;
if (recoverNatively === undefined)
  console.log("libsecp256k1 comes not compiled for this machine: the portable way only.");

const ways = {
  viem: () =>
    speed(few, (one) => recoverTypedDataAddress({ ...offerTypedData(domain, one.offer), signature: one.signature })),
  own: () => speed(signed, (one) => signerOf(hashes.offerHashOf(one.offer), one.signature)),
  bare: () => speed(signed, ({ digest, rs, recovery, signer }) => recoverBare(digest, rs, recovery) && signer),
  portable: () => speed(few, (one) => signerOf(hashes.offerHashOf(one.offer), one.signature, recoverPortably)),
  hashing: () => speed(signed, ({ offer, signer }) => hashes.offerHashOf(offer) && signer),
};
const speeds: Record<keyof typeof ways, number[]> = { viem: [], own: [], bare: [], portable: [], hashing: [] };
for (let round = 0; round < Number(flags.rounds); round++) {
  for (const [way, measure] of Object.entries(ways)) speeds[way as keyof typeof ways].push(await measure());
}
const [own, viem] = [median(speeds.own), median(speeds.viem)];
const report = createReport("intake");
report.row("signed offers verified, against the aim", "per s", own, AIM);
report.row("the same against viem", "per s", own, viem);
report.row("the same against bare recovery of known hashes", "per s", own, median(speeds.bare));
report.row("the same where libsecp256k1 comes not compiled, against viem", "per s", median(speeds.portable), viem);
report.row("offers hashed (EIP-712), against the aim", "per s", median(speeds.hashing), AIM);
report.print({ seed: Number(flags.seed), native: recoverNatively !== undefined });

async function signOffers(count: number, seed: number): Promise<Signed[]> {
  let drawn = 0;
  const word = () => keccak256(toHex(`${seed} ${drawn++}`));
  const all: Signed[] = [];
  for (let i = 0; i < count; i++) {
    const key = privateKeyToAccount(word());
    const cpuRateX18 = BigInt(word()) >> 200n;
    const offer = anOffer({ operator: `0x${word().slice(26)}`, index: i, cpuRateX18, region: word() });
    const signature = await key.signTypedData(offerTypedData(domain, offer));
    const digest = hexToBytes(hashTypedData(offerTypedData(domain, offer)));
    const bytes = hexToBytes(signature);
    const parts = { digest, rs: bytes.subarray(0, 64), recovery: (bytes[64] ?? 0) - 27 };
    all.push({ offer, signature, signer: key.address.toLowerCase(), ...parts });
  }
  return all;
}

/** Offers per second of the processor; each must give its signer. */
async function speed(
  offers: Signed[],
  signerIn: (one: Signed) => Promise<string | undefined> | string,
): Promise<number> {
  const began = process.cpuUsage();
  let [done, seconds] = [0, 0];
  while (seconds < LEAST_SECONDS) {
    for (const one of offers) {
      if ((await signerIn(one))?.toLowerCase() !== one.signer) throw new Error("An offer was verified wrongly.");
    }
    done += offers.length;
    const { user, system } = process.cpuUsage(began);
    seconds = (user + system) / 1e6;
  }
  return done / seconds;
}
