import {
  type Address,
  chargeOfDown,
  depositOf,
  identityRegistryAbi,
  type JobId,
  jobIdOf,
  jobMarketAbi,
  MODE,
  operatorTree,
  orderToJson,
  type Request,
  requestSchema,
  termsSchema,
  ZERO_ADDRESS,
  ZERO_BYTES32,
} from "@berth/protocol";
import { expect } from "chai";
import type { z } from "zod";
import { routes } from "../../../indexer/src/http/routes/index.ts";
import * as shape from "../../../indexer/src/http/schemas.ts";
import { startMarket, type TestMarket, type TestNode } from "../support/market.ts";
import { type Answer, type RunningIndexer, runIndexer } from "../support/running-indexer.ts";

describe("indexer API", () => {
  let market: TestMarket;
  let indexer: RunningIndexer;
  let node: TestNode;
  let busy: TestNode;
  before(async () => {
    market = await startMarket();
    node = await market.node("ada");
    busy = await market.node("zed");
    indexer = await runIndexer(market);
    await indexer.caughtUp();
  });
  after(async () => {
    await indexer?.close();
    await market?.stop();
  });

  describe("POST /offers", () => {
    it("takes an offer once, and a newer one in its place", async () => {
      const first = await market.offer(node, { baseCharge: 1n });
      const second = await market.offer(node, { baseCharge: 2n, expiresAt: first.offer.expiresAt + 60 });
      expect((await indexer.postOffer(first)).status).to.equal(202);
      const again = await indexer.postOffer(first);
      expect(again.status).to.equal(202);
      const { body } = await indexer.postOffer(second);
      const { items } = await page("/offers", shape.pageSchema(shape.offerItem));
      expect(items.map(({ offerHash }) => offerHash)).to.deep.equal([body.offerHash]);
      expect(items[0]?.freeCapacity).to.deep.equal({ cpuMilli: 4000, memoryMiB: 4096, diskMiB: 1024, gpus: 0 });
      expect(items[0]?.contentUrl).to.equal("http://127.0.0.1:9999");

      const replayed = await indexer.postOffer(first);
      isProblem(replayed, 409, "OFFER_SUPERSEDED", /newer offer of this node is known/);
    });

    it("keeps a node's offers for different judges side by side", async () => {
      const judges = await market.node("judged");
      await indexer.caughtUp();
      const words = [ZERO_BYTES32, `0x${"1".repeat(64)}`] as const;
      for (const arbiterData of words) await indexer.postOffer(await market.offer(judges, { arbiterData }));
      const { items } = (await indexer.get(`/offers?operator=${lower(judges.operator.address)}`)).body;
      expect(items.map(({ offer }: { offer: { arbiterData: string } }) => offer.arbiterData)).to.deep.equal(words);
    });

    it("refuses an unknown field, and names it", async () => {
      const { offer, signature } = await market.offer(node);
      const answer = await indexer.post("/offers", { offer: { ...orderToJson(offer), memoryMib: 1 }, signature });
      isProblem(answer, 400, "ORDER_INVALID", /Unrecognized key: "memoryMib"/);
      expect(answer.body.hint).to.match(/unknown fields are refused/);
    });

    it("refuses another key's signature, and says whose it must be", async () => {
      const { offer } = await market.offer(node);
      const stranger = { ...node, key: await market.account("stranger") };
      const { signature } = await market.offer(stranger);
      const answer = await indexer.postOffer({ offer, signature });
      isProblem(answer, 422, "BAD_SIGNATURE", new RegExp(`not signed by the node's key ${node.key.address}`, "i"));
    });

    it("refuses an offer that expired", async () => {
      const answer = await indexer.postOffer(await market.offer(node, { expiresAt: 1000 }));
      isProblem(answer, 422, "OFFER_EXPIRED", /expired at 1000/);
    });

    it("refuses a node that is not published", async () => {
      const answer = await indexer.postOffer(await market.offer({ ...node, index: 7 }));
      isProblem(answer, 422, "NODE_UNKNOWN", /Node 7 of operator 0x[0-9a-f]{40} is not published/);
    });

    it("refuses another epoch than the node's", async () => {
      const answer = await indexer.postOffer(await market.offer(node, { epoch: 3 }));
      isProblem(answer, 422, "WRONG_EPOCH", /is for epoch 3; the node is at 0/);
    });

    it("shows an offer no more once its node raised the epoch", async () => {
      const bob = await market.node("bob");
      await indexer.caughtUp();
      const signed = await market.offer(bob);
      expect((await indexer.postOffer(signed)).status).to.equal(202);
      const path = `/offers?operator=${signed.offer.operator}`;
      expect((await indexer.get(path)).body.items).to.have.length(1);
      const { market: to } = market.deployment;
      await market.send(bob.key.address, to, jobMarketAbi, "bumpEpoch", [bob.operator.address, 0]);
      await indexer.caughtUp();
      expect((await indexer.get(path)).body.items).to.have.length(0);
    });
  });

  describe("POST /requests", () => {
    it("keeps a signed request and unites its sources", async () => {
      const requester = await market.account("rex");
      const signed = await market.request(requester);
      const { body } = await indexer.postRequest(signed, { sources: ["http://127.0.0.1:1"] });
      await indexer.postRequest(signed, { sources: ["http://127.0.0.1:2"] });
      const answer = await indexer.get(`/requests/${body.jobId}`);
      const status = shape.requestItem.parse(answer.body);
      expect(status.state).to.equal("open");
      expect(status.sources).to.deep.equal(["http://127.0.0.1:1", "http://127.0.0.1:2"]);
      isProblem(await indexer.get(`/jobs/${body.jobId}`), 404, "JOB_UNKNOWN", /is not on chain/);
    });

    it("refuses a signature of somebody else", async () => {
      const { request } = await market.request(await market.account("rex"));
      const { signature } = await market.request(await market.account("mallory"));
      isProblem(
        await indexer.postRequest({ request, signature }),
        422,
        "BAD_SIGNATURE",
        /not signed by the requester 0x/,
      );
    });

    it("asks the payer's signature too, where another pays", async () => {
      const payer = await market.account("payer");
      const signed = await market.request(await market.account("rex"), { payer: payer.address });
      isProblem(await indexer.postRequest(signed), 422, "BAD_SIGNATURE", /not signed by the payer 0x/);
      const { signature: payerSignature } = await market.request(payer, signed.request);
      expect((await indexer.postRequest(signed, { payerSignature })).status).to.equal(202);
    });

    it("asks a requester that is a contract about its signature (ERC-1271)", async () => {
      const says = async (magic: string) => {
        const wallet = "0x00000000000000000000000000000000000012f1";
        // Returns the 4 bytes for every call: PUSH4 magic, PUSH1 224, SHL, PUSH1 0, MSTORE, PUSH1 32, PUSH1 0, RETURN.
        await market.anvil.call("anvil_setCode", [wallet, `0x63${magic}60e01b60005260206000f3`]);
        const { request } = await market.request(await market.account("rex"), { requester: wallet, payer: wallet });
        return indexer.postRequest({ request, signature: "0x1234" });
      };
      isProblem(await says("deadbeef"), 422, "BAD_SIGNATURE", /not signed by the requester/);
      expect((await says("1626ba7e")).status).to.equal(202);
    });

    it("takes the signature of who controls the requester and the payer now, as the market does", async () => {
      const { identity } = market.deployment;
      const [first, second] = [await market.account("first owner"), await market.account("second owner")];
      const [requester, payer] = [await market.account("rotated"), await market.account("rotated payer")];
      const give = async (account: string, from: string, to: string) =>
        market.send(from as Address, identity, identityRegistryAbi, "changeOwner", [account as Address, to as Address]);
      const controls = async (account: Address, controller: string) => {
        await indexer.caughtUp();
        const call = { address: identity, abi: identityRegistryAbi, functionName: "controllerOf" } as const;
        expect(await market.chain.readContract({ ...call, args: [account] })).to.equal(controller);
      };
      const post = async (by: typeof first) => {
        const { request } = await market.request(requester);
        return indexer.postRequest({ request, ...(await signedBy(by, request)) });
      };
      const signedBy = async (by: typeof first, request: Request) => {
        const { signature } = await market.request(by, request);
        return { signature };
      };

      await give(requester.address, requester.address, first.address);
      await controls(requester.address, first.address);
      isProblem(
        await post(requester),
        422,
        "BAD_SIGNATURE",
        new RegExp(`the requester ${requester.address}'s owner ${first.address}`, "i"),
      );
      expect((await post(first)).status).to.equal(202);
      await give(requester.address, first.address, second.address);
      await controls(requester.address, second.address);
      expect((await post(first)).status).to.equal(422);
      expect((await post(second)).status).to.equal(202);

      await give(requester.address, second.address, ZERO_ADDRESS);
      await controls(requester.address, second.address);
      expect((await post(requester)).status).to.equal(422);
      expect((await post(second)).status).to.equal(202);

      await give(payer.address, payer.address, ZERO_ADDRESS);
      await controls(payer.address, payer.address);
      const paid = await market.request(second, { requester: lower(requester.address), payer: lower(payer.address) });
      const { signature: payerSignature } = await signedBy(payer, paid.request);
      expect((await indexer.postRequest(paid, { payerSignature })).status).to.equal(202);
      expect((await indexer.postRequest(paid, { payerSignature: paid.signature })).status).to.equal(422);
    });

    it("refuses what the market would refuse for every offer", async () => {
      const rex = await market.account("rex");
      isProblem(
        await indexer.postRequest(await market.request(rex, { replicas: 0 })),
        422,
        "REQUEST_UNSOUND",
        /`replicas` must be at least 1/,
      );
      const unsound: [Partial<Request>, RegExp][] = [
        [{ bounty: 101n }, /`bounty` must not be above a tenth of `bond`/],
        [{ verifier: `0x${"9".repeat(40)}` }, /`arbiterWindow` must leave time for the verifier/],
        [{ arbiter: `0x${"9".repeat(40)}`, challengeWindow: 0 }, /`challengeWindow` must leave time for a dispute/],
        [{ arbiter: `0x${"9".repeat(40)}`, arbiterWindow: 9, arbiterFee: 1001n }, /`arbiterFee` must not be above/],
        [{ mode: MODE.lease }, /`heartbeatSeconds` must not be zero/],
        [{ mode: MODE.lease, heartbeatSeconds: 14 }, /`acceptWindow` must be at most two heartbeats/],
        [{ mode: MODE.lease, heartbeatSeconds: 60, arbiter: `0x${"9".repeat(40)}` }, /`arbiter` must be zero/],
      ];
      for (const [replaced, words] of unsound) {
        isProblem(await indexer.postRequest(await market.request(rex, replaced)), 422, "REQUEST_UNSOUND", words);
      }
      isProblem(
        await indexer.postRequest(await market.request(rex, { openUntil: 1000 })),
        422,
        "REQUEST_EXPIRED",
        /open until 1000/,
      );
    });

    it("lets a payer without money leave only a few", async () => {
      const poor = await market.account("poor");
      const answers: Answer[] = [];
      for (let i = 0; i < 6; i++) answers.push(await indexer.postRequest(await market.request(poor)));
      expect(answers.map(({ status }) => status)).to.deep.equal([202, 202, 202, 202, 202, 429]);
      isProblem(answers[5] as Answer, 429, "TOO_MANY_REQUESTS", /already has 5 open requests/);
      expect(answers[5]?.body.hint).to.equal("Deposit the price into the market first.");
    });

    it("takes the list of operators that a request commits to, with it or after it, and no other", async () => {
      const requester = await market.account("picky");
      const listed = [lower(node.operator.address), lower(requester.address)];
      const signed = await market.request(requester, { operators: operatorTree(listed).root });
      const first = await indexer.postRequest(signed);
      const path = `/requests/${first.body.jobId}`;
      const known = async () => shape.requestItem.parse((await indexer.get(path)).body).operators;
      expect(await known()).to.equal(null);
      expect((await indexer.get(`${path}/explain`)).body.sentence).to.contain("nobody has handed that list in");
      const wrong = await indexer.postRequest(signed, { operators: listed.slice(1) });
      isProblem(wrong, 422, "OPERATORS_MISMATCH", /not the one that the request commits to/);
      expect((await indexer.postRequest(signed, { operators: listed })).status).to.equal(202);
      expect(await known()).to.deep.equal(listed);
      await indexer.postRequest(signed);
      expect(await known()).to.deep.equal(listed);
      expect((await indexer.get(`${path}/explain`)).body.sentence).to.not.contain("handed");
      const unasked = await indexer.postRequest(await market.request(requester), { operators: listed });
      isProblem(unasked, 422, "OPERATORS_MISMATCH", /not the one/);
    });

    it("explains why nobody fits", async () => {
      const signed = await market.request(await market.account("sue"), { memoryMiB: 200_000 });
      const { body } = await indexer.postRequest(signed);
      const answer = await indexer.get(`/requests/${body.jobId}/explain`);
      const { sentence, reasons } = shape.explanation.parse(answer.body);
      expect(reasons.find(({ field }) => field === "memoryMiB")?.wanted).to.equal("200000");
      expect(sentence).to.match(/less memory than 200000 MiB \(largest 4096\)/);
    });
  });

  describe("bad input", () => {
    it("refuses a body that is too large, no JSON, or nothing", async () => {
      isProblem(await indexer.post("/offers", "x".repeat(40_000)), 413, "BODY_TOO_LARGE", /larger than 32768 bytes/);
      isProblem(await indexer.post("/offers", "{"), 400, "BODY_NOT_JSON", /not JSON/);
      isProblem(await indexer.post("/offers", {}), 400, "ORDER_INVALID", /offer/);
    });

    it("refuses wrong paths, queries and cursors", async () => {
      isProblem(await indexer.get("/nothing"), 404, "NOT_FOUND", /GET \/nothing/);
      isProblem(await indexer.get("/jobs/%E0%A4%A"), 400, "QUERY_INVALID", /percent-encoding/);
      isProblem(await indexer.get("/jobs/0x12"), 400, "QUERY_INVALID", /64 hexadecimal digits/);
      isProblem(await indexer.get("/jobs?limit=0"), 400, "QUERY_INVALID", /limit/);
      isProblem(await indexer.get("/jobs?colour=red"), 400, "QUERY_INVALID", /colour/);
      isProblem(await indexer.get("/jobs?cursor=abc"), 400, "CURSOR_INVALID", /not one that this list gave out/);
      isProblem(await indexer.get(`/requests/0x${"9".repeat(64)}`), 404, "REQUEST_UNKNOWN", /No request/);
      isProblem(
        await indexer.get(`/nodes/${node.operator.address}/99`),
        404,
        "NODE_NOT_FOUND",
        /never published a node 99/,
      );
    });
  });

  it("shows a job from its posting to its end, as the contracts have it", async () => {
    const requester = await market.account("jo");
    await market.deposit(requester.address, 1_000_000n);
    const signed = await market.request(requester, { maxPrice: 1000n });
    const jobId: JobId = jobIdOf(market.deployment, signed.request);
    const { market: to } = market.deployment;
    await market.send(requester.address, to, jobMarketAbi, "post", [signed.request, "0x", "0x"]);
    await indexer.caughtUp();
    expect((await indexer.get(`/requests/${jobId}`)).body.state).to.equal("posted");
    expect(await balanceOf(requester.address)).to.equal("999000");

    const offer = await market.offer(node);
    await market.match(signed, [offer]);
    await indexer.caughtUp();
    const use = shape.nodeItem.parse((await indexer.get(`/nodes/${node.operator.address}/0`)).body).use;
    expect(use).to.deep.equal({ active: 1, cpuMilli: 1000, memoryMiB: 512, diskMiB: 128, gpus: 0 });

    const terms = market.terms(signed.request, offer.offer);
    const claim = { resultHash: jobId, resultBytes: 321n, charge: 5n };
    await market.submit(terms, claim);
    await market.send(requester.address, to, jobMarketAbi, "approve", [terms, claim]);
    await indexer.caughtUp();
    const job = shape.jobItem.parse((await indexer.get(`/jobs/${jobId}`)).body);
    expect(job.state).to.equal("ended");
    expect(termsSchema.parse({ job: job.job, assignment: job.replicas[0]?.assignment })).to.deep.equal(terms);
    expect(requestSchema.parse(job.request)).to.deep.equal(signed.request);
    expect(job.replicas[0]?.lease).to.equal(null);
    expect(job.replicas[0]).to.include({ state: "settled", deposit: "69", charge: "5", refund: "64" });
    expect(job.replicas[0]?.claim).to.deep.equal({ resultHash: jobId, resultBytes: "321", charge: "5" });
    expect(await balanceOf(requester.address)).to.equal(String(1_000_000n - 5n));
  });

  it("shows the terms of a job whose request nobody posted or handed in", async () => {
    const requester = await market.account("quiet");
    await market.deposit(requester.address, 1_000n);
    const signed = await market.request(requester);
    const { offer, signature } = await market.offer(busy);
    await market.match(signed, [{ offer, signature }]);
    await indexer.caughtUp();
    const jobId = jobIdOf(market.deployment, signed.request);
    const job = shape.jobItem.parse((await indexer.get(`/jobs/${jobId}`)).body);
    expect(job.request).to.equal(null);
    expect(job.requester).to.equal(lower(requester.address));
    const terms = market.terms(signed.request, offer);
    expect(termsSchema.parse({ job: job.job, assignment: job.replicas[0]?.assignment })).to.deep.equal(terms);
    isProblem(await indexer.get(`/requests/${jobId}`), 404, "REQUEST_UNKNOWN", /No request/);

    expect((await indexer.postRequest(signed)).status).to.equal(202);
    const known = shape.jobItem.parse((await indexer.get(`/jobs/${jobId}`)).body);
    expect(requestSchema.parse(known.request)).to.deep.equal(signed.request);
  });

  it("shows a lease with its claims, top-ups and notice", async () => {
    const requester = await market.account("lessee");
    await market.deposit(requester.address, 10_000n);
    const lease = { mode: MODE.lease, heartbeatSeconds: 60, noticeSeconds: 90, maxSeconds: 600, challengeWindow: 0 };
    const signed = await market.request(requester, lease);
    const { offer, signature } = await market.offer(busy);
    await market.match(signed, [{ offer, signature }]);
    const terms = market.terms(signed.request, offer);
    const { market: to } = market.deployment;
    await market.pass(30);
    await market.send(busy.key.address, to, jobMarketAbi, "claim", [terms]);
    await market.send(requester.address, to, jobMarketAbi, "topUp", [terms, 100]);
    await market.send(requester.address, to, jobMarketAbi, "close", [terms]);
    await indexer.caughtUp();
    const { replicas } = shape.jobItem.parse((await indexer.get(`/jobs/${terms.job.jobId}`)).body);
    const [replica] = replicas;
    const { closingAt, ...rest } = replica?.lease ?? {};
    const chargedSeconds = (replica?.lastAt ?? 0) - (replica?.matchedAt ?? 0);
    expect(rest).to.deep.equal({ chargedSeconds, addedSeconds: 100, closingBy: lower(requester.address) });
    expect(chargedSeconds).to.be.within(30, 40);
    expect(closingAt).to.equal((await market.now()) + 90);
    expect(replica).to.include({ state: "active", charge: String(chargeOfDown(terms, chargedSeconds)) });
    const longer = { ...terms, job: { ...terms.job, maxSeconds: 700 } };
    expect(replica?.deposit).to.equal(String(depositOf(longer)));
  });

  it("shows what an operator accepts and limits, and what a slash left for the payer", async () => {
    const { body } = await indexer.get(`/nodes/${busy.operator.address}/0`);
    const { accepts, limits, profileCid } = shape.nodeItem.parse(body);
    expect(accepts).to.deep.equal([market.token]);
    expect(limits).to.deep.equal({
      maxBond: "1000000",
      maxActive: 8,
      cpuMilli: 8000,
      memoryMiB: 8192,
      diskMiB: 4096,
      gpus: 0,
    });
    expect(profileCid).to.match(/^bafk/);

    const requester = await market.account("let down");
    await market.deposit(requester.address, 1_000n);
    const signed = await market.request(requester, { compensationBps: 1000 });
    const { offer, signature } = await market.offer(busy);
    await market.match(signed, [{ offer, signature }]);
    await market.pass(301);
    const terms = market.terms(signed.request, offer);
    const nothing = { resultHash: ZERO_BYTES32, resultBytes: 0n, charge: 0n };
    const { market: to } = market.deployment;
    await market.send(requester.address, to, jobMarketAbi, "finalize", [terms, nothing]);
    await indexer.caughtUp();
    const account = shape.accountItem.parse((await indexer.get(`/accounts/${requester.address}`)).body);
    expect(account.owed).to.deep.equal([{ token: market.token, amount: "6" }]);
    const job = shape.jobItem.parse((await indexer.get(`/jobs/${terms.job.jobId}`)).body);
    expect(job.replicas[0]).to.include({ state: "refunded", reason: "timed-out", refund: "69", slashed: "1000" });
  });

  it("pages through a list without gaps or doubles", async () => {
    const requester = await market.account("kim");
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) {
      const { request } = await market.request(requester);
      await market.send(requester.address, market.deployment.market, jobMarketAbi, "cancel", [request]);
      ids.unshift(jobIdOf(market.deployment, request));
    }
    await indexer.caughtUp();
    const seen: string[] = [];
    let cursor = "";
    do {
      const { items, nextCursor } = await page(
        `/jobs?state=cancelled&limit=2${cursor}`,
        shape.pageSchema(shape.jobItem),
      );
      seen.push(...items.map(({ jobId }) => jobId));
      cursor = nextCursor === null ? "" : `&cursor=${nextCursor}`;
    } while (cursor !== "");
    expect(seen).to.deep.equal(ids);
  });

  it("tells where it stands and what it offers", async () => {
    await indexer.caughtUp();
    expect((await indexer.get("/health")).body).to.deep.equal({ alive: true });
    expect((await indexer.get("/ready")).status).to.equal(200);
    const status = shape.statusItem.parse((await indexer.get("/status")).body);
    expect(status).to.include({ chainId: 31337, market: market.deployment.market, lagBlocks: 0, matcher: null });
    expect((await indexer.get("/deployment")).body).to.deep.equal(market.deployment);
    const document = (await indexer.get("/openapi.json")).body;
    expect(document.openapi).to.equal("3.1.0");
    expect(Object.keys(document.paths)).to.include.members([
      "/offers",
      "/requests/{jobId}/explain",
      "/nodes/{operator}/{index}",
    ]);
    expect(
      document.paths["/offers"].post.requestBody.content["application/json"].schema.properties.offer.properties,
    ).to.have.property("memoryMiB");
  });

  it("shows its figures to Prometheus and its API to people, with nothing from elsewhere", async () => {
    const text = async (path: string) => {
      const response = await fetch(`${indexer.url}${path}`);
      expect(response.status).to.equal(200);
      return response.text();
    };
    const figures = await text("/metrics");
    expect(figures).to.match(/^berth_indexer_lag_blocks 0$/m);
    expect(figures).to.match(/^berth_indexer_ready 1$/m);
    expect(figures).to.match(/^berth_indexer_streams_dropped_total 0$/m);
    expect(figures).to.match(
      /_http_request_duration_seconds_count\{method="GET",route="\/status",status="200"\} [1-9]/,
    );
    expect(figures).to.not.contain("nothing");
    const docs = await text("/docs");
    for (const { path } of routes) expect(docs).to.contain(`${path}</code>`);
    expect(docs).to.not.match(/<script|src=|https?:\/\//);
  });

  async function page<T extends z.ZodType>(path: string, schema: T): Promise<z.infer<T>> {
    const { status, body } = await indexer.get(path);
    expect(status).to.equal(200);
    return schema.parse(body);
  }

  async function balanceOf(account: string): Promise<string | undefined> {
    const { balances } = shape.accountItem.parse((await indexer.get(`/accounts/${account}`)).body);
    return balances.find(({ token }) => token === market.token)?.amount;
  }
});

function isProblem(answer: Answer, status: number, code: string, detail: RegExp): void {
  expect({ status: answer.status, code: answer.body.code }, JSON.stringify(answer.body)).to.deep.equal({
    status,
    code,
  });
  expect(answer.type).to.match(/^application\/problem\+json/);
  expect(answer.body.detail).to.match(detail);
}

function lower(account: string): Address {
  return account.toLowerCase() as Address;
}
