import { writeFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { type ContentStore, fetchContent, startGateway } from "@berth/content";
import { expect } from "chai";
import { CID } from "multiformats/cid";
import { collect, failure, hashTree, makeTree, seeded, silent, workbench } from "./support.ts";

describe("fetchContent", () => {
  const bench = workbench();
  afterEach(bench.cleanUp);

  /** A store with a folder in it, behind a gateway. */
  async function published() {
    const dir = await bench.folder();
    const tree = await makeTree(dir);
    const store = await bench.store();
    const { cid, size } = await store.addPath(dir);
    const { url, close } = await startGateway({ store, host: "127.0.0.1", port: 0, log: silent });
    bench.later(close);
    return { tree, store, cid, size, url };
  }

  /** Serves `store`, but what it says goes through `answer`, which may change or refuse it. Records what was asked. */
  async function stranger(
    store: ContentStore,
    answer: (request: { format: string; cid: string; bytes: Uint8Array }, response: ServerResponse) => void,
  ) {
    const asked: string[] = [];
    const url = await bench.server(async (request: IncomingMessage, response) => {
      const { pathname, searchParams } = new URL(request.url ?? "/", "http://stranger");
      const cid = pathname.replace("/ipfs/", "");
      const format = searchParams.get("format") ?? "";
      asked.push(`${format} ${cid}`);
      const bytes = format === "car" ? await collect(store.exportCar(cid)) : await store.blocks.get(CID.parse(cid));
      answer({ format, cid, bytes }, response);
    });
    return { url, asked };
  }

  it("brings a folder through a gateway into another store, byte for byte", async () => {
    const { tree, cid, size, url } = await published();
    const store = await bench.store();
    const fetched = await fetchContent(cid, { sources: [url], store, maxBytes: size, log: silent });
    expect(fetched).to.deep.equal({ cid, size, source: url });
    const target = join(await bench.folder(), "out");
    await store.exportTo(cid, target, { maxBytes: 10_000_000 });
    expect(await hashTree(target)).to.deep.equal(tree);
    const again = await fetchContent(cid, { sources: [], store, maxBytes: size, log: silent });
    expect(again.source).to.equal(undefined);
  });

  it("brings names as a hostile job chooses them through a CAR and out again", async () => {
    const dir = await bench.folder();
    for (const name of ["two\nlines", "\n", "-rf", "$(reboot)", "\u001b[2J"]) await writeFile(join(dir, name), name);
    const [store, other] = [await bench.store(), await bench.store()];
    const { cid } = await store.addPath(dir);
    await other.importCar(store.exportCar(cid), { root: cid, maxBytes: 100_000 });
    const target = join(await bench.folder(), "out");
    await other.exportTo(cid, target, { maxBytes: 100_000 });
    expect(await hashTree(target)).to.deep.equal(await hashTree(dir));
  });

  it("refuses tampered blocks, names the liar, and uses the next source", async () => {
    const { store: origin, cid, size, url } = await published();
    const liar = await stranger(origin, ({ bytes }, response) => {
      const copy = bytes.slice();
      copy[copy.length - 1] = (copy.at(-1) ?? 0) ^ 1;
      response.end(copy);
    });
    const store = await bench.store();
    const fetched = await fetchContent(cid, { sources: [liar.url, url], store, maxBytes: size, log: silent });
    expect(fetched.source).to.equal(url);

    const alone = await failure(
      fetchContent(cid, { sources: [liar.url], store: await bench.store(), maxBytes: size, log: silent }),
    );
    expect(alone.code).to.equal("CONTENT_UNAVAILABLE");
    expect(alone.retryable).to.equal(true);
    expect(alone.message).to.include(liar.url).and.include("do not hash to it");
    expect(liar.asked.every((line) => line.startsWith("car "))).to.equal(true);
  });

  it("goes on block by block after a CAR that was cut short, without asking again for what came", async () => {
    const { store: origin, cid, size } = await published();
    const halving = await stranger(origin, ({ format, bytes }, response) => {
      response.end(format === "car" ? bytes.subarray(0, bytes.length / 2) : bytes);
    });
    const store = await bench.store();
    const fetched = await fetchContent(cid, { sources: [halving.url], store, maxBytes: size, log: silent });
    expect(fetched.source).to.equal(halving.url);
    const blocks = halving.asked.filter((line) => line.startsWith("raw "));
    expect(blocks).to.have.lengthOf(new Set(blocks).size);
    expect(blocks).not.to.include(`raw ${cid}`);
    expect(await store.has(cid)).to.equal(true);
  });

  it("goes on block by block when the connection breaks inside the CAR", async () => {
    const { store: origin, cid, size } = await published();
    const breaking = await stranger(origin, ({ format, bytes }, response) => {
      if (format === "raw") return void response.end(bytes);
      response.write(bytes.subarray(0, bytes.length / 2), () => response.destroy());
    });
    const store = await bench.store();
    await fetchContent(cid, { sources: [breaking.url], store, maxBytes: size, log: silent });
    expect(await store.has(cid)).to.equal(true);
  });

  it("uses a source that knows only raw blocks", async () => {
    const { store: origin, cid, size } = await published();
    const rawOnly = await stranger(origin, ({ format, bytes }, response) => {
      if (format === "car") response.writeHead(406).end();
      else response.end(bytes);
    });
    const store = await bench.store();
    await fetchContent(cid, { sources: [rawOnly.url], store, maxBytes: size, log: silent });
    expect(await store.has(cid)).to.equal(true);
  });

  it("leaves a source that stalls, and one that nobody listens on", async () => {
    const { cid, size, url } = await published();
    const stalling = await bench.server((_request, response) => void response.writeHead(200).write("x"));
    const closed = await startGateway({ store: await bench.store(), host: "127.0.0.1", port: 0, log: silent });
    await closed.close();
    const options = { maxBytes: size, log: silent, stallMs: 200 };
    const sources = [stalling, closed.url, "ftp://example.org", "nonsense"];
    const error = await failure(fetchContent(cid, { ...options, sources, store: await bench.store() }));
    expect(error.code).to.equal("CONTENT_UNAVAILABLE");
    for (const source of sources) expect(error.message).to.include(source);
    expect(error.message).to.include("nothing for 0.2 s").and.include("ECONNREFUSED");
    const store = await bench.store();
    expect((await fetchContent(cid, { ...options, sources: [...sources, url], store })).source).to.equal(url);
  });

  it("stops at maxBytes whether the content comes as CAR, as blocks, or is here already", async () => {
    const { store: origin, cid, size, url } = await published();
    const rawOnly = await stranger(origin, ({ format, bytes }, response) => {
      if (format === "car") response.writeHead(404).end();
      else response.end(bytes);
    });
    for (const source of [url, rawOnly.url]) {
      const store = await bench.store();
      const error = await failure(fetchContent(cid, { sources: [source], store, maxBytes: size - 1, log: silent }));
      expect(error.code).to.equal("CONTENT_TOO_LARGE");
      expect(error.retryable).to.equal(false);
    }
    const error = await failure(fetchContent(cid, { sources: [], store: origin, maxBytes: size - 1, log: silent }));
    expect(error.code).to.equal("CONTENT_TOO_LARGE");
  });

  it("cuts off a source that sends more than a block can hold", async () => {
    const { cid } = await (await bench.store()).addBytes(await seeded("one", 100));
    const flood = await bench.server((request, response) => {
      if (request.url?.includes("format=car")) return void response.writeHead(404).end();
      response.on("error", () => undefined);
      const pour = () => {
        while (!response.destroyed && response.write(Buffer.alloc(256 * 1024)));
      };
      response.on("drain", pour);
      pour();
    });
    const options = { sources: [flood], store: await bench.store(), maxBytes: 1e12, log: silent };
    expect((await failure(fetchContent(cid, options))).message).to.include("too much for block");
  });

  it("ends with the caller's reason when aborted", async () => {
    const { cid, size } = await published();
    const stop = new AbortController();
    const reason = new Error("stop");
    const silentSource = await bench.server(() => stop.abort(reason));
    const store = await bench.store();
    const options = { sources: [silentSource], store, maxBytes: size, log: silent, signal: stop.signal };
    expect(await fetchContent(cid, options).catch((error: unknown) => error)).to.equal(reason);
  });

  it("follows no redirect, and asks a stranger's source only at a public address", async () => {
    const { cid, size, url } = await published();
    const asked: string[] = [];
    const inner = await bench.server((request, response) => {
      asked.push(request.url ?? "");
      response.writeHead(404).end();
    });
    const outer = await bench.server((_request, response) => void response.writeHead(302, { Location: inner }).end());
    const store = await bench.store();
    const options = { store, maxBytes: size, log: silent };
    const { port } = new URL(inner);
    const closed = ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0"];
    const named = closed.map((host) => ({ url: `http://${host}:${port}`, publicOnly: true }));
    const error = await failure(fetchContent(cid, { ...options, sources: [outer, ...named] }));
    expect(error.code).to.equal("CONTENT_UNAVAILABLE");
    expect(error.message).to.include("It answered 302");
    expect(error.message.split("not one of the open internet")).to.have.lengthOf(closed.length + 1);
    expect(asked).to.deep.equal([]);
    // A connection that was made without the check is not taken up with it.
    expect((await fetchContent(cid, { ...options, sources: [{ url, publicOnly: false }] })).source).to.equal(url);
    const again = { ...options, store: await bench.store(), sources: [{ url, publicOnly: true }] };
    expect((await failure(fetchContent(cid, again))).code).to.equal("CONTENT_UNAVAILABLE");
  });

  it("names a source without what may be a secret in its address", async () => {
    const { cid } = await published();
    const sources = ["http://127.0.0.1:1/key-of-mine"];
    const error = await failure(fetchContent(cid, { sources, store: await bench.store(), maxBytes: 1, log: silent }));
    expect(error.message).to.include("http://127.0.0.1:1/…: ").and.not.include("key-of-mine");
  });

  it("says that no source is known", async () => {
    const { cid } = await published();
    const options = { sources: [], store: await bench.store(), maxBytes: 1, log: silent };
    expect((await failure(fetchContent(cid, options))).message).to.include("No source is known");
  });
});
