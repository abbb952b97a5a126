import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type ContentStore, createKuboStore } from "@berth/content";
import { CarBlockIterator } from "@ipld/car";
import { expect } from "chai";
import { CID } from "multiformats/cid";
import { collect, failure, hashTree, makeTree, streamOf, workbench } from "./support.ts";

const later = Math.floor(Date.now() / 1000) + 7200;

describe("the Kubo store against a recorder of RPC calls", () => {
  const bench = workbench();
  afterEach(bench.cleanUp);

  /** Answers as Kubo does for the few calls that the store makes, over the blocks of an embedded store. */
  async function recorder() {
    const inner = await bench.store();
    const calls: { method: string; path: string; query: URLSearchParams }[] = [];
    const pinned = new Set<string>();
    const url = await bench.server(async (request, response) => {
      const { pathname, searchParams: query } = new URL(request.url ?? "/", "http://kubo");
      calls.push({ method: request.method ?? "", path: pathname, query });
      const arg = query.get("arg") ?? "";
      const refuse = (Message: string) =>
        response
          .writeHead(500, { "Content-Type": "application/json" })
          .end(JSON.stringify({ Message, Code: 0, Type: "error" }));
      const json = (value: unknown) =>
        response.writeHead(200, { "Content-Type": "application/json" }).end(`${JSON.stringify(value)}\n`);
      const body = await collect(request as AsyncIterable<Uint8Array>);
      if (pathname === "/api/v0/dag/import") {
        const root = await importMultipart(inner, request, body);
        pinned.add(root);
        return json({ Root: { Cid: { "/": root }, PinErrorMsg: "" } });
      }
      if (pathname === "/api/v0/block/stat" || pathname === "/api/v0/block/get") {
        const bytes = await inner.blocks.get(CID.parse(arg)).catch(() => undefined);
        if (bytes === undefined) return refuse(`block was not found locally (offline): ipld: could not find ${arg}`);
        return pathname.endsWith("get") ? response.end(bytes) : json({ Key: arg, Size: bytes.length });
      }
      if (pathname === "/api/v0/pin/ls") {
        return pinned.has(arg) ? json({ Cid: arg, Type: "recursive" }) : refuse(`path '${arg}' is not pinned`);
      }
      if (pathname === "/api/v0/pin/add") pinned.add(arg);
      else if (pathname === "/api/v0/pin/rm") pinned.delete(arg);
      else return refuse(`unexpected call ${pathname}`);
      return json({ Pins: [arg] });
    });
    const store = await createKuboStore({ url, dir: await bench.folder() });
    bench.later(() => store.close());
    return { store, calls, pinned };
  }

  it("sends what it adds as a CAR to dag/import with pin-roots, by POST", async () => {
    const { store, calls } = await recorder();
    const dir = await bench.folder();
    const tree = await makeTree(dir);
    const { cid } = await store.addPath(dir);
    const sent = calls.filter(({ path }) => path === "/api/v0/dag/import");
    expect(sent).to.have.lengthOf(1);
    expect(sent[0]?.method).to.equal("POST");
    expect(sent[0]?.query.get("pin-roots")).to.equal("true");
    expect(cid).to.equal((await (await bench.store()).addPath(dir)).cid);

    expect(await store.has(cid)).to.equal(true);
    expect(
      calls.filter(({ path }) => path.includes("/block/")).every(({ query }) => query.get("offline") === "true"),
    ).to.equal(true);
    const target = join(await bench.folder(), "out");
    await store.exportTo(cid, target, { maxBytes: 10_000_000 });
    expect(await hashTree(target)).to.deep.equal(tree);
  });

  it("lets go of its own pins when their time ends, never of someone else's", async () => {
    const { store, pinned } = await recorder();
    const ours = await store.addBytes(new TextEncoder().encode("ours"));
    await store.pin(ours.cid, later + 10, { owner: "job" });
    const theirs = await (await bench.store()).addBytes(new TextEncoder().encode("theirs"));
    pinned.add(theirs.cid);
    await store.addBytes(new TextEncoder().encode("theirs"));
    await store.pin(theirs.cid, later, { owner: "job" });
    expect(await store.pins()).to.have.lengthOf(2);

    await store.gc(later);
    expect([...pinned].sort()).to.deep.equal([ours.cid, theirs.cid].sort());
    await store.gc(later + 10);
    expect([...pinned]).to.deep.equal([theirs.cid]);
    expect(await store.pins()).to.deep.equal([]);
  });

  it("verifies a CAR before Kubo sees it", async () => {
    const { store, calls } = await recorder();
    const { cid } = await (await bench.store()).addBytes(new Uint8Array(10));
    const error = await failure(store.importCar(streamOf(new Uint8Array(100)), { root: cid, maxBytes: 100 }));
    expect(error.code).to.equal("CONTENT_INVALID");
    expect(calls).to.deep.equal([]);
  });

  it("says that Kubo cannot be reached", async () => {
    const store = await createKuboStore({ url: "http://127.0.0.1:1", dir: await bench.folder() });
    bench.later(() => store.close());
    const error = await failure(store.addBytes(new Uint8Array(1)));
    expect(error.code).to.equal("KUBO_FAILED");
    expect(error.retryable).to.equal(true);
    expect(error.hint).to.include("RPC address");
  });
});

describe("the Kubo store against a real daemon", () => {
  const bench = workbench();
  afterEach(bench.cleanUp);

  it("gives the same CID and the same bytes back", async function () {
    if (!hasKubo()) {
      console.log("      skipped: no `ipfs` program on this machine, so Kubo itself is not tested here");
      return this.skip();
    }
    const env = { ...process.env, IPFS_PATH: await bench.folder() };
    const ipfs = (...args: string[]) => execFileSync("ipfs", args, { env, stdio: "pipe" });
    ipfs("init", "--profile=test");
    ipfs("config", "Addresses.API", "/ip4/127.0.0.1/tcp/0");
    ipfs("config", "Addresses.Gateway", "/ip4/127.0.0.1/tcp/0");
    const daemon = spawn("ipfs", ["daemon", "--offline"], { env, stdio: ["ignore", "pipe", "inherit"] });
    bench.later(async () => {
      daemon.kill("SIGTERM");
      await once(daemon, "exit");
    });
    for await (const line of createInterface({ input: daemon.stdout })) if (line.includes("Daemon is ready")) break;
    const [, , host, , port] = (await readFile(join(env.IPFS_PATH, "api"), "utf8")).trim().split("/");
    const store = await createKuboStore({ url: `http://${host}:${port}`, dir: await bench.folder() });
    bench.later(() => store.close());

    const dir = await bench.folder();
    const tree = await makeTree(dir);
    const { cid, size } = await store.addPath(dir);
    expect(cid).to.equal((await (await bench.store()).addPath(dir)).cid);
    expect(await store.size(cid)).to.equal(size);
    await store.pin(cid, later);
    await store.gc(later - 1);
    const target = join(await bench.folder(), "out");
    await store.exportTo(cid, target, { maxBytes: 10_000_000 });
    expect(await hashTree(target)).to.deep.equal(tree);
    await store.gc(later);
    expect(String(ipfs("pin", "ls", "--type=recursive", "-q"))).not.to.include(cid);
    expect(await store.has("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")).to.equal(false);
  });
});

/** Takes the CAR out of the one part of a multipart body and imports it; returns its root. */
async function importMultipart(store: ContentStore, request: IncomingMessage, body: Uint8Array): Promise<string> {
  const buffer = Buffer.from(body);
  const boundary = /boundary="?([^";]+)/.exec(request.headers["content-type"] ?? "")?.[1] ?? "";
  const car = buffer.subarray(buffer.indexOf("\r\n\r\n") + 4, buffer.lastIndexOf(`\r\n--${boundary}`));
  const [root] = await (await CarBlockIterator.fromBytes(car)).getRoots();
  const { cid } = await store.importCar(streamOf(car), { root: String(root), maxBytes: 1e9 });
  return cid;
}

function hasKubo(): boolean {
  try {
    execFileSync("ipfs", ["version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
