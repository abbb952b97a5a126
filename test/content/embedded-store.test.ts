import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { ContentStore } from "@berth/content";
import { FsBlockstore } from "blockstore-fs";
import { expect } from "chai";
import { CID } from "multiformats/cid";
import { collect, failure, makeTree, seeded, workbench } from "./support.ts";

const HOUR = 3600;
const now = Math.floor(Date.now() / 1000);
/** Late enough that nothing counts as touched lately. */
const later = now + 2 * HOUR;

describe("the embedded store", () => {
  const bench = workbench();
  afterEach(bench.cleanUp);

  async function twoFolders(store: ContentStore) {
    const dir = await bench.folder();
    await makeTree(dir);
    const first = await store.addPath(dir);
    await writeFile(join(dir, "extra"), await seeded("extra", 2_000_000));
    const second = await store.addPath(dir);
    return { first, second };
  }

  it("collects what no pin reaches and nothing else", async () => {
    const store = await bench.store();
    const { first, second } = await twoFolders(store);
    await store.pin(first.cid, later + HOUR);
    const swept = await store.gc(later);
    expect(swept.blocks).to.equal(4); // the second root, and the extra file's root and two leaves
    expect(swept.bytes).to.be.greaterThan(2_000_000);
    expect(await store.has(first.cid)).to.equal(true);
    expect(await store.has(second.cid)).to.equal(false);
    expect((await store.gc(later)).blocks).to.equal(0);
  });

  it("keeps a pin until its time and not longer", async () => {
    const store = await bench.store();
    const { cid } = await store.addBytes(await seeded("timed", 100));
    await store.pin(cid, later);
    await store.gc(later - 1);
    expect(await store.has(cid)).to.equal(true);
    expect(await store.gc(later)).to.deep.equal({ pins: 1, blocks: 1, bytes: 100 });
    expect(await store.pins()).to.deep.equal([]);
  });

  it("lets several owners pin one root, and pinning again only extends", async () => {
    const store = await bench.store();
    const { cid } = await store.addBytes(await seeded("shared", 100));
    await store.pin(cid, later + 10, { owner: "job-1" });
    await store.pin(cid, later + 5, { owner: "job-1" });
    await store.pin(cid, later + 20, { owner: "job-2" });
    expect(await store.pins()).to.deep.equal([
      { cid, owner: "job-1", until: later + 10 },
      { cid, owner: "job-2", until: later + 20 },
    ]);
    await store.unpin(cid, { owner: "job-2" });
    await store.gc(later);
    expect(await store.has(cid)).to.equal(true);
    await store.unpin(cid, { owner: "job-1" });
    await store.gc(later);
    expect(await store.has(cid)).to.equal(false);
  });

  it("leaves what was added lately to whoever is about to pin it", async () => {
    const store = await bench.store();
    const { cid } = await store.addBytes(await seeded("fresh", 100));
    expect((await store.gc(now)).blocks).to.equal(0);
    expect(await store.has(cid)).to.equal(true);
  });

  it("refuses to pin what is not complete, and a time that is none", async () => {
    const store = await bench.store();
    const { second } = await twoFolders(store);
    expect((await failure(store.pin(second.cid, Number.NaN))).code).to.equal("PIN_INVALID");
    const other = await bench.store();
    await other.blocks.put(CID.parse(second.cid), await store.blocks.get(CID.parse(second.cid)));
    expect((await failure(other.pin(second.cid, later))).code).to.equal("CONTENT_NOT_FOUND");
    expect(await other.pins()).to.deep.equal([]);
  });

  it("has its pins and content when opened again, by itself or by the library whose layout it uses", async () => {
    const dir = await bench.folder();
    const store = await bench.store(dir);
    const bytes = await seeded("again", 1000);
    const { cid } = await store.addBytes(bytes);
    await store.pin(cid, later, { owner: "job" });
    const reopened = await bench.store(dir);
    expect(await reopened.pins()).to.deep.equal([{ cid, owner: "job", until: later }]);
    expect(Buffer.compare(await reopened.getBytes(cid, { maxBytes: 1000 }), bytes)).to.equal(0);
    const library = new FsBlockstore(join(dir, "blocks"));
    expect(Buffer.compare(await collect(library.get(CID.parse(cid))), bytes)).to.equal(0);
  });

  it("notices a block that rotted on disk, and takes it again", async () => {
    const dir = await bench.folder();
    const store = await bench.store(dir);
    const bytes = await seeded("rot", 1000);
    const { cid } = await store.addBytes(bytes);
    const [file] = await blockFiles(dir);
    if (file === undefined) throw new Error("no block file");
    await writeFile(file, Buffer.alloc(1000));
    expect((await failure(store.getBytes(cid, { maxBytes: 1000 }))).code).to.equal("CONTENT_CORRUPT");
    expect(await store.has(cid)).to.equal(false);
    await store.addBytes(bytes);
    expect(Buffer.compare(await readFile(file), bytes)).to.equal(0);
  });

  it("serves many writers and readers of the same content at once", async () => {
    const dir = await bench.folder();
    const stores = [await bench.store(dir), await bench.store(dir)];
    const bytes = await seeded("crowd", 3_000_000);
    const cids = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const store = stores[index % 2] as ContentStore;
        const { cid } = await store.addBytes(bytes);
        await store.pin(cid, later, { owner: `job-${index}` });
        await store.gc(later - 1);
        expect(Buffer.compare(await store.getBytes(cid, { maxBytes: bytes.length }), bytes)).to.equal(0);
        return cid;
      }),
    );
    expect(new Set(cids).size).to.equal(1);
    expect(await stores[0]?.pins()).to.have.lengthOf(20);
  });

  it("is usable after kill -9 in the middle of adds: what was pinned is whole, no block is torn", async () => {
    const dir = await bench.folder();
    const script = fileURLToPath(new URL("./add-forever.ts", import.meta.url));
    const child = spawn(process.execPath, [script, dir], { stdio: ["ignore", "pipe", "inherit"] });
    bench.later(async () => child.kill("SIGKILL"));
    const added: string[] = [];
    for await (const cid of createInterface({ input: child.stdout })) {
      added.push(cid);
      if (added.length === 5) child.kill("SIGKILL");
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    expect(added.length).to.be.at.least(5);

    const store = await bench.store(dir);
    const pinned = new Set((await store.pins()).map(({ cid }) => cid));
    for (const cid of added) {
      expect(pinned.has(cid)).to.equal(true);
      expect(await store.getBytes(cid, { maxBytes: 2_500_000 })).to.have.lengthOf(2_500_000);
    }
    const library = new FsBlockstore(join(dir, "blocks"));
    for await (const { cid, bytes } of library.getAll()) {
      const digest = createHash("sha256")
        .update(await collect(bytes))
        .digest();
      expect(digest.equals(cid.multihash.digest)).to.equal(true);
    }
    await store.gc(later);
    expect(await readdir(join(dir, "tmp"))).to.deep.equal([]);
    expect((await store.addBytes(new Uint8Array(10))).size).to.equal(10);
  });

  it("says that a CID is none, or of a kind that it does not store", async () => {
    const store = await bench.store();
    expect((await failure(store.has("zzz"))).code).to.equal("CID_INVALID");
    const cbor = "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua";
    expect((await failure(store.has(cbor))).code).to.equal("CONTENT_INVALID");
  });
});

async function blockFiles(dir: string): Promise<string[]> {
  const paths = (await readdir(join(dir, "blocks"), { recursive: true })).map((path) => join(dir, "blocks", path));
  const kinds = await Promise.all(paths.map(async (path) => (await stat(path)).isFile()));
  return paths.filter((_, index) => kinds[index]);
}
