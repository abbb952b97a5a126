import { createHash } from "node:crypto";
import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import { startGateway } from "@berth/content";
import { digestToCid } from "@berth/protocol";
import { CarBlockIterator } from "@ipld/car";
import { expect } from "chai";
import { collect, failure, makeTree, silent, streamOf, workbench } from "./support.ts";

describe("the gateway", () => {
  const bench = workbench();
  afterEach(bench.cleanUp);

  async function served() {
    const dir = await bench.folder();
    await makeTree(dir);
    const store = await bench.store();
    const folder = await store.addPath(dir);
    const document = await store.addBytes(new TextEncoder().encode('{"a":1}'));
    const { url, close } = await startGateway({ store, host: "127.0.0.1", port: 0, log: silent });
    bench.later(close);
    return { store, url, folder, document };
  }

  it("serves a raw block with headers that let anyone keep and check it", async () => {
    const { url, document } = await served();
    const answer = await fetch(`${url}/ipfs/${document.cid}?format=raw`);
    expect(answer.status).to.equal(200);
    expect(await answer.text()).to.equal('{"a":1}');
    expect(answer.headers.get("content-type")).to.equal("application/vnd.ipld.raw");
    expect(answer.headers.get("cache-control")).to.equal("public, max-age=29030400, immutable");
    expect(answer.headers.get("etag")).to.equal(`"${document.cid}.raw"`);
    expect(answer.headers.get("x-content-type-options")).to.equal("nosniff");
    expect(answer.headers.get("content-disposition")).to.match(/^attachment;/);
    expect(answer.headers.get("content-length")).to.equal("7");
  });

  it("serves a one-block document under the CID that its digest on chain gives", async () => {
    const { url } = await served();
    const digest = createHash("sha256").update('{"a":1}').digest("hex");
    const answer = await fetch(`${url}/ipfs/${digestToCid(`0x${digest}`)}?format=raw`);
    expect(await answer.text()).to.equal('{"a":1}');
  });

  it("serves a CAR by Accept, depth first, the same bytes each time", async () => {
    const { url, folder, store } = await served();
    const ask = () => fetch(`${url}/ipfs/${folder.cid}`, { headers: { Accept: "application/vnd.ipld.car" } });
    const answer = await ask();
    expect(answer.headers.get("content-type")).to.equal("application/vnd.ipld.car; version=1; order=dfs; dups=n");
    const car = new Uint8Array(await answer.arrayBuffer());
    expect(Buffer.compare(car, new Uint8Array(await (await ask()).arrayBuffer()))).to.equal(0);
    expect(Buffer.compare(car, await collect(store.exportCar(folder.cid)))).to.equal(0);
    const copy = await bench.store();
    expect(await copy.importCar(streamOf(car), { root: folder.cid, maxBytes: folder.size })).to.deep.equal({
      cid: folder.cid,
      size: folder.size,
    });
  });

  it("answers HEAD without a body, and 304 to a reader that has it", async () => {
    const { url, document, folder } = await served();
    const head = await fetch(`${url}/ipfs/${document.cid}?format=raw`, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length"), await head.text()]).to.deep.equal([200, "7", ""]);
    const car = await fetch(`${url}/ipfs/${folder.cid}?format=car`, { method: "HEAD" });
    expect([car.status, await car.text()]).to.deep.equal([200, ""]);
    const etag = car.headers.get("etag") ?? "";
    // Not fetch(): it adds "Cache-Control: no-cache", which asks for the whole answer again.
    const again = get(`${url}/ipfs/${folder.cid}?format=car`, { headers: { "If-None-Match": etag } });
    const [answer] = (await once(again, "response")) as [IncomingMessage];
    answer.resume();
    expect(answer.statusCode).to.equal(304);
  });

  it("answers 404, 400, 406 and 501 for what it does not have or do", async () => {
    const { url, document } = await served();
    const absent = digestToCid(`0x${"11".repeat(32)}`);
    const cases: [path: string, status: number, code: string][] = [
      [`${absent}?format=raw`, 404, "CONTENT_NOT_FOUND"],
      [`${absent}?format=car`, 404, "CONTENT_NOT_FOUND"],
      ["not-a-cid?format=raw", 400, "CID_INVALID"],
      ["..%2f..%2fetc%2fpasswd?format=raw", 400, "CID_INVALID"],
      [`${document.cid}?format=tar`, 406, "NOT_ACCEPTABLE"],
      [`${document.cid}`, 406, "NOT_ACCEPTABLE"],
      [`${document.cid}/path?format=raw`, 501, "NOT_SERVED"],
      [`${document.cid}?format=car&dag-scope=entity`, 501, "NOT_SERVED"],
    ];
    for (const [path, status, code] of cases) {
      const answer = await fetch(`${url}/ipfs/${path}`);
      expect(answer.status, path).to.equal(status);
      expect(((await answer.json()) as { code: string }).code, path).to.equal(code);
      expect(answer.headers.get("cache-control"), path).to.equal("no-store");
    }
  });

  it("answers the probe that readers use to see whether a gateway is alive", async () => {
    const { url } = await served();
    const answer = await fetch(`${url}/ipfs/bafkqaaa?format=raw`);
    expect([answer.status, await answer.text()]).to.deep.equal([200, ""]);
  });

  it("says 404, not a broken stream, when part of a DAG is missing", async () => {
    const { url, store, folder } = await served();
    const partial = await bench.store();
    const [root] = await roots(store.exportCar(folder.cid));
    if (root === undefined) throw new Error("no root");
    await partial.blocks.put(root, await store.blocks.get(root));
    const gateway = await startGateway({ store: partial, host: "127.0.0.1", port: 0, log: silent });
    bench.later(gateway.close);
    expect((await fetch(`${gateway.url}/ipfs/${folder.cid}?format=raw`)).status).to.equal(200);
    expect((await fetch(`${gateway.url}/ipfs/${folder.cid}?format=car`)).status).to.equal(404);
    expect((await fetch(`${url}/ipfs/${folder.cid}?format=car`)).status).to.equal(200);
  });

  it("says PORT_TAKEN, with what to do, when another program has the port", async () => {
    const { url, store } = await served();
    const port = Number(new URL(url).port);
    const error = await failure(startGateway({ store, host: "127.0.0.1", port, log: silent }));
    expect(error.code).to.equal("PORT_TAKEN");
    expect(error.message).to.include(String(port));
    expect(error.hint).to.include("another port");
  });
});

async function roots(car: AsyncIterable<Uint8Array>) {
  return await (await CarBlockIterator.fromIterable(car)).getRoots();
}
