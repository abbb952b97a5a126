import { depositUp, type Request } from "@berth/protocol";
import { expect } from "chai";
import { type Book, type BookOffer, createBook } from "../../../../indexer/src/book/book.ts";
import { createHolds, type Hold } from "../../../../indexer/src/book/holds.ts";
import { serves } from "../../../../indexer/src/match/candidates.ts";
import { anOffer } from "../../../support/orders.ts";
import { aBook, address, anOrder, TOKEN } from "../../support/books.ts";
import { aCrowd, aWish, type Random, randomOf, settle } from "../../support/crowds.ts";

const NOW = 1_000_000;

/** Matches, releases, expiries and changes of offers, nodes and stakes; after each, the index against a look at every offer. */
describe("the offer index", () => {
  for (const { offers, steps, seed } of [
    { offers: 2000, steps: 400, seed: 1 },
    { offers: 20_000, steps: 40, seed: 2 },
    { offers: 100_000, steps: 4, seed: 3 },
  ]) {
    it(`finds what a look at every offer finds, while ${offers} of them change`, () => {
      const random = randomOf(seed);
      const { book, live } = aFullBook(offers, random);
      const { index } = book;
      const held: Hold[] = [];
      let [found, gangs] = [0, 0];
      for (let i = 0; i < steps * 4; i++) {
        for (let j = 0; j < 4; j++) change(book, live, held, random, i * 4 + j);
        const order = anOrder(i, { ...aWish(i, random), replicas: random() < 0.25 ? 3 : 1 });
        const { request } = order;
        if (random() < 0.2) request.minStake = 1_000n;
        const best = index.find(index.query(request, NOW), { count: request.replicas, budget: 10n ** 30n });
        if (i % 4 === 0) {
          const expected = everyOffer(book, held, request);
          expect(best.map(({ offer }) => offer.offerHash)).to.deep.equal(expected);
          found += expected.length > 0 ? 1 : 0;
          gangs += expected.length > 1 ? 1 : 0;
        }
        const { cpuMilli, memoryMiB, diskMiB, gpus, token, bond, payer } = request;
        const nodes = best.map(({ offer: { offer } }) => ({ operator: offer.operator, index: offer.index }));
        const resources = { cpuMilli, memoryMiB, diskMiB, gpus };
        const hold: Hold = { jobId: order.jobId, nodes, resources, token, bond, payer, spent: 0n };
        index.take(hold, 1);
        held.push(hold);
      }
      expect(found).to.be.above(steps / 2);
      expect(gangs).to.be.above(0);
    });
  }

  it("finds an offer again whose node was full when its neighbours changed", () => {
    const book = aBook();
    const { index } = book;
    const request = anOrder(1, { cpuMilli: 4000 }).request;
    const put = (operator: number, digit: number) => {
      const offer = anOffer({ operator: address(operator), token: TOKEN });
      const offerHash = `0x${String(digit).repeat(64)}` as const;
      book.putOffer({ offerHash, offer, signature: "0x", signer: address(50), seq: digit });
      return offerHash;
    };
    const wanted = put(0, 1);
    const other = put(1, 2);
    const { token, bond, payer, cpuMilli, memoryMiB, diskMiB, gpus } = request;
    const resources = { cpuMilli, memoryMiB, diskMiB, gpus };
    const nodes = [0, 1].map((operator) => ({ operator: address(operator), index: 0 }));
    const hold: Hold = { jobId: wanted, nodes, resources, token, bond, payer, spent: 0n };
    const found = () => index.find(index.query(request, NOW), { count: 2, budget: 10n ** 30n }).map(({ seq }) => seq);
    expect(found()).to.deep.equal([1, 2]);
    index.take(hold, 1);
    expect(found()).to.deep.equal([]);
    book.dropOffer(other);
    index.take(hold, -1);
    expect(found()).to.deep.equal([1]);
  });

  it("keeps nothing of offers that are gone, whatever a signer makes up", () => {
    const book = aBook();
    const { index } = book;
    const before = index.kept;
    const word = (i: number) => `0x${i.toString(16).padStart(64, "0")}` as const;
    const hashes = Array.from({ length: 50 }, (_, i) => {
      const made = {
        requester: address(100 + i),
        arbiterData: word(i),
        region: word(1000 + i),
        gpuModel: word(2000 + i),
      };
      const offer = anOffer({ operator: address(i % 3), token: i % 2 === 0 ? TOKEN : address(200 + i), ...made });
      book.putOffer({ offerHash: word(5000 + i), offer, signature: "0x", signer: address(50), seq: i });
      return word(5000 + i);
    });
    expect(index.kept).to.be.above(before + 4 * hashes.length);
    for (const hash of hashes) book.dropOffer(hash);
    expect(index.kept).to.equal(before);
  });
});

function aFullBook(count: number, random: Random): { book: Book; live: BookOffer[] } {
  const book = createBook();
  return { book, live: settle(book, aCrowd(count, random), random) };
}

/** The cheapest, then earliest of distinct operators, of all that the market would take. */
function everyOffer(book: Book, held: readonly Hold[], request: Request): string[] {
  const holds = createHolds(held);
  const fitting = [...book.offers()]
    .filter((offer) => serves(book, holds, request, offer, NOW))
    .map((offer) => ({ offer, deposit: depositUp(request, offer.offer) }))
    .sort((a, b) => (a.deposit === b.deposit ? a.offer.seq - b.offer.seq : a.deposit < b.deposit ? -1 : 1));
  const firsts = new Map<string, string>();
  for (const { offer } of fitting) {
    if (!firsts.has(offer.offer.operator)) firsts.set(offer.offer.operator, offer.offerHash);
  }
  return [...firsts.values()].slice(0, request.replicas);
}

function change(book: Book, live: BookOffer[], held: Hold[], random: Random, i: number): void {
  const at = Math.floor(random() * live.length);
  const one = live[at] as BookOffer;
  const { operator, index } = one.offer;
  const kind = Math.floor(random() * 9);
  if (kind <= 1 && held.length > 0) {
    const [given] = held.splice(Math.floor(random() * held.length), 1) as [Hold];
    book.index.take(given, -1);
  } else if (kind === 2) {
    book.dropOffer(one.offerHash);
    live.splice(at, 1);
  } else if (kind === 3) {
    const offerHash = `0x${(2 ** 40 + i).toString(16).padStart(64, "0")}` as const;
    const offer = {
      ...one.offer,
      expiresAt: random() < 0.2 ? NOW - 1 : 2_000_000_000,
      cpuRateX18: one.offer.cpuRateX18 / 3n,
    };
    const added = { ...one, offerHash, offer, seq: 2 ** 30 + i };
    book.putOffer(added);
    live.push(added);
  } else if (kind <= 5) {
    const node = book.node(operator, index);
    if (node === undefined) return;
    const use = { ...node.use, cpuMilli: Math.floor(random() * one.offer.cpuMilli), active: Math.floor(random() * 70) };
    book.putNode({ ...node, use, validTo: random() < 0.1 ? NOW : node.validTo });
  } else if (kind === 6) book.setStake(operator, TOKEN, { free: BigInt(Math.floor(random() * 4000)), locked: 500n });
  else if (kind === 7) book.setAccepted(operator, TOKEN, random() < 0.8);
  else if (random() < 0.2) book.setDeactivated(operator, random() < 0.2);
}
