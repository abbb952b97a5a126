import { MarketError, orderToJson } from "@berth/protocol";
import { expect } from "chai";
import { PAGE_BYTES } from "../../../indexer/src/peers/order-log.ts";
import { MAX_PAGE_BYTES, PAGE, type PullOptions, takeAside, takePage } from "../../../indexer/src/peers/pull.ts";
import { anOffer } from "../../support/orders.ts";

const START = { log: "a", after: 0 };
const FULL = Array.from({ length: PAGE }, (_, i) => i + 1);

describe("takePage", () => {
  it("takes what comes after the last number and says where it is", async () => {
    const { options, taken } = desk();
    const pulled = await takePage(page([3, 4], { next: 9 }), { log: "a", after: 2 }, options);
    expect(pulled).to.deep.equal({ cursor: { log: "a", after: 9 }, more: false, taken: 2, refused: 0 });
    expect(taken).to.deep.equal([3, 4]);
  });

  it("starts again, and takes nothing yet, when the numbers are new", async () => {
    const { options, taken } = desk();
    const pulled = await takePage(page([3]), { log: "old", after: 2 }, options);
    expect(pulled.cursor).to.deep.equal(START);
    expect(taken).to.deep.equal([]);
  });

  it("asks at once for more only after a page that is full, in orders or in bytes", async () => {
    const moreAfter = async (answer: unknown) => (await takePage(answer, START, desk().options)).more;
    expect(await moreAfter(page([], { next: 7, more: true }))).to.equal(false);
    expect(await moreAfter(page([1], { more: true }))).to.equal(false);
    expect(await moreAfter(page(FULL.slice(1), { more: true }))).to.equal(false);
    expect(await moreAfter(page(FULL, { more: true }))).to.equal(true);
    expect(await moreAfter(page(FULL))).to.equal(false);
    const [good, large] = [
      page([1, 2, 3], { more: true }),
      { seq: 4, kind: "offer", padding: " ".repeat(PAGE_BYTES / 2) },
    ];
    expect(await moreAfter({ ...good, items: [...good.items, large], next: 4 })).to.equal(true);
  });

  for (const [what, answer] of Object.entries({
    "a number twice": page([1, 1]),
    "numbers that go back": page([2, 1]),
    "an order behind its end": page([5], { next: 4 }),
  })) {
    it(`refuses ${what}`, async () => {
      expect(await failureOf(takePage(answer, START, desk().options))).to.include({ code: "PEER_CURSOR_BAD" });
    });
  }

  for (const [what, answer] of Object.entries({
    "no object": [],
    "too many orders": page(Array.from({ length: PAGE + 1 }, (_, i) => i + 1)),
    "an order without a number": { ...page([]), items: [{ kind: "offer" }] },
    "a number that is none": page([], { next: 2 ** 60 }),
  })) {
    it(`refuses ${what}`, async () => {
      expect(await failureOf(takePage(answer, START, desk().options))).to.include({ code: "PEER_ANSWER_BAD" });
    });
  }

  for (const code of ["INDEXER_BEHIND", "RPC_UNAVAILABLE", "INTAKE_BUSY"]) {
    it(`stops where it cannot go on (${code}), and passes nothing over`, async () => {
      const { options } = desk({ 2: code });
      const pulled = await takePage(page([1, 2, 3]), START, options);
      expect(pulled).to.deep.include({ cursor: { log: "a", after: 1 }, more: false, taken: 1 });
      expect(pulled.waitingFor).to.include({ code });
    });
  }

  it("stops when the peer has spent what it may send", async () => {
    const { options } = desk({}, 2);
    const pulled = await takePage(page([1, 2, 3], { more: true }), START, options);
    expect(pulled).to.deep.include({ cursor: { log: "a", after: 2 }, more: false, taken: 2 });
    expect(pulled.waitingFor).to.include({ code: "RATE_LIMITED" });
  });

  it("goes on past what may be taken later, and keeps that", async () => {
    const { options, aside } = desk({ 1: "NODE_UNKNOWN", 2: "REQUEST_UNFUNDED", 4: "RPC_ERROR" });
    expect(await takePage(page([1, 2, 3, 4]), START, options)).to.deep.include({ taken: 1, refused: 0 });
    expect(aside.map(({ seq }) => seq)).to.deep.equal([1, 2, 4]);
    const again = desk({ 1: "NODE_UNKNOWN" });
    expect(await takeAside(aside[0], again.options)).to.deep.equal({ taken: 0, refused: 0 });
    expect(await takeAside(aside[1], again.options)).to.deep.equal({ taken: 1, refused: 0 });
    expect(again.aside.map(({ seq }) => seq)).to.deep.equal([1]);
  });

  it("bears an order that is none among good ones, at its price, and not a page of them", async () => {
    const one = desk({ 2: "REQUEST_UNSOUND" });
    expect(await takePage(page([1, 2, 3, 4]), START, one.options)).to.deep.include({ taken: 3, refused: 1 });
    expect(one.punished()).to.equal(1);
    const all = desk(Object.fromEntries(FULL.map((seq) => [seq, "REQUEST_UNSOUND"])));
    expect(await failureOf(takePage(page(FULL), START, all.options))).to.include({ code: "PEER_SENDS_JUNK" });
    expect([all.punished(), all.taken.length]).to.deep.equal([10, 10]);
  });

  it("lets a page of bad signatures cost the peer as much, and convicts nobody: they may have been good when it took them", async () => {
    const all = desk(Object.fromEntries(FULL.map((seq) => [seq, "BAD_SIGNATURE"])));
    expect(await takePage(page(FULL), START, all.options)).to.deep.include({ taken: 0, refused: PAGE });
    expect(all.punished()).to.equal(PAGE);
  });

  it("sees without checking it that no order has a signature that is too large for the chain", async () => {
    const { options, taken } = desk();
    const answer = page([1, 2, 3, 4]);
    Object.assign(answer.items[1] as object, { signature: `0x${"12".repeat(2049)}` });
    expect(await takePage(answer, START, options)).to.deep.include({ taken: 3, refused: 1 });
    expect(taken).to.deep.equal([1, 3, 4]);
  });

  it("reads the largest page that an indexer gives", () => {
    expect(PAGE_BYTES).to.be.lessThan(MAX_PAGE_BYTES / 2 + 1);
  });
});

/** An intake that answers each number with the given refusal, and knows an offer by its `index`. */
function desk(refusals: Record<number, string> = {}, budget = Number.POSITIVE_INFINITY) {
  const [taken, aside]: [number[], { seq: number }[]] = [[], []];
  let [punished, spent] = [0, 0];
  const retryable = (code: string) => code !== "BAD_SIGNATURE";
  const options: PullOptions = {
    intake: {
      async takeOffer(_, offer) {
        taken.push(offer.index);
        const code = refusals[offer.index];
        if (code !== undefined) throw new MarketError(code, "No.", { retryable: retryable(code) });
        return "0x";
      },
      takeRequest: () => Promise.reject(new Error("no requests here")),
    },
    sender: "peer",
    spend() {
      if (spent >= budget) throw new MarketError("RATE_LIMITED", "No more.", { retryable: true });
      spent += 1;
    },
    punish() {
      punished += 1;
    },
    setAside: (item) => aside.push(item as { seq: number }),
  };
  return { options, taken, aside, punished: () => punished };
}

function page(numbers: number[], replaced: { next?: number; more?: boolean } = {}) {
  const items = numbers.map((seq) => {
    return { seq, kind: "offer", offer: orderToJson(anOffer({ index: seq })), signature: "0x12" };
  });
  return { log: "a", items, next: numbers.at(-1) ?? 0, more: false, ...replaced };
}

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}
