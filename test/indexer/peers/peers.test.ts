import { rm } from "node:fs/promises";
import { type Address, type Hex, orderToJson, type Request } from "@berth/protocol";
import { expect } from "chai";
import { keccak256, stringToBytes } from "viem";
import { announceIndexer } from "../../../indexer/src/peers/announce.ts";
import { eventually } from "../../support/eventually.ts";
import { newDataFolder } from "../support/data-folder.ts";
import { hostilePeer } from "../support/hostile-peer.ts";
import { startMarket, type TestMarket, type TestNode } from "../support/market.ts";
import { log, type RunningIndexer, runIndexer } from "../support/running-indexer.ts";

const pollMs = 100;
const WAIT_MS = 30_000;

describe("indexers that exchange orders", () => {
  let market: TestMarket;
  let node: TestNode;
  let first: RunningIndexer;
  /** Reads from the first, and asks nobody in private networks whom it was not told to. */
  let second: RunningIndexer;
  /** Reads from the second, and matches. */
  let third: RunningIndexer;
  before(async () => {
    market = await startMarket();
    node = await market.node("ada");
    await market.account("matcher");
    first = await runIndexer(market, { peers: { allowPrivate: true, pollMs } });
    second = await runIndexer(market, { peers: { urls: [first.url], pollMs } });
    const matcherKey = keccak256(stringToBytes("matcher"));
    third = await runIndexer(market, { matcherKey, peers: { urls: [second.url], allowPrivate: true, pollMs } });
    for (const one of [first, second, third]) await one.caughtUp();
  });
  after(async () => {
    for (const one of [third, second, first]) await one?.close();
    await market?.stop();
  });

  it("bring the offer of a node at one of them to the client of another, past one in between", async () => {
    const { offerHash } = (await first.postOffer(await market.offer(node))).body;
    await soon("the third has the offer", async () => (await offersOf(third)).includes(offerHash));
    for (const one of [first, second, third]) expect(await offersOf(one)).to.deep.equal([offerHash]);

    const { jobId } = (await third.postRequest(await fundedRequest("rex"))).body;
    const job = await soon("the job is matched", async () => {
      const { body } = await third.get(`/jobs/${jobId}`);
      return body.state === "matched" && body;
    });
    expect(job.replicas[0].operator).to.equal(node.operator.address.toLowerCase());
  });

  it("follow those that peers name, where they may", async () => {
    const found = await soon("the third follows the first too", () => peerAt(third, first.url));
    expect(found.from).to.equal("peer");
    expect(await urlsOf(second)).to.deep.equal([[first.url, "configured"]]);
  });

  it("find each other through the registry, stop where orders go round, and forget who takes it back", async () => {
    await market.account("announcer");
    const announce = (seconds: number) =>
      announceIndexer(
        {
          deployment: market.deployment,
          rpcUrls: [market.anvil.url],
          matcherKey: keccak256(stringToBytes("announcer")),
        },
        { url: `${third.url}/`, seconds, signal: new AbortController().signal, log },
      );
    await announce(1_000_000);
    await soon("the first follows the third", async () => (await peerAt(first, third.url))?.state === "following");
    expect((await peerAt(first, third.url))?.from).to.equal("registry");

    // It names another matcher, so that it stays open: from the second to the third, to the first, and back.
    const signed = await fundedRequest("sue", { matcher: account(99) });
    const sources = ["http://gateway.example/"];
    const { jobId } = (await second.postRequest(signed, { sources })).body;
    for (const one of [first, third]) {
      await soon("the request came round", async () => (await one.get(`/requests/${jobId}`)).status === 200);
    }
    expect((await first.get(`/requests/${jobId}`)).body.sources).to.deep.equal(sources);
    for (const i of [1, 2]) {
      const offer = await market.offer(node, { requester: account(i) });
      await third.postOffer(offer);
      for (const one of [first, second]) {
        await soon("the offer came round", async () => (await ordersOf(one)).includes(offer.signature));
      }
    }
    for (const one of [first, second, third]) {
      const orders = await ordersOf(one);
      expect([orders.length, new Set(orders).size]).to.deep.equal([4, 4]);
    }

    // Anyone may announce anything: who does not know better asks no address of this machine, and nobody follows himself.
    expect(await urlsOf(second)).to.deep.equal([[first.url, "configured"]]);
    expect(await peerAt(third, third.url)).to.equal(undefined);
    await announce(0);
    await soon("it is no longer followed", async () => (await peerAt(first, third.url)) === undefined);
  });

  it("are not hurt by one that sends junk, pages without end, a cursor that goes back, or sends them elsewhere", async () => {
    const [good, other] = [await signedJson(account(4)), await signedJson(account(5))];
    const junk = { ...other, signature: "0x123" };
    const inner = await hostilePeer(() => undefined);
    const page = (items: object[], next: number, more = true) => ({ log: "x", items, next, more });
    const fullPage = (after: number, order: object) => {
      const items = Array.from({ length: 100 }, (_, i) => ({ seq: after + i + 1, kind: "offer", ...order }));
      return page(items, after + 100);
    };
    const villains = {
      PEER_SENDS_JUNK: await hostilePeer((after) => fullPage(after, junk)),
      PEER_CURSOR_BAD: await hostilePeer((after) => page([{ seq: 5, kind: "offer", ...good }], after === 0 ? 5 : 3)),
      PEER_ANSWER_TOO_LARGE: await hostilePeer((_, response) => {
        const pour = () => {
          while (!response.destroyed && response.write(" ".repeat(65_536)));
        };
        response.on("drain", pour);
        pour();
        return undefined;
      }),
      PEER_ANSWER_BAD: await hostilePeer((_, response) => {
        response.end("<html>");
        return undefined;
      }),
      SOURCE_ANSWERED: await hostilePeer((_, response) => {
        response.writeHead(302, { location: `${inner.url}/orders` }).end();
        return undefined;
      }),
    };
    const named = [inner.url, "http://169.254.169.254/", "http://[::1]:1/", "ftp://a.example", "http://u:p@a.example/"];
    const endless = await hostilePeer((after) => fullPage(after, good), named);
    let numbers = "one";
    const renumbered = await hostilePeer((after) => ({ ...page([], Math.max(after, 9), false), log: numbers }));
    const urls = [...Object.values(villains), endless, renumbered, first].map(({ url }) => url);
    const dataFolder = await newDataFolder();
    const replaced = { dataFolder, peers: { urls, pollMs } };
    let brave = await runIndexer(market, replaced);
    try {
      const { offerHash } = (await first.postOffer(await market.offer(node, { requester: account(6) }))).body;
      await soon("the honest one is read", async () => (await offersOf(brave)).includes(offerHash));
      for (const [code, { url }] of Object.entries(villains)) {
        await soon(`${code} is seen`, async () => (await peerAt(brave, url))?.lastError?.code === code);
        expect((await peerAt(brave, url))?.state).to.equal("failing");
      }
      const theirs = new Set(await offersOf(first));
      expect((await offersOf(brave)).filter((hash) => !theirs.has(hash)).length).to.equal(1);
      expect(inner.asked).to.deep.equal([]);

      await brave.close();
      renumbered.asked.length = 0;
      brave = await runIndexer(market, replaced);
      const asked = () => renumbered.asked.filter((path) => path.startsWith("/orders"));
      await soon("it goes on where it was", () => asked().length > 0);
      expect(asked()[0]).to.equal("/orders?after=9&limit=100");
      numbers = "two";
      await soon("it starts again with new numbers", () => asked().includes("/orders?after=0&limit=100"));
    } finally {
      await brave.close();
      await rm(dataFolder, { recursive: true, force: true });
      for (const one of [inner, endless, renumbered, ...Object.values(villains)]) await one[Symbol.asyncDispose]();
    }
  });

  async function fundedRequest(name: string, replaced: Partial<Request> = {}) {
    const requester = await market.account(name);
    await market.deposit(requester.address, 1_000_000n);
    for (const one of [first, second, third]) await one.caughtUp();
    return market.request(requester, { maxPrice: 1_000n, ...replaced });
  }

  async function signedJson(requester: Address) {
    const { offer, signature } = await market.offer(node, { requester });
    return { offer: orderToJson(offer), signature };
  }
});

/** Machines that run the tests are busy. */
function soon<T>(what: string, look: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
  return eventually(what, look, WAIT_MS);
}

interface Peer {
  url: string;
  from: string;
  state: string;
  lastError: { code: string } | null;
}

async function peersOf(indexer: RunningIndexer): Promise<Peer[]> {
  return (await indexer.get("/peers")).body.items;
}

async function peerAt(indexer: RunningIndexer, url: string): Promise<Peer | undefined> {
  return (await peersOf(indexer)).find((peer) => peer.url === url);
}

async function urlsOf(indexer: RunningIndexer): Promise<string[][]> {
  return (await peersOf(indexer)).map(({ url, from }) => [url, from]);
}

/** Every order that it serves to others, by its signature. */
async function ordersOf(indexer: RunningIndexer): Promise<Hex[]> {
  const { body } = await indexer.get("/orders");
  return body.items.map(({ signature }: { signature: Hex }) => signature);
}

async function offersOf(indexer: RunningIndexer): Promise<Hex[]> {
  const { body } = await indexer.get("/offers");
  return body.items.map(({ offerHash }: { offerHash: Hex }) => offerHash);
}

function account(i: number): Address {
  return `0x${i.toString(16).padStart(40, "0")}`;
}
