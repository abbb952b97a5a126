import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { addStream } from "@berth/content";
import { expect } from "chai";
import { collect, seeded, seededBytes, streamOf, workbench } from "./support.ts";

const MIB = 1024 * 1024;
const NAME_LETTERS = "abcdefghijklmnopqrstuvwxyz01234567890-_";

/** Only the CID is wanted: nothing is stored. */
const nowhere = { put: async () => undefined };

/** The expected CIDs are those that Kubo publishes for the profile unixfs-v1-2025 (IPIP-499). */
describe("the UnixFS profile unixfs-v1-2025", () => {
  const bench = workbench();
  afterEach(bench.cleanUp);

  it("gives a small file the published CID", async () => {
    const cid = await addStream(nowhere, streamOf(new TextEncoder().encode("hello world")));
    expect(cid.toString()).to.equal("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
  });

  it("gives a file of exactly 1024 blocks the published CID", async () => {
    const cid = await addStream(nowhere, seededBytes("v1-2025-seed", 1024 * MIB));
    expect(cid.toString()).to.equal("bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm");
  });

  it("gives a file of one block more, which needs another level, the published CID", async () => {
    const cid = await addStream(nowhere, seededBytes("v1-2025-seed", 1025 * MIB));
    expect(cid.toString()).to.equal("bafybeihmzokxxjqwxjcryerhp5ezpcog2wcawfryb2xm64xiakgm4a5jue");
  });

  it("keeps a folder of exactly 256 KiB in one block", async () => {
    const store = await bench.store();
    const { cid, files } = await store.addPath(await folderOf4766(21));
    expect(files).to.equal(4766);
    expect(cid).to.equal("bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4");
  });

  it("shards a folder of one byte more, and exports it whole", async () => {
    const store = await bench.store();
    const { cid } = await store.addPath(await folderOf4766(22));
    expect(cid).to.equal("bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu");
    const target = join(await bench.folder(), "out");
    expect(await store.exportTo(cid, target, { maxBytes: 10_000 })).to.deep.equal({ bytes: 4766, files: 4766 });
    expect((await store.addPath(target)).cid).to.equal(cid);
  });

  /** 4765 files with names of 11 letters and one with a longer name; each holds one byte. */
  async function folderOf4766(lastNameLength: number): Promise<string> {
    const dir = join(await bench.folder(), "vector");
    await mkdir(dir);
    const letters = await seeded("hamt-unixfs-v1-2025", MIB);
    const names = Array.from({ length: 4766 }, (_, index) => {
      const length = index === 4765 ? lastNameLength : 11;
      const picked = letters.subarray(index * 11, index * 11 + length);
      return [...picked].map((byte) => NAME_LETTERS[byte % NAME_LETTERS.length]).join("");
    });
    for (const name of names) await writeFile(join(dir, name), "x");
    return dir;
  }
});

describe("addBytes", () => {
  const bench = workbench();
  afterEach(bench.cleanUp);

  it("gives the same CID as the same bytes in a file, and the bytes back", async () => {
    const store = await bench.store();
    const bytes = await seeded("bytes", 3 * MIB + 1);
    const { cid, size } = await store.addBytes(bytes);
    const path = join(await bench.folder(), "file");
    await writeFile(path, bytes);
    expect((await store.addPath(path)).cid).to.equal(cid);
    expect(Buffer.compare(await store.getBytes(cid, { maxBytes: bytes.length }), bytes)).to.equal(0);
    expect(size)
      .to.equal(await store.size(cid))
      .and.to.be.greaterThan(bytes.length);
    expect((await collect(store.exportCar(cid))).length).to.be.greaterThan(size);
  });
});
