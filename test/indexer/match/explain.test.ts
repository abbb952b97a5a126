import { MODE, operatorTree, textToBytes32 } from "@berth/protocol";
import { expect } from "chai";
import { createHolds } from "../../../indexer/src/book/holds.ts";
import { explain } from "../../../indexer/src/match/explain.ts";
import { anOffer } from "../../support/orders.ts";
import { aBook, address, anOrder, TOKEN } from "../support/books.ts";

const AT = { now: 1_000_000, matcher: address(99) };

describe("explain", () => {
  const bookOf = (...offers: Parameters<typeof anOffer>[0][]) => {
    const book = aBook();
    offers.forEach((replaced, i) => {
      const offer = anOffer({ operator: address(i), token: TOKEN, ...replaced });
      book.putOffer({ offerHash: `0x${String(i).repeat(64)}`, offer, signature: "0x", signer: address(50), seq: i });
    });
    return book;
  };
  const explained = (book: ReturnType<typeof aBook>, request: Parameters<typeof anOrder>[1]) =>
    explain(book, createHolds(), anOrder(1, request), AT);

  it("counts the offers that fail by field and names the best value seen", () => {
    const book = bookOf({ memoryMiB: 1024 }, { memoryMiB: 4096 }, {}, {});
    const { offersSeen, fits, reasons, sentence } = explained(book, { memoryMiB: 200_000 });
    expect({ offersSeen, fits }).to.deep.equal({ offersSeen: 4, fits: 0 });
    expect(reasons).to.deep.equal([{ field: "memoryMiB", offers: 4, wanted: "200000", best: "4096" }]);
    expect(sentence).to.equal("4 offers, 0 fit: 4 have less memory than 200000 MiB (largest 4096).");
  });

  it("says that the cheapest price is above the cap", () => {
    const { sentence } = explained(bookOf({}), { maxPrice: 10n });
    expect(sentence).to.equal("1 offer, 1 fits: the cheapest price is 69 token units, above the cap of 10.");
  });

  it("says what the payer lacks", () => {
    const book = bookOf({});
    book.setBalance(anOrder(1).request.payer, TOKEN, 3n);
    expect(explained(book, {}).sentence).to.match(
      /the payer 0x1{40} has 3 token units free in the market and needs 69/,
    );
  });

  it("says how many operators are missing", () => {
    expect(explained(bookOf({}, { operator: address(0), index: 1 }), { replicas: 2 }).sentence).to.equal(
      "2 offers, 2 fit: 2 operators are needed and only 1 offers what fits.",
    );
  });

  it("shows regions and traits by name, each kind of failure once", () => {
    const book = bookOf({ region: textToBytes32("us-east") }, { traits: 0n });
    const { sentence } = explained(book, { region: textToBytes32("eu-west"), traits: 1n });
    expect(sentence).to.contain("2 have another region than eu-west (found none, us-east)");
    expect(sentence).to.contain("1 lacks traits (the closest lacks arch-amd64)");
  });

  it("names what operators do not accept, and what they have too little of", () => {
    const book = bookOf({ verifier: address(70) }, { verifier: address(70) });
    book.setAccepted(address(1), address(70), true);
    book.setAccepted(address(1), TOKEN, false);
    const { sentence } = explained(book, { verifier: address(70), arbiterWindow: 60, minStake: 1_000_001n });
    expect(sentence).to.contain("2 have less stake altogether than 1000001 (largest 1000000)");
    expect(sentence).to.contain(`1 is from operators who do not accept the verifier ${address(70)}`);
    expect(sentence).to.contain(`1 is from operators who do not accept the token ${TOKEN}`);
  });

  it("says who is not on the request's list, and that the list is missing", () => {
    const book = bookOf({}, {});
    const request = { operators: operatorTree([address(1)]).root };
    const listed = explain(book, createHolds(), anOrder(1, request, 1, false, [address(1)]), AT);
    expect(listed.reasons).to.deep.equal([
      { field: "operators", offers: 1, wanted: request.operators, best: address(0) },
    ]);
    expect(listed.sentence).to.equal("2 offers, 1 fits: 1 is from operators whom the request does not list.");
    expect(explained(book, request).sentence).to.contain("nobody has handed that list in");
  });

  it("says that the market is paused, and that nobody takes such a lease", () => {
    const book = bookOf({}, { minHeartbeatSeconds: 90 });
    book.setPaused(true);
    expect(explained(book, {}).sentence).to.equal("2 offers, 2 fit: the market takes no new jobs at the moment.");
    const { sentence } = explained(book, { mode: MODE.lease, heartbeatSeconds: 30 });
    expect(sentence).to.contain("2 take no leases with a heartbeat of 30 s (shortest 60)");
  });

  it("tells an empty book from one whose offers fit", () => {
    expect(explained(aBook(), {}).sentence).to.equal("0 offers, 0 fit: no node offers anything at the moment.");
    expect(explained(bookOf({}), {}).sentence).to.equal("1 offer, 1 fits: the next round matches this request.");
  });
});
