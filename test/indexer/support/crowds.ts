import { type Address, type Hex, type Offer, type Request, textToBytes32, ZERO_BYTES32 } from "@berth/protocol";
import type { Book, BookOffer } from "../../../indexer/src/book/book.ts";
import { anOffer, aRequest } from "../../support/orders.ts";
import { address, TOKEN } from "./books.ts";

/** Numbers from 0 to 1, the same for the same seed. */
export type Random = () => number;

export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const MODELS = Array.from({ length: 41 }, (_, i) => textToBytes32(`gpu-${i}`));
const REGIONS = Array.from({ length: 30 }, (_, i) => textToBytes32(`region-${i}`));
const SIZES = [2, 4, 8, 16, 32, 64, 128];
const FAR = 2_000_000_000;
const [ARM, AMD] = [0b10n, 0b01n];

/**
 * Offers as a market has them: few models and regions have most of the machines, large operators have many alike, half of
 * the machines have GPUs, prices are log-normal and go with what is sold.
 */
export function aCrowd(count: number, random: Random): Offer[] {
  const offers: Offer[] = [];
  for (let operator = 0; offers.length < count; operator++) {
    const machines = Math.min(count - offers.length, Math.ceil(random() ** -0.8), Math.ceil(count / 50));
    const level = Math.exp(normal(random) * 0.5);
    for (let index = 0; index < machines; ) {
      const kind = aMachine(random, level);
      const alike = Math.min(machines - index, 1 + Math.floor(random() * 8));
      for (let i = 0; i < alike; i++, index++) offers.push({ ...kind, operator: address(operator), index });
    }
  }
  return offers;
}

function aMachine(random: Random, level: number): Offer {
  const cores = SIZES[Math.floor(random() * SIZES.length)] ?? 2;
  const gpus = random() < 0.5 ? 0 : 2 ** Math.floor(random() * 4);
  const model = zipf(random, MODELS.length);
  const price = (scale: number) => BigInt(Math.round(scale * level * Math.exp(normal(random) * 0.2)));
  return anOffer({
    token: TOKEN,
    cpuMilli: cores * 1000,
    memoryMiB: cores * 1024 * 2 ** Math.floor(random() * 4),
    diskMiB: cores * 16_384,
    gpus,
    gpuModel: gpus === 0 ? ZERO_BYTES32 : (MODELS[model] ?? ZERO_BYTES32),
    region: REGIONS[zipf(random, REGIONS.length)] ?? ZERO_BYTES32,
    traits: (random() < 0.9 ? AMD : ARM) | (random() < 0.15 ? 1n << BigInt(4 + Math.floor(random() * 4)) : 0n),
    cpuRateX18: price(1e16),
    memoryRateX18: price(1e15),
    diskRateX18: price(1e13),
    gpuRateX18: gpus === 0 ? 0n : price((5e20 * 40) / (1 + model)),
    baseCharge: price(100),
    maxSeconds: random() < 0.8 ? 86_400 : 3600,
    maxBond: 10n ** 9n,
    expiresAt: FAR,
  });
}

/** A request as the same market has them: most want little, some a model, a region or an enclave. */
export function aWish(number: number, random: Random): Request {
  const gpus = random() < 0.5 ? 0 : 2 ** Math.floor(random() ** 2 * 4);
  const cores = 2 ** Math.floor(random() ** 2 * 6);
  return aRequest({
    token: TOKEN,
    nonce: `0x${number.toString(16).padStart(64, "0")}`,
    cpuMilli: cores * 500,
    memoryMiB: cores * 512 * 2 ** Math.floor(random() * 3),
    diskMiB: cores * 1024,
    gpus,
    gpuModel: gpus > 0 && random() < 0.8 ? (MODELS[zipf(random, MODELS.length)] ?? ZERO_BYTES32) : ZERO_BYTES32,
    region: random() < 0.4 ? (REGIONS[zipf(random, REGIONS.length)] ?? ZERO_BYTES32) : ZERO_BYTES32,
    traits: (random() < 0.95 ? AMD : ARM) | (random() < 0.1 ? 1n << BigInt(4 + Math.floor(random() * 4)) : 0n),
    maxSeconds: random() < 0.8 ? 600 : 36_000,
    submitWindow: 40_000,
    maxPrice: 10n ** 30n,
    bond: 1000n,
  });
}

/** Puts offers in a book, with nodes, stakes and money for all of them. */
export function settle(book: Book, offers: readonly Offer[], random: Random): BookOffer[] {
  const put: BookOffer[] = [];
  const seen = new Set<Address>();
  for (const [i, offer] of offers.entries()) {
    const { operator, index, cpuMilli, memoryMiB, diskMiB, gpus } = offer;
    if (!seen.has(operator)) {
      seen.add(operator);
      book.setStake(operator, TOKEN, { free: random() < 0.02 ? 10n : 10n ** 15n, locked: 0n });
      book.setAccepted(operator, TOKEN, random() > 0.02);
    }
    book.putNode({
      operator,
      index,
      key: address(50),
      validTo: 3_000_000_000,
      limits: { maxBond: 10n ** 9n, maxActive: 64, cpuMilli, memoryMiB, diskMiB, gpus },
      use: { epoch: 0, active: 0, cpuMilli: 0, memoryMiB: 0, diskMiB: 0, gpus: 0 },
    });
    const offerHash: Hex = `0x${i.toString(16).padStart(64, "0")}`;
    const one: BookOffer = { offerHash, offer, signature: "0x", signer: address(50), seq: i };
    book.putOffer(one);
    put.push(one);
  }
  return put;
}

/** Few of the first, fewer of each next. */
function zipf(random: Random, count: number): number {
  return Math.min(count - 1, Math.floor(count ** random()) - 1);
}

function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
