import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { ContentStore } from "@berth/content";
import type { MarketError } from "@berth/protocol";
import * as dagPb from "@ipld/dag-pb";
import { expect } from "chai";
import fc from "fast-check";
import { UnixFS } from "ipfs-unixfs";
import { CID } from "multiformats/cid";
import * as raw from "multiformats/codecs/raw";
import { sha256, sha512 } from "multiformats/hashes/sha2";
import { collect, failure, makeTree, seeded, streamOf, workbench } from "./support.ts";

const LIMITS = { maxBytes: 1_000_000 };

describe("content made by a stranger", () => {
  const bench = workbench();
  afterEach(bench.cleanUp);

  for (const name of ["", ".", "..", "../up", "a/b", "/etc/passwd", "a\\b", "nul\0", "x".repeat(256)]) {
    it(`is not written when an entry is named ${JSON.stringify(name.slice(0, 20))}`, async () => {
      const store = await bench.store();
      const leaf = await putRaw(store, "evil");
      const root = await putFolder(store, [{ Name: name, Hash: leaf }]);
      const error = await expectRefused(store, root, "CONTENT_UNSAFE");
      expect(error.message).to.include("which is not allowed");
    });
  }

  it("is not written when it has a symbolic link, wherever it points", async () => {
    const store = await bench.store();
    const data = new TextEncoder().encode("/etc/passwd");
    const link = await putNode(store, new UnixFS({ type: "symlink", data }), []);
    await expectRefused(store, link, "CONTENT_UNSAFE");
    await expectRefused(store, await putFolder(store, [{ Name: "link", Hash: link }]), "CONTENT_UNSAFE");
  });

  it("is not written when two entries have one name", async () => {
    const store = await bench.store();
    const [a, b] = [await putRaw(store, "a"), await putRaw(store, "b")];
    const root = await putFolder(store, [
      { Name: "same", Hash: a },
      { Name: "same", Hash: b },
    ]);
    await expectRefused(store, root, "CONTENT_UNSAFE");
  });

  it("cannot blow up: a small DAG that repeats itself stops at the limits", async () => {
    const store = await bench.store();
    let folder = await putFolder(store, [{ Name: "leaf", Hash: await putRaw(store, "x".repeat(1000)) }]);
    let file = await putRaw(store, "");
    for (let level = 0; level < 60; level++) {
      folder = await putFolder(store, [
        { Name: "a", Hash: folder },
        { Name: "b", Hash: folder },
      ]);
      file = await putNode(store, new UnixFS({ type: "file", blockSizes: [0n, 0n] }), [
        { Name: "", Hash: file },
        { Name: "", Hash: file },
      ]);
    }
    await expectRefused(store, folder, "CONTENT_TOO_LARGE");
    await expectRefused(store, file, "CONTENT_INVALID");
  });

  it("is refused when a file does not hold what it declares", async () => {
    const store = await bench.store();
    const leaf = await putRaw(store, "12345");
    for (const declared of [4n, 6n]) {
      const file = await putNode(store, new UnixFS({ type: "file", blockSizes: [declared] }), [
        { Name: "", Hash: leaf },
      ]);
      expect((await failure(store.getBytes(file.toString(), LIMITS))).code).to.equal("CONTENT_INVALID");
    }
  });

  it("stops at maxBytes on the way to disk and to memory", async () => {
    const store = await bench.store();
    const { cid } = await store.addBytes(await seeded("large", 1_500_000));
    await expectRefused(store, CID.parse(cid), "CONTENT_TOO_LARGE");
    expect((await failure(store.getBytes(cid, LIMITS))).code).to.equal("CONTENT_TOO_LARGE");
  });

  it("does not overwrite what is at the target", async () => {
    const store = await bench.store();
    const { cid } = await store.addBytes(await seeded("small", 10));
    const dir = await bench.folder();
    const target = join(dir, "out");
    await store.exportTo(cid, target, LIMITS);
    expect((await failure(store.exportTo(cid, target, LIMITS))).code).to.equal("TARGET_EXISTS");
    expect((await failure(store.exportTo(cid, dir, LIMITS))).code).to.equal("TARGET_EXISTS");
  });

  it("is not written when its paths are longer than a disk takes", async () => {
    const store = await bench.store();
    let folder = await putFolder(store, []);
    for (let level = 0; level < 13; level++) folder = await putFolder(store, [{ Name: "n".repeat(255), Hash: folder }]);
    await expectRefused(store, folder, "CONTENT_UNSAFE");
  });

  it("measures what an export would write", async () => {
    const store = await bench.store();
    const dir = await bench.folder();
    await makeTree(dir);
    const { cid, contentBytes, files } = await store.addPath(dir);
    const limits = { maxBytes: contentBytes };
    expect(await store.measure(cid, limits)).to.deep.equal({ bytes: contentBytes, files });
    const target = join(await bench.folder(), "out");
    expect(await store.exportTo(cid, target, limits)).to.deep.equal({ bytes: contentBytes, files });
  });

  /** Neither exported nor measured, for the same reason. */
  async function expectRefused(store: ContentStore, root: CID, code: string): Promise<MarketError> {
    const parent = await bench.folder();
    const limits = { ...LIMITS, maxEntries: 1000 };
    const error = await failure(store.exportTo(root.toString(), join(parent, "out"), limits));
    expect(error.code).to.equal(code);
    const measured = await failure(store.measure(root.toString(), limits));
    expect(measured.message).to.equal(error.message);
    expect(await readdir(parent)).to.deep.equal([]);
    return error;
  }
});

describe("ContentStore#importCar", () => {
  const bench = workbench();
  afterEach(bench.cleanUp);

  async function car() {
    const dir = await bench.folder();
    await makeTree(dir);
    const origin = await bench.store();
    const { cid, size } = await origin.addPath(dir);
    return { origin, cid, size, bytes: await collect(origin.exportCar(cid)) };
  }

  it("refuses a CAR cut short at any place, and takes the whole one later", async () => {
    const { cid, size, bytes } = await car();
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: bytes.length - 1 }), async (length) => {
        const store = await bench.store();
        const error = await failure(
          store.importCar(streamOf(bytes.subarray(0, length)), { root: cid, maxBytes: size }),
        );
        expect(error.code).to.be.oneOf(["CONTENT_INVALID", "CONTENT_NOT_FOUND"]);
        expect(await store.has(cid)).to.equal(false);
        expect((await store.importCar(streamOf(bytes), { root: cid, maxBytes: size })).size).to.equal(size);
      }),
      { numRuns: 15, seed: 7 },
    );
  });

  it("refuses a changed byte anywhere in a block", async () => {
    const { cid, size, bytes } = await car();
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 100, max: bytes.length - 1 }), async (at) => {
        const changed = bytes.slice();
        changed[at] = (changed[at] ?? 0) ^ 0x40;
        const store = await bench.store();
        await failure(store.importCar(streamOf(changed), { root: cid, maxBytes: size }));
        expect(await store.has(cid)).to.equal(false);
      }),
      { numRuns: 15, seed: 7 },
    );
  });

  it("refuses another root, a CAR past maxBytes, and blocks that are not linked", async () => {
    const { origin, cid, size, bytes } = await car();
    const other = await origin.addBytes(await seeded("other", 100));
    const store = await bench.store();
    const wrongRoot = await failure(store.importCar(streamOf(bytes), { root: other.cid, maxBytes: size }));
    expect(wrongRoot.message).to.include("root is not");
    const tooLarge = await failure(store.importCar(streamOf(bytes), { root: cid, maxBytes: size - 1 }));
    expect(tooLarge.code).to.equal("CONTENT_TOO_LARGE");
    const header = (await collect(origin.exportCar(other.cid))).subarray(59);
    const stuffed = await failure(store.importCar(streamOf(bytes, header), { root: cid, maxBytes: size * 2 }));
    expect(stuffed.message).to.include("no part of");
    expect(await store.has(other.cid)).to.equal(false);
  });

  it("stops at once at a section that claims to be huge, however slowly it comes", async () => {
    const { cid, bytes } = await car();
    let sent = 0;
    async function* endless() {
      yield bytes.subarray(0, 59);
      yield Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x07);
      for (;;) {
        sent += 1;
        yield new Uint8Array(1024);
      }
    }
    const error = await failure((await bench.store()).importCar(endless(), { root: cid, maxBytes: 1e15 }));
    expect(error.message).to.include("section longer");
    expect(sent).to.equal(0);
  });

  it("refuses other hashes and codecs, and blocks over 2 MiB", async () => {
    const store = await bench.store();
    const bytes = new Uint8Array(10);
    const wide = CID.createV1(raw.code, await sha512.digest(bytes));
    const cbor = CID.createV1(0x71, await sha256.digest(bytes));
    expect((await failure(store.blocks.put(wide, bytes))).code).to.equal("CONTENT_INVALID");
    expect((await failure(store.blocks.put(cbor, bytes))).code).to.equal("CONTENT_INVALID");
    const large = new Uint8Array(2 * 1024 * 1024 + 1);
    const cid = CID.createV1(raw.code, await sha256.digest(large));
    expect((await failure(store.blocks.put(cid, large))).code).to.equal("CONTENT_INVALID");
  });
});

async function putRaw(store: ContentStore, text: string): Promise<CID> {
  const bytes = new TextEncoder().encode(text);
  const cid = CID.createV1(raw.code, await sha256.digest(bytes));
  await store.blocks.put(cid, bytes);
  return cid;
}

async function putFolder(store: ContentStore, links: { Name: string; Hash: CID }[]): Promise<CID> {
  return await putNode(store, new UnixFS({ type: "directory" }), links);
}

async function putNode(store: ContentStore, unixfs: UnixFS, links: { Name: string; Hash: CID }[]): Promise<CID> {
  const node = { Data: unixfs.marshal(), Links: links.map((link) => ({ ...link, Tsize: 0 })) };
  const bytes = dagPb.encode(node);
  const cid = CID.createV1(dagPb.code, await sha256.digest(bytes));
  await store.blocks.put(cid, bytes);
  return cid;
}
