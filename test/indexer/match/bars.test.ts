import type { ErrorJson } from "@berth/protocol";
import { expect } from "chai";
import type { BookOffer, BookView } from "../../../indexer/src/book/book.ts";
import { barAfter, barsOffer, barsRequest } from "../../../indexer/src/match/bars.ts";
import { anOffer } from "../../support/orders.ts";
import { aBook, address, anOrder, TOKEN } from "../support/books.ts";

const { request } = anOrder(1);

describe("barAfter", () => {
  const offers = [0, 1].map(offerOf) as [BookOffer, BookOffer];

  it("blames the request for a market that is paused, until it goes on", () => {
    const book = aBook();
    book.setPaused(true);
    const bar = barAfter(refusal("NewJobsPaused()"), book, request, offers);
    expect(barsRequest([bar], book, request)).to.equal(true);
    book.setPaused(false);
    expect(barsRequest([bar], book, request)).to.equal(false);
  });

  it("blames the request for a match that fits into no transaction", () => {
    const book = aBook();
    const bar = barAfter(refusal("MatchTooLarge(bytes: 2, mostBytes: 1)"), book, request, offers);
    expect(bar.kind).to.equal("request");
    expect(barsRequest([bar], book, request)).to.equal(true);
  });

  const named = address(1).toUpperCase().replace("X", "x");
  const token = `token: ${TOKEN}`;
  const lifted: [string, (book: ReturnType<typeof aBook>) => void][] = [
    [`NotAccepted(operator: ${named}, what: ${TOKEN})`, (book) => book.setAccepted(address(1), address(70), true)],
    [
      `StakeBelowMinimum(operator: ${named}, ${token}, staked: 1, needed: 2)`,
      (book) => book.setStake(address(1), TOKEN, { free: 1_000_000n, locked: 1n }),
    ],
    [
      `StakeTooLow(operator: ${named}, ${token}, free: 1, needed: 2)`,
      (book) => book.setStake(address(1), TOKEN, { free: 1_000_001n, locked: 0n }),
    ],
  ];
  for (const [error, change] of lifted) {
    it(`bars only the operator that is named, until that changes: ${error.split("(")[0]}`, () => {
      const book = aBook();
      const bar = barAfter(refusal(error), book, request, offers);
      const barred = () => offers.map((offer) => barsOffer([bar], book, request, offer));
      expect(barred()).to.deep.equal([false, true]);
      change(book);
      expect(barred()).to.deep.equal([false, false]);
    });
  }

  it("bars every offer when nobody is named", () => {
    const book = aBook();
    const bar = barAfter(refusal("GasTooLow(needed: 1)"), book, request, offers);
    expect(offers.map((offer) => barsOffer([bar], book, request, offer))).to.deep.equal([true, true]);
  });
});

describe("barsOffer", () => {
  it("looks up what stands behind an offer only where a refusal named it", () => {
    const book = aBook();
    const [named, other] = [0, 1].map(offerOf) as [BookOffer, BookOffer];
    const bar = barAfter(refusal("GasTooLow(needed: 1)"), book, request, [named]);
    let looks = 0;
    const watched: BookView = {
      ...book,
      paused: false,
      node(operator, index) {
        looks += 1;
        return book.node(operator, index);
      },
    };
    expect([barsOffer([bar, bar], watched, request, other), looks]).to.deep.equal([false, 0]);
    expect([barsOffer([bar, bar], watched, request, named), looks]).to.deep.equal([true, 1]);
  });
});

function offerOf(operator: number): BookOffer {
  const offer = anOffer({ operator: address(operator), token: TOKEN });
  return { offerHash: `0x${String(operator).repeat(64)}`, offer, signature: "0x", signer: address(50), seq: operator };
}

function refusal(error: string): ErrorJson {
  return { code: "REVERTED", message: `The match was refused by the contract: ${error}.`, retryable: false };
}
