// How fast the matching core is: `npm run bench -- match [OFFERS …] [--seed=N]`. One thread; one step is to find the cheapest offer that
// serves a request, take what the request needs of its node and stake, and give back what an older one took; a quarter as many
// matches as offers, but no more than 20,000, are under way. The reference is a plain scan of an array of objects with the same numbers in the same state,
// which must find the same offers. Offers and requests are skewed as a market's (test/indexer/support/crowds.ts).
// The aims: 800k, 300k, 150k steps/s at 1k, 100k, 1M offers; at 1M 1,000 x the plain scan, p99 50 µs, 30k gangs of 8 per second.

import { createBook } from "../indexer/src/book/book.ts";
import type { Indexed, OfferIndex, Query } from "../indexer/src/match/index/offer-index.ts";
import { type Request, textToBytes32 } from "../protocol/src/index.ts";
import { aCrowd, aWish, randomOf, settle } from "../test/indexer/support/crowds.ts";
import { createReport, median } from "./lib/report.ts";

const ROUNDS = 3;
const ROUND_MS = 1500;
const MAX_UNDER_WAY = 20_000;
const WISHES = 20_000;
const NOW = 1_000_000;
const BUDGET = 10n ** 30n;
const GANG = 8;

const report = createReport("match");
const { row } = report;
const flags = process.argv.slice(2);
const seed = Number(flags.find((flag) => flag.startsWith("--seed="))?.slice(7) ?? 1);
const asked = flags.filter((flag) => /^\d+$/.test(flag)).map(Number);
const sizes = asked.length > 0 ? asked : [1000, 10_000, 100_000, 1_000_000];
const perStep = new Map<number, number>();
for (const size of sizes) benchSize(size);
for (const [i, size] of sizes.entries()) {
  const before = sizes[i - 1];
  if (before === undefined || size !== before * 10) continue;
  const growth = (perStep.get(size) ?? 0) / (perStep.get(before) ?? 1);
  row(`time per match from ${named(before)} to ${named(size)} offers`, "x", growth, 2.5);
}
report.print({ seed });

function benchSize(size: number): void {
  const random = randomOf(seed);
  const offers = aCrowd(size, random);
  const book = createBook();
  const began = performance.now();
  const put = settle(book, offers, random);
  const loadedMs = performance.now() - began;
  const index = book.index as OfferIndex;
  const plain = put.map(({ offer, seq }) =>
    toPlain(
      offer,
      seq,
      book.stake(offer.operator, offer.token).free > 1000n && book.accepts(offer.operator).length > 0,
    ),
  );
  const wishes = Array.from({ length: WISHES }, (_, i) => aWish(i, random));
  const queries = wishes.map((wish) => index.query(wish, NOW));
  const window = Math.min(MAX_UNDER_WAY, Math.ceil(size / 4));
  const ring: ({ indexed: Indexed; request: Request } | undefined)[] = new Array(window);
  let steps = 0;
  let matched = 0;

  function step(): void {
    const query = queries[steps % WISHES] as Query;
    const [indexed] = index.find(query, { count: 1, budget: BUDGET });
    const at = steps % window;
    const old = ring[at];
    if (indexed === undefined) ring[at] = undefined;
    else {
      matched += 1;
      index.occupy(indexed, query.request, 1);
      ring[at] = { indexed, request: query.request };
    }
    if (old !== undefined) index.occupy(old.indexed, old.request, -1);
    steps += 1;
  }

  for (let i = 0; i < window * 2; i++) step();
  const rates: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const before = steps;
    const from = performance.now();
    while (performance.now() - from < ROUND_MS) for (let i = 0; i < 100; i++) step();
    rates.push(((steps - before) * 1000) / (performance.now() - from));
  }
  const took: number[] = [];
  const looksBefore = index.looks;
  for (let i = 0; i < WISHES; i++) {
    const query = queries[i] as Query;
    const from = process.hrtime.bigint();
    index.find(query, { count: 1, budget: BUDGET });
    took.push(Number(process.hrtime.bigint() - from) / 1000);
  }
  const looks = (index.looks - looksBefore) / WISHES;
  took.sort((a, b) => a - b);

  // the plain scan in the same state
  for (const kept of ring) if (kept !== undefined) plainTake(plain[kept.indexed.seq] as Plain, kept.request, 1);
  const scans = Math.max(10, Math.min(2000, Math.round(20_000_000 / size)));
  const found = Array.from(
    { length: scans },
    (_, i) => index.find(queries[i] as Query, { count: 1, budget: BUDGET })[0]?.seq ?? -1,
  );
  const from = performance.now();
  for (let i = 0; i < scans; i++) {
    const best = plainScan(plain, wishes[i] as Request);
    if (best !== found[i]) throw new Error(`Request ${i}: the plain scan finds offer ${best}, the index ${found[i]}.`);
  }
  const scanRate = (scans * 1000) / (performance.now() - from);

  const gangs = wishes
    .slice(0, 2000)
    .filter(({ region }) => BigInt(region) === 0n)
    .map((wish) => index.query({ ...wish, region: textToBytes32("region-1"), replicas: GANG }, NOW));
  const gangFrom = performance.now();
  let full = 0;
  for (const query of gangs) if (index.find(query, { count: GANG, budget: BUDGET }).length === GANG) full += 1;
  const gangRate = (gangs.length * 1000) / (performance.now() - gangFrom);

  const rate = median(rates);
  perStep.set(size, 1e6 / rate);
  const p99 = took[Math.floor(took.length * 0.99)] as number;
  const aims: Record<number, number> = { 1000: 800_000, 100000: 300_000, 1000000: 150_000 };
  row(`${named(size)} offers: match, take, give back`, "per s", rate, aims[size]);
  row(`${named(size)} offers: the same against the plain scan`, "x", rate / scanRate, 1000);
  row(`${named(size)} offers: one match, p50`, "µs", took[took.length >> 1] as number, 50);
  row(`${named(size)} offers: one match, p99`, "µs", p99, 50);
  row(
    `${named(size)} offers: gang of ${GANG} in one region (${full} of ${gangs.length} found)`,
    "per s",
    gangRate,
    30_000,
  );
  row(`${named(size)} offers: the book filled`, "s", loadedMs / 1000);
  console.error(
    `${named(size)}: matched ${matched} of ${steps}, ${looks.toFixed(0)} looks, plain ${scanRate.toFixed(1)}/s`,
  );
}

interface Plain {
  seq: number;
  price: [number, number, number, number, number];
  cpuMilli: number;
  memoryMiB: number;
  diskMiB: number;
  gpus: number;
  traits: number;
  gpuModel: string;
  region: string;
  maxSeconds: number;
  usable: boolean;
  active: number;
}

function toPlain(offer: Parameters<typeof settle>[1][number], seq: number, usable: boolean): Plain {
  const { baseCharge, cpuRateX18, memoryRateX18, diskRateX18, gpuRateX18, cpuMilli, memoryMiB, diskMiB, gpus } = offer;
  const rates = [cpuRateX18, memoryRateX18, diskRateX18, gpuRateX18].map((rate) => Number(rate) / 1e18);
  const price = [Number(baseCharge), ...rates] as Plain["price"];
  const { gpuModel, region, maxSeconds } = offer;
  return {
    seq,
    price,
    cpuMilli,
    memoryMiB,
    diskMiB,
    gpus,
    traits: Number(offer.traits),
    gpuModel,
    region,
    maxSeconds,
    usable,
    active: 0,
  };
}

function plainTake(plain: Plain, { cpuMilli, memoryMiB, diskMiB, gpus }: Request, sign: 1 | -1): void {
  plain.cpuMilli -= sign * cpuMilli;
  plain.memoryMiB -= sign * memoryMiB;
  plain.diskMiB -= sign * diskMiB;
  plain.gpus -= sign * gpus;
  plain.active += sign;
}

function plainScan(all: readonly Plain[], request: Request): number {
  const { cpuMilli, memoryMiB, diskMiB, gpus, maxSeconds, gpuModel, region } = request;
  const traits = Number(request.traits);
  const [anyModel, anyRegion] = [BigInt(gpuModel) === 0n, BigInt(region) === 0n];
  let best = -1;
  let least = Number.POSITIVE_INFINITY;
  for (const one of all) {
    if (
      !one.usable ||
      one.active >= 64 ||
      one.cpuMilli < cpuMilli ||
      one.memoryMiB < memoryMiB ||
      one.diskMiB < diskMiB
    )
      continue;
    if (one.gpus < gpus || one.maxSeconds < maxSeconds || (traits & ~one.traits) !== 0) continue;
    if ((!anyModel && one.gpuModel !== gpuModel) || (!anyRegion && one.region !== region)) continue;
    const [base, cpu, memory, disk, gpu] = one.price;
    const cost =
      base + Math.ceil((cpu * cpuMilli + memory * memoryMiB + disk * diskMiB + gpu * gpus) * maxSeconds - 1e-6);
    if (cost >= least) continue;
    least = cost;
    best = one.seq;
  }
  return best;
}

function named(size: number): string {
  return size >= 1e6 ? `${size / 1e6}M` : `${size / 1000}k`;
}
