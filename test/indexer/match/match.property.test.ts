import {
  type Address,
  depositUp,
  type JobId,
  misfits,
  operatorTree,
  type Request,
  standingMisfits,
} from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import {
  type BookNode,
  type BookOffer,
  type BookView,
  createBook,
  type OpenRequest,
} from "../../../indexer/src/book/book.ts";
import { createHolds, type Hold } from "../../../indexer/src/book/holds.ts";
import { type Match, matchAll, matchOne } from "../../../indexer/src/match/match.ts";
import { anOffer, aRequest } from "../../support/orders.ts";
import { aBook, address, aNode, anOrder, steps, TOKEN } from "../support/books.ts";
import { apply } from "../support/traces.ts";

const NOW = 1_000_000;
const MATCHER = address(99);

describe("matchOne", () => {
  it("finds what an exhaustive search finds, while the book changes under it", () => {
    const seen = { matched: 0, unmatched: 0 };
    fc.assert(
      fc.property(fc.array(steps, { minLength: 1, maxLength: 40, size: "max" }), (trace) => {
        const book = aBook();
        const held: Hold[] = [];
        for (const [i, step] of trace.entries()) {
          const order = apply(book, held, step, i);
          if (order === undefined) continue;
          const found = matchOne(book, createHolds(held), order, { now: NOW, matcher: MATCHER });
          const best = exhaustive(book, held, order, NOW);
          expect(found?.offers.map(({ offerHash }) => offerHash)).to.deep.equal(best);
          if (found !== undefined) held.push(found.hold);
          seen[found === undefined ? "unmatched" : "matched"] += 1;
        }
      }),
      { numRuns: 300 },
    );
    expect(Math.min(seen.matched, seen.unmatched)).to.be.greaterThan(300);
  });
});

describe("matchAll", () => {
  it("gives the same bytes, however the book was filled and the requests were handed in", () => {
    fc.assert(
      fc.property(
        fc.array(steps, { minLength: 1, maxLength: 30, size: "max" }),
        fc.infiniteStream(fc.nat()),
        (trace, random) => {
          const orders: OpenRequest[] = [];
          const book = aBook();
          for (const [i, step] of trace.entries()) {
            const order = apply(book, [], step, i);
            if (order !== undefined) orders.push(order);
          }
          const run = (from: BookView, list: OpenRequest[]) =>
            show(matchAll(from, list, [], { now: NOW, matcher: MATCHER }));
          const refilled = createBook();
          copyShuffled(book, refilled, random);
          expect(run(refilled, shuffle(orders, random))).to.equal(run(book, orders));
        },
      ),
      { numRuns: 100 },
    );
  });

  it("serves the earlier request when there is room for one only", () => {
    const book = aBook();
    book.putNode(aNode(0, 0, { use: { epoch: 0, active: 0, cpuMilli: 3500, memoryMiB: 0, diskMiB: 0, gpus: 0 } }));
    put(book, 0, 1);
    const late = anOrder(1, { nonce: `0x${"1".repeat(64)}` }, 2000);
    const early = anOrder(2, { nonce: `0x${"2".repeat(64)}` }, 1000);
    for (const order of [late, early]) order.request.cpuMilli = 500;
    const matches = matchAll(book, [late, early], [], { now: NOW, matcher: MATCHER });
    expect(matches.map(({ order }) => order.jobId)).to.deep.equal([early.jobId]);
  });

  it("counts the deposits of matches under way against the payer's balance", () => {
    const book = aBook();
    put(book, 0, 1);
    const price = depositUp(aRequest(), anOffer());
    book.setBalance(anOrder(1).request.payer, TOKEN, price * 2n - 1n);
    const orders = [anOrder(1, {}, 1), anOrder(2, {}, 2)];
    expect(matchAll(book, orders, [], { now: NOW, matcher: MATCHER })).to.have.length(1);
    book.setBalance(anOrder(1).request.payer, TOKEN, price * 2n);
    expect(matchAll(book, orders, [], { now: NOW, matcher: MATCHER })).to.have.length(2);
  });

  it("takes only operators whom the request allows, and nobody while their list is not known", () => {
    const book = aBook();
    for (const operator of [0, 1, 2]) put(book, operator, operator + 1);
    const listed = [address(2), address(1)];
    const request = { operators: operatorTree(listed).root, replicas: 2 };
    const matched = (operators: Address[] | null) =>
      matchAll(book, [anOrder(1, request, 1, false, operators)], [], { now: NOW, matcher: MATCHER });
    expect(matched(null)).to.deep.equal([]);
    const [match] = matched(listed);
    expect(match?.offers.map(({ offer }) => offer.operator)).to.deep.equal([address(1), address(2)]);
  });

  it("matches nothing while the market takes no new jobs", () => {
    const book = aBook();
    put(book, 0, 1);
    book.setPaused(true);
    expect(matchAll(book, [anOrder(1)], [], { now: NOW, matcher: MATCHER })).to.deep.equal([]);
    book.setPaused(false);
    expect(matchAll(book, [anOrder(1)], [], { now: NOW, matcher: MATCHER })).to.have.length(1);
  });

  it("passes over operators who do not accept what the orders name, or have too little stake", () => {
    const book = aBook();
    const verifier = address(70);
    for (const operator of [0, 1, 2]) {
      const offer = anOffer({ operator: address(operator), token: TOKEN, verifier });
      const offerHash = `0x${String(operator).repeat(64)}` as const;
      book.putOffer({ offerHash, offer, signature: "0x", signer: address(50), seq: operator });
    }
    const order = anOrder(1, { verifier, arbiterWindow: 60, minStake: 1_000_000n });
    const chosen = () => {
      const [match] = matchAll(book, [order], [], { now: NOW, matcher: MATCHER });
      return match?.offers.map(({ offer }) => offer.operator);
    };
    expect(chosen()).to.equal(undefined);
    for (const operator of [0, 1, 2]) book.setAccepted(address(operator), verifier, true);
    expect(chosen()).to.deep.equal([address(0)]);
    book.setStake(address(0), TOKEN, { free: 900_000n, locked: 99_999n });
    expect(chosen()).to.deep.equal([address(1)]);
    book.setStake(address(1), TOKEN, { free: 900_000n, locked: 100_000n });
    expect(chosen()).to.deep.equal([address(1)]);
    book.setAccepted(address(1), verifier, false);
    expect(chosen()).to.deep.equal([address(2)]);
  });

  it("leaves a request alone that names another matcher", () => {
    const book = aBook();
    put(book, 0, 1);
    const named = anOrder(1, { matcher: address(5) });
    expect(matchAll(book, [named], [], { now: NOW, matcher: MATCHER })).to.deep.equal([]);
    expect(matchAll(book, [named], [], { now: NOW, matcher: address(5) })).to.have.length(1);
  });
});

function put(book: ReturnType<typeof createBook>, operator: number, seq: number): void {
  const offer = anOffer({ operator: address(operator), token: TOKEN });
  book.putOffer({ offerHash: `0x${String(seq).repeat(64)}`, offer, signature: "0x", signer: address(50), seq });
}

/** Every set of offers of distinct operators, and of those that the contract would take the best by price, then time. */
function exhaustive(book: BookView, held: readonly Hold[], order: OpenRequest, now: number): string[] | undefined {
  const { request, posted, operators } = order;
  if (book.paused) return undefined;
  const usable = [...book.offers()].filter(
    (offer) => (operators?.includes(offer.offer.operator) ?? true) && takes(book, held, request, offer, now),
  );
  const sets = combinations(usable, request.replicas).filter(
    (set) => new Set(set.map(({ offer }) => offer.operator)).size === set.length,
  );
  const rank = (set: BookOffer[]) =>
    set
      .map((one) => ({ one, cost: depositUp(request, one.offer) }))
      .sort((a, b) => Number(a.cost - b.cost) || a.one.seq - b.one.seq || (a.one.offerHash < b.one.offerHash ? -1 : 1));
  const ranked = sets.map((set) => {
    const members = rank(set);
    return { members, total: members.reduce((sum, { cost }) => sum + cost, request.matcherTip) };
  });
  ranked.sort((a, b) => {
    if (a.total !== b.total) return a.total < b.total ? -1 : 1;
    for (const [i, { one, cost }] of a.members.entries()) {
      const other = b.members[i];
      if (other === undefined) return 1;
      const order = Number(cost - other.cost) || one.seq - other.one.seq;
      if (order !== 0) return order;
      if (one.offerHash !== other.one.offerHash) return one.offerHash < other.one.offerHash ? -1 : 1;
    }
    return 0;
  });
  const [best] = ranked;
  const spent = held.filter((hold) => hold.payer === request.payer).reduce((sum, hold) => sum + hold.spent, 0n);
  if (best === undefined || request.replicas === 0 || best.total > request.maxPrice) return undefined;
  if (!posted && best.total + spent > book.balance(request.payer, request.token)) return undefined;
  return best.members.map(({ one }) => one.offerHash);
}

function takes(
  book: BookView,
  held: readonly Hold[],
  request: Request,
  { offer, signer }: BookOffer,
  now: number,
): boolean {
  const node: BookNode | undefined = book.node(offer.operator, offer.index);
  if (node?.key !== signer || node.limits === null || misfits(request, offer, now).length > 0) return false;
  const use = { ...node.use };
  let { free: freeStake, locked: lockedStake } = book.stake(offer.operator, request.token);
  for (const hold of held) {
    for (const { operator, index } of hold.nodes) {
      if (operator !== offer.operator) continue;
      freeStake -= hold.bond;
      lockedStake += hold.bond;
      if (index !== offer.index) continue;
      use.active += 1;
      for (const field of ["cpuMilli", "memoryMiB", "diskMiB", "gpus"] as const) use[field] += hold.resources[field];
    }
  }
  const deactivated = book.deactivated(offer.operator);
  const accepts = book.accepts(offer.operator);
  const standing = {
    use,
    limits: node.limits,
    keyValidTo: node.validTo,
    freeStake,
    lockedStake,
    accepts,
    deactivated,
  };
  return standingMisfits(request, offer, standing, now).length === 0;
}

function combinations<T>(items: readonly T[], count: number): T[][] {
  if (count === 0) return [[]];
  return items.flatMap((item, i) => combinations(items.slice(i + 1), count - 1).map((rest) => [item, ...rest]));
}

function copyShuffled(from: BookView, into: ReturnType<typeof createBook>, random: Iterator<number>): void {
  for (const offer of shuffle([...from.offers()], random)) into.putOffer(offer);
  for (const operator of shuffle([0, 1, 2, 3], random)) {
    for (const index of [1, 0]) {
      const node = from.node(address(operator), index);
      if (node !== undefined) into.putNode(node);
    }
    into.setStake(address(operator), TOKEN, from.stake(address(operator), TOKEN));
    for (const what of from.accepts(address(operator))) into.setAccepted(address(operator), what, true);
  }
  const { payer } = anOrder(1).request;
  into.setBalance(payer, TOKEN, from.balance(payer, TOKEN));
  into.setPaused(from.paused);
}

function shuffle<T>(items: readonly T[], random: Iterator<number>): T[] {
  const keyed = items.map((item) => ({ item, by: random.next().value as number }));
  return keyed.sort((a, b) => a.by - b.by).map(({ item }) => item);
}

function show(matches: readonly Match[]): string {
  const simple = matches.map(({ order, offers, price, hold }) => [
    order.jobId satisfies JobId,
    offers.map(({ offerHash }) => offerHash),
    String(price),
    { ...hold, bond: String(hold.bond), spent: String(hold.spent) },
  ]);
  return JSON.stringify(simple);
}
