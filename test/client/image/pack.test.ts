import { execFileSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import { packImage } from "../../../client/src/image/index.ts";

describe("packImage", () => {
  let folder: string;
  let rootfs: string;
  let count = 0;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "berth-pack-"));
    rootfs = join(folder, "rootfs");
    mkdirSync(rootfs);
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const pack = (options: { gzipLevel?: number } = {}) => {
    count += 1;
    return packImage({ rootfs, outDir: join(folder, `out-${count}`), ...options });
  };
  const blob = (dir: string, digest: string) => join(dir, "blobs/sha256", digest.slice(7));

  it("gives the same digest for the same tree, whatever the times", async () => {
    mkdirSync(join(rootfs, "empty"));
    writeFileSync(join(rootfs, "file"), "content");
    const first = await pack();
    utimesSync(join(rootfs, "file"), 1, 1);
    expect((await pack()).digest).to.equal(first.digest);
    chmodSync(join(rootfs, "file"), 0o700);
    expect((await pack()).digest).to.not.equal(first.digest);
  });

  it("keeps modes, empty folders, symbolic links and names too long for a plain header", async () => {
    const long = "n".repeat(200);
    mkdirSync(join(rootfs, "empty"), { mode: 0o711 });
    writeFileSync(join(rootfs, long), "deep", { mode: 0o640 });
    symlinkSync(`/${long}`, join(rootfs, "link"));
    const { dir, layerDigest } = await pack();
    const listing = execFileSync("tar", ["-tvf", blob(dir, layerDigest)], { encoding: "utf8" })
      .trim()
      .split("\n");
    expect(listing.map((line) => line.split(/\s+/)[0])).to.deep.equal(["drwx--x--x", "lrwxrwxrwx", "-rw-r-----"]);
    expect(listing[1]).to.match(new RegExp(`root|0/0.*link -> /${long}$`));
    expect(listing[2]).to.contain(`1970-01-01 00:00 ${long}`);
  });

  it("unpacks to the tree it was made from", async () => {
    const name = fc.stringMatching(/^[a-zé]{1,150}$/);
    await fc.assert(
      fc.asyncProperty(fc.dictionary(name, fc.uint8Array({ maxLength: 1500 }), { maxKeys: 5 }), async (files) => {
        rmSync(rootfs, { recursive: true });
        mkdirSync(rootfs);
        const kept = Object.entries(files).filter(([key]) => Buffer.byteLength(key) < 255);
        for (const [key, bytes] of kept) writeFileSync(join(rootfs, key), bytes);
        const { dir, layerDigest } = await pack();
        const target = mkdtempSync(join(folder, "back-"));
        execFileSync("tar", ["-xf", blob(dir, layerDigest), "-C", target]);
        expect(readdirSync(target).sort()).to.deep.equal(kept.map(([key]) => key).sort());
        for (const [key, bytes] of kept)
          expect(Buffer.from(bytes).equals(readFileSync(join(target, key)))).to.equal(true);
      }),
      { numRuns: 15 },
    );
  });

  it("compresses on demand and says so in the manifest", async () => {
    writeFileSync(join(rootfs, "zeros"), Buffer.alloc(100_000));
    const plain = await pack();
    const packed = await pack({ gzipLevel: 1 });
    expect(packed.bytes).to.be.below(plain.bytes / 10);
    const manifest = JSON.parse(readFileSync(blob(packed.dir, packed.digest), "utf8"));
    expect(manifest.layers[0].mediaType).to.equal("application/vnd.oci.image.layer.v1.tar+gzip");
  });

  it("refuses a FIFO and leaves nothing behind", async () => {
    execFileSync("mkfifo", [join(rootfs, "pipe")]);
    const error = await pack().catch((thrown: unknown) => thrown);
    expect(error).to.have.property("code", "PACK_REFUSED");
    expect(readdirSync(folder)).to.deep.equal(["rootfs"]);
  });
});
