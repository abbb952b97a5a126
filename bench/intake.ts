// How fast signed orders are verified: `npm run bench -- intake [--offers=400] [--rounds=5] [--seed=1]`. One thread; every offer has
// members and a key of its own, and goes from what was parsed to the address that signed it. The reference is viem's
// recoverTypedDataAddress on the same offers, a part of them, rounds interleaved; both must name the signer.
// Seconds are those of the processor, so that other programs on the machine count little.
// The aim: 8,000 signed offers per second and core.

import { parseArgs } from "node:util";
import { type Hex, type Offer, offerTypedData } from "@berth/protocol";
import Table from "cli-table3";
import { recoverTypedDataAddress } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { orderHashes } from "../indexer/src/intake/order-hash.ts";
import { recoverNatively, recoverPortably, signerOf } from "../indexer/src/intake/recover.ts";
import { randomOf } from "../test/indexer/support/crowds.ts";
import { anOffer } from "../test/support/orders.ts";

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
}
interface Row {
  what: string;
  value: number;
  unit: "per s";
  reference: number;
  /** Of the value to the reference. */
  ratio: number;
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
if (recoverNatively === undefined)
  console.log("libsecp256k1 comes not compiled for this machine: the portable way only.");

const [own, portable, viem, hashing]: [number[], number[], number[], number[]] = [[], [], [], []];
for (let round = 0; round < Number(flags.rounds); round++) {
  viem.push(
    await speed(few, ({ offer, signature }) =>
      recoverTypedDataAddress({ ...offerTypedData(domain, offer), signature }),
    ),
  );
  own.push(await speed(signed, ({ offer, signature }) => signerOf(hashes.offerHashOf(offer), signature)));
  portable.push(
    await speed(few, ({ offer, signature }) => signerOf(hashes.offerHashOf(offer), signature, recoverPortably)),
  );
  hashing.push(await speed(signed, ({ offer, signer }) => hashes.offerHashOf(offer) && signer));
}
const reference = median(viem);
const rows: Row[] = [
  row("signed offers verified, against viem", median(own), reference),
  row("signed offers verified, against the aim", median(own), AIM),
  row("the same where libsecp256k1 comes not compiled, against viem", median(portable), reference),
  row("offers hashed (EIP-712), against the aim", median(hashing), AIM),
];
const table = new Table({ head: ["what", "value", "unit", "reference", "ratio"], style: { head: [], border: [] } });
table.push(...rows.map((one) => [one.what, one.value, one.unit, one.reference, one.ratio.toFixed(2)]));
console.log(table.toString());
console.log(JSON.stringify({ bench: "intake", seed: Number(flags.seed), native: recoverNatively !== undefined, rows }));

async function signOffers(count: number, seed: number): Promise<Signed[]> {
  const random = randomOf(seed);
  const word = (): Hex =>
    `0x${Array.from({ length: 8 }, () =>
      Math.floor(random() * 2 ** 32)
        .toString(16)
        .padStart(8, "0"),
    ).join("")}`;
  const all: Signed[] = [];
  for (let i = 0; i < count; i++) {
    const key = privateKeyToAccount(word());
    const cpuRateX18 = BigInt(Math.floor(random() * 1e15));
    const offer = anOffer({ operator: `0x${word().slice(26)}`, index: i, cpuRateX18, region: word() });
    const signature = await key.signTypedData(offerTypedData(domain, offer));
    all.push({ offer, signature, signer: key.address.toLowerCase() });
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

function row(what: string, value: number, against: number): Row {
  return { what, value: Math.round(value), unit: "per s", reference: Math.round(against), ratio: value / against };
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
