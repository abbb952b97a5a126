import { once } from "node:events";
import { request as requestHttp } from "node:http";
import { type Address, MarketError, type Offer, orderToJson, type Request } from "@berth/protocol";
import { expect } from "chai";
import { createRateLimit } from "../../../indexer/src/http/rate-limit.ts";
import type { ApiContext } from "../../../indexer/src/http/route.ts";
import { startServer } from "../../../indexer/src/http/server.ts";
import { anOffer } from "../../support/orders.ts";
import { startMarket, type TestMarket, type TestNode } from "../support/market.ts";
import { type Answer, log, type RunningIndexer, runIndexer } from "../support/running-indexer.ts";

const HOUR = 3600;

describe("order intake", () => {
  let market: TestMarket;
  let indexer: RunningIndexer;
  let node: TestNode;
  before(async () => {
    market = await startMarket();
    node = await market.node("ada");
    indexer = await runIndexer(market, {
      limits: { orders: { burst: 100_000, perSecond: 1_000 } },
      intake: {
        gate: { atWork: 4, waiting: 8 },
        offersPerOperator: { plain: 2, staked: 3 },
        requestsPerPayer: { unfunded: 1, funded: 2 },
        maxOfferSeconds: 2 * HOUR,
        maxRequestSeconds: HOUR,
      },
    });
    await indexer.caughtUp();
  });
  after(async () => {
    await indexer?.close();
    await market?.stop();
  });

  it("refuses an offer that ends too late, with its numbers", async () => {
    const expiresAt = (await market.now()) + 5 * HOUR;
    const answer = await indexer.postOffer(await market.offer(node, { expiresAt }));
    expect([answer.status, answer.body.code]).to.deep.equal([422, "OFFER_ENDS_TOO_LATE"]);
    expect(answer.body.detail).to.match(
      new RegExp(`^The offer ends at ${expiresAt}, in 1\\d{4} s; offers are taken for 7200 s at most\\.$`),
    );
  });

  it("refuses a request that is open too long, with its numbers", async () => {
    const openUntil = (await market.now()) + 2 * HOUR;
    const answer = await indexer.postRequest(await market.request(await market.account("rob"), { openUntil }));
    expect([answer.status, answer.body.code]).to.deep.equal([422, "REQUEST_ENDS_TOO_LATE"]);
    expect(answer.body.detail).to.match(
      new RegExp(`^The request is open until ${openUntil}, for \\d{4} s; requests are taken for 3600 s at most\\.$`),
    );
  });

  it("takes few offers of an operator, more with stake, and always a newer one in the place of another", async () => {
    const operator = await market.account("poor operator");
    const poor = { operator, index: 0, key: await market.account("poor operator's key") };
    await market.publish(poor);
    await market.setLimits(poor);
    await market.setAccepted(operator.address, [market.token]);
    await indexer.caughtUp();
    const expiresAt = (await market.now()) + HOUR;
    const post = async (i: number, more = 0) =>
      indexer.postOffer(await market.offer(poor, { requester: anAccount(i), expiresAt: expiresAt + more }));
    expect([await post(1), await post(2)].map(({ status }) => status)).to.deep.equal([202, 202]);
    const third = await post(3);
    expect([third.status, third.body.code]).to.deep.equal([429, "TOO_MANY_OFFERS"]);
    expect(third.body.detail).to.equal(`Operator ${operator.address.toLowerCase()} already has 2 of 2 offers here.`);
    expect(third.body.hint).to.contain("an operator with stake may have 3");
    expect((await post(2, 1)).status).to.equal(202);

    await market.stake(operator.address, 1n);
    await indexer.caughtUp();
    expect([await post(3), await post(4)].map(({ status }) => status)).to.deep.equal([202, 429]);
  });

  it("takes few requests of a payer, more with the money for them", async () => {
    const payer = await market.account("pat");
    const post = async () => indexer.postRequest(await market.request(payer));
    expect([await post(), await post()].map(({ status }) => status)).to.deep.equal([202, 429]);
    await market.deposit(payer.address, 100_000_000n);
    await indexer.caughtUp();
    expect((await post()).status).to.equal(202);
    const refused = await post();
    expect([refused.status, refused.body.code]).to.deep.equal([429, "TOO_MANY_REQUESTS"]);
    expect(refused.body.detail).to.equal(`The payer ${payer.address.toLowerCase()} already has 2 open requests here.`);
  });

  it("takes no signature that is larger than the market could need", async () => {
    const signed = await market.request(await market.account("wordy"));
    const sign = (bytes: number) => `0x${"12".repeat(bytes)}`;
    const post = async (signature: string, payerSignature = "0x") => {
      const { status, body } = await indexer.postRequest({ ...signed, signature }, { payerSignature });
      return [status, body.code];
    };
    expect(await post(sign(2048))).to.deep.equal([422, "BAD_SIGNATURE"]);
    expect(await post(sign(2049))).to.deep.equal([400, "ORDER_INVALID"]);
    expect(await post(signed.signature, sign(2049))).to.deep.equal([400, "ORDER_INVALID"]);
    const offer = await indexer.postOffer({ offer: anOffer(), signature: sign(2049) });
    expect([offer.status, offer.body.code]).to.deep.equal([400, "ORDER_INVALID"]);
    expect(offer.body.detail).to.contain("must have 2048 bytes at most");
  });

  it("keeps no payer's signature where the payer is the requester: nobody checks it", async () => {
    const payer = await market.account("patience");
    const signed = await market.request(payer);
    expect((await indexer.postRequest(signed, { payerSignature: `0x${"12".repeat(2000)}` })).status).to.equal(202);
    const { body } = await indexer.get("/orders");
    const kept = body.items.find((item: { signature: string }) => item.signature === signed.signature);
    expect(kept.payerSignature).to.equal("0x");
  });

  it("does not believe a contract that burns its gas on the question", async () => {
    const burner = await contractThat("5b600056", 1);
    const answer = await indexer.postRequest(await requestOf(burner));
    expect([answer.status, answer.body.code]).to.deep.equal([422, "BAD_SIGNATURE"]);
    expect(answer.body.hint).to.contain("at most 200000 gas");
  });

  it("takes the valid orders of one sender while another floods it with junk of every kind", async () => {
    const burner = await contractThat("5b600056", 2);
    const flooder = await market.node("flooder");
    const [mallory, good] = [await market.account("mallory"), await market.offer(flooder)];
    const junk = [
      orderBody({ ...(await market.offer(flooder)), signature: (await market.offer(node)).signature }),
      orderBody(good),
      orderBody(await market.offer(flooder, { epoch: 7 })),
      "{",
    ];
    await indexer.caughtUp();
    let flooding = true;
    const statuses = new Map<number, number>();
    const flood = Array.from({ length: 24 }, async (_, i) => {
      for (let n = i; flooding; n++) {
        const wallet = await requestOf(burner, n);
        const answer =
          n % 3 === 0
            ? await postFrom("127.0.0.2", "/requests", requestBody(wallet))
            : await postFrom("127.0.0.2", "/offers", junk[n % junk.length] ?? "");
        statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
      }
    });
    const accepted: Answer[] = [];
    for (let i = 0; i < 3; i++) {
      accepted.push(await indexer.postOffer(await market.offer(node, { requester: anAccount(20 + i) })));
      const payer = await market.account(`valid ${i}`);
      accepted.push(await indexer.postRequest(await market.request(payer)));
    }
    flooding = false;
    await Promise.all(flood);
    expect(accepted.map(({ status, body }) => [status, body.code])).to.deep.equal(accepted.map(() => [202, undefined]));
    expect([...statuses.keys()].filter((status) => ![202, 400, 422, 503].includes(status))).to.deep.equal([]);
    expect(statuses.get(422)).to.be.greaterThan(0);
    const { body } = await indexer.get(`/offers?operator=${flooder.operator.address.toLowerCase()}`);
    expect(body.items.length).to.be.at.most(1);
    expect((await indexer.postRequest(await market.request(mallory))).status).to.equal(202);
  });

  async function contractThat(code: string, i: number): Promise<Address> {
    const address = `0x${i.toString(16).padStart(40, "c0de")}` as Address;
    await market.anvil.call("anvil_setCode", [address, `0x${code}`]);
    return address;
  }

  async function requestOf(requester: Address, salt = 0) {
    const signed = await market.request(await market.account("somebody"), { requester, payer: requester });
    return { request: signed.request, signature: `0x${salt.toString(16).padStart(8, "0")}` };
  }

  /** Over a connection from another address of this machine. */
  async function postFrom(localAddress: string, path: string, body: string): Promise<{ status: number }> {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    const request = requestHttp(`${indexer.url}${path}`, { method: "POST", localAddress, headers }).end(body);
    const [response] = await once(request, "response");
    response.resume();
    await once(response, "end");
    return { status: response.statusCode };
  }
});

describe("an intake that has no place", () => {
  it("answers 503 with the time to wait, and does not count it against the sender", async () => {
    const takeOffer = async () => {
      throw new MarketError("INTAKE_BUSY", "More orders came in than this indexer can check at the moment.", {
        retryable: true,
      });
    };
    const rateLimit = createRateLimit({ burst: 2, perSecond: 1 }, () => 0);
    const context = { rateLimit, intake: { takeOffer } } as unknown as ApiContext;
    const server = await startServer({ host: "127.0.0.1", port: 0 }, context, { log });
    try {
      for (const _ of [1, 2]) {
        const body = orderBody({ offer: anOffer(), signature: "0x12" });
        const answer = await fetch(`${server.url}/offers`, { method: "POST", body });
        expect(answer.status).to.equal(503);
        expect(answer.headers.get("retry-after")).to.equal("2");
        expect(answer.headers.get("content-type")).to.contain("application/problem+json");
        expect(await answer.json()).to.include({ code: "INTAKE_BUSY", status: 503, retryable: true });
      }
    } finally {
      await server.close();
    }
  });
});

function anAccount(i: number): Address {
  return `0x${i.toString(16).padStart(40, "0")}`;
}

function orderBody({ offer, signature }: { offer: Offer; signature: string }): string {
  return JSON.stringify({ offer: orderToJson(offer), signature });
}

function requestBody({ request, signature }: { request: Request; signature: string }): string {
  return JSON.stringify({ request: orderToJson(request), signature });
}
