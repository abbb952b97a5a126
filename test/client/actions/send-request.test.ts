import { MarketError, type Request } from "@berth/protocol";
import { expect } from "chai";
import { createWalletClient, http } from "viem";
import { postRequest, signRequest } from "../../../client/src/actions/send-request.ts";
import { chainNow } from "../../../client/src/chain-reads.ts";
import { type Wallet, walletFromViem } from "../../../client/src/wallet.ts";
import { aRequest } from "../../support/orders.ts";
import { type TestMarket, testMarket } from "../support/market.ts";

const CONTENT_URL = "http://requester.example:1234";

describe("sending a request", () => {
  let market: TestMarket;
  before(async () => {
    market = await testMarket();
  });
  after(() => market.close());
  afterEach(() => {
    market.onRequest = undefined;
  });

  /** A client, what its wallet was asked for, and what the indexer was given. */
  async function watched() {
    const wallet = walletFromViem(createWalletClient({ account: market.requester, transport: http(market.anvil.url) }));
    const asked: string[] = [];
    const recorder: Wallet = {
      ...wallet,
      signTypedData: (document) => {
        asked.push(`sign ${document.primaryType}`);
        return wallet.signTypedData(document);
      },
      sendTransaction: (transaction) => {
        asked.push(`send to ${transaction.to}`);
        return wallet.sendTransaction(transaction);
      },
    };
    const client = await market.client(recorder);
    market.onRequest = async () => void asked.push("indexer");
    const openUntil = (await chainNow(client)) + 600;
    const request = (replaced: Partial<Request> = {}) =>
      aRequest({
        ...{ requester: wallet.address, payer: wallet.address, token: market.offer.token, openUntil, maxPrice: 0n },
        ...replaced,
      });
    const enclosed = { sources: [CONTENT_URL] };
    return { client, asked, request, enclosed };
  }

  async function isUnsound(sending: Promise<unknown>, words: string, hint: RegExp) {
    const error = await sending.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).to.be.instanceOf(MarketError);
    expect(error).to.include({ code: "REQUEST_UNSOUND", retryable: false });
    expect((error as MarketError).message).to.equal(`The market would refuse this request: ${words}.`);
    expect((error as MarketError).hint).to.match(hint);
  }

  it("signs nothing that the market would refuse, and tells no indexer", async () => {
    const { client, asked, request, enclosed } = await watched();
    const words = "`bounty` must not be above a tenth of `bond`; it is 101";
    await isUnsound(signRequest(client, request({ bounty: 101n }), enclosed), words, /^Correct `bounty`/);
    expect(asked).to.deep.equal([]);
    await signRequest(client, request({ bounty: 100n }), enclosed);
    expect(asked).to.deep.equal(["sign Request", "indexer"]);
  });

  it("posts nothing that the market would refuse, and announces no content for it", async () => {
    const { client, asked, request } = await watched();
    const words = "`acceptWindow` must not be above `submitWindow`; it is 301";
    await isUnsound(postRequest(client, request({ acceptWindow: 301 }), CONTENT_URL), words, /^Correct `acceptWindow`/);
    expect(asked).to.deep.equal([]);
    const sent = await postRequest(client, request({ acceptWindow: 300 }), CONTENT_URL);
    expect(sent.map(({ what }) => what)).to.deep.equal(["announce content", "post"]);
  });
});
