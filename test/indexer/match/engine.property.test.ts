import { type Address, depositUp, operatorTree } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import type { Book, OpenRequest } from "../../../indexer/src/book/book.ts";
import type { Hold } from "../../../indexer/src/book/holds.ts";
import { createHolds } from "../../../indexer/src/book/holds.ts";
import { createEngine } from "../../../indexer/src/match/engine.ts";
import { type Match, matchAll, matchOne } from "../../../indexer/src/match/match.ts";
import { createRefusals } from "../../../indexer/src/match/refusals.ts";
import { anOffer } from "../../support/orders.ts";
import { aBook, address, aNode, anOrder, steps, TOKEN } from "../support/books.ts";
import { apply } from "../support/traces.ts";

const NOW = 1_000_000;
const MATCHER = address(99);

describe("createEngine", () => {
  it("finds round after round what asking about every request finds, and asks about fewer", () => {
    const seen = { matches: 0, orders: 0, asked: 0 };
    fc.assert(
      fc.property(fc.array(steps, { minLength: 1, maxLength: 40, size: "max" }), (trace) => {
        const book = aBook();
        const engine = createEngine(book, createRefusals());
        const held: Hold[] = [];
        let waiting: OpenRequest[] = [];
        for (const [i, step] of trace.entries()) {
          const order = apply(book, held, step, i);
          if (order !== undefined) waiting.push(order);
          const round = { now: NOW + i, matcher: MATCHER };
          const expected = matchAll(book, waiting, held, round);
          const found = engine.decide({ orders: waiting, holds: held, ...round });
          expect(jobsOf(found)).to.deep.equal(jobsOf(expected));
          seen.matches += found.length;
          seen.orders += waiting.length;
          seen.asked += engine.asked;
          waiting = waiting.filter(({ jobId }) => !found.some((match) => match.order.jobId === jobId));
          // A match that is decided but never sent gives back what it held.
          for (const { hold, order } of found) {
            if (i % 3 === 0) waiting.push(order);
            else held.push(hold);
          }
        }
      }),
      { numRuns: 100 },
    );
    expect(seen.matches).to.be.above(100);
    expect(seen.asked).to.be.below(seen.orders * 0.8);
  });

  it("asks again only about requests whose payer's balance, or whose book, changed", () => {
    const book = aBook();
    const engine = createEngine(book, createRefusals());
    const orders = [1, 2, 3].map((n) => anOrder(n, { payer: address(200 + n) }));
    const asked = () => {
      engine.decide({ orders, holds: [], now: NOW, matcher: MATCHER });
      return engine.asked;
    };
    expect([asked(), asked()]).to.deep.equal([3, 0]);
    book.setBalance(address(202), TOKEN, 1n);
    expect([asked(), asked()]).to.deep.equal([1, 0]);
    book.setDeactivated(address(0), false);
    expect(asked()).to.equal(0);
    put(book, 0, 1);
    expect([asked(), asked()]).to.deep.equal([3, 0]);
  });

  it("asks again about a request when the list of its operators came in, and about all when the market goes on", () => {
    const book = aBook();
    const engine = createEngine(book, createRefusals());
    put(book, 0, 1);
    const request = { operators: operatorTree([address(0)]).root };
    const decide = (operators: Address[] | null) => {
      const orders = [anOrder(1, request, 1, false, operators)];
      const found = engine.decide({ orders, holds: [], now: NOW, matcher: MATCHER });
      return [engine.asked, found.length];
    };
    expect([decide(null), decide(null)]).to.deep.equal([
      [1, 0],
      [0, 0],
    ]);
    book.setPaused(true);
    expect(decide([address(0)])).to.deep.equal([1, 0]);
    book.setPaused(false);
    expect(decide([address(0)])).to.deep.equal([1, 1]);
  });

  it("tries the other operators when one operator's offers are refused again and again, and forgives in time", () => {
    const book = aBook();
    const refusals = createRefusals();
    const engine = createEngine(book, refusals);
    put(book, 0, 1, 0n);
    put(book, 1, 2, 50n);
    const order = anOrder(1);
    const decide = () => {
      const [match] = engine.decide({ orders: [order], holds: [], now: NOW, matcher: MATCHER });
      return match?.offers.map(({ offer }) => offer.operator);
    };
    for (let atMs = 0; atMs < 8; atMs++) {
      refusals.add(order.jobId, { kind: "offers", standings: {}, operators: [address(0)] }, atMs);
    }
    expect(decide()).to.deep.equal([address(1)]);
    book.putNode(aNode(1, 0, { key: null }));
    expect(decide()).to.equal(undefined);
    refusals.expire(15 * 60_000 + 4);
    expect(decide()).to.equal(undefined);
    refusals.expire(15 * 60_000 + 5);
    expect(decide()).to.deep.equal([address(0)]);
  });

  it("leaves a request alone that was refused eight times, until the refusals are old", () => {
    const book = aBook();
    const refusals = createRefusals();
    const engine = createEngine(book, refusals);
    put(book, 0, 1);
    const order = anOrder(1);
    for (let i = 0; i < 8; i++) refusals.add(order.jobId, { kind: "request", standing: String(i) }, 0);
    const decide = () => engine.decide({ orders: [order], holds: [], now: NOW, matcher: MATCHER });
    expect(decide()).to.have.length(0);
    refusals.expire(15 * 60_000);
    expect(decide()).to.have.length(1);
  });
});

describe("matchOne", () => {
  it("looks at no offer for a payer who cannot pay the cheapest", () => {
    const book = aBook();
    for (let i = 0; i < 4; i++) put(book, i, i + 1);
    let looks = 0;
    const ask = (balance: bigint, replaced = {}, posted = false) => {
      looks = 0;
      const order = anOrder(1, replaced, 1, posted);
      book.setBalance(order.request.payer, TOKEN, balance);
      const barred = () => {
        looks += 1;
        return false;
      };
      const match = matchOne(book, createHolds(), order, { now: NOW, matcher: MATCHER, barred });
      return [match === undefined ? "none" : "match", looks];
    };
    const { request } = anOrder(1);
    const least = depositUp(request, anOffer());
    expect(ask(0n)).to.deep.equal(["none", 0]);
    expect(ask(least - 1n)).to.deep.equal(["none", 0]);
    expect(ask(least)).to.deep.equal(["match", 1]);
    expect(ask(least, { matcherTip: 1n })).to.deep.equal(["none", 0]);
    expect(ask(2n * least - 1n, { replicas: 2 })[0]).to.equal("none");
    expect(ask(2n * least, { replicas: 2 })[0]).to.equal("match");
    expect(ask(0n, { maxPrice: least - 1n }, true)).to.deep.equal(["none", 0]);
    expect(ask(0n, {}, true)).to.deep.equal(["match", 1]);
  });
});

function put(book: Book, operator: number, seq: number, baseCharge?: bigint): void {
  const prices = baseCharge === undefined ? {} : { baseCharge };
  const offer = anOffer({ operator: address(operator), token: TOKEN, ...prices });
  book.putOffer({ offerHash: `0x${String(seq).repeat(64)}`, offer, signature: "0x", signer: address(50), seq });
}

function jobsOf(matches: readonly Match[]) {
  return matches.map(({ order, offers, price }) => [order.jobId, offers.map(({ offerHash }) => offerHash), price]);
}
