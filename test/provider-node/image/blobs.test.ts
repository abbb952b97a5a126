import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { type BlobFolder, openBlobFolder } from "../../../provider-node/src/image/blobs.ts";
import { quiet } from "../../support/engine.ts";
import { digestOf, type RegistryMood, startRegistry } from "../../support/registry.ts";
import { failure, imageBench } from "./support.ts";

describe("a folder of blobs", function () {
  this.timeout(20_000);
  let bench: ReturnType<typeof imageBench>;
  let blobs: BlobFolder;
  beforeEach(() => {
    bench = imageBench();
    blobs = openBlobFolder(bench.dir);
  });
  afterEach(() => bench.close());

  const pathOf = (digest: string) => join(bench.dir, "sha256", digest.slice(7));
  const names = () => readdirSync(join(bench.dir, "sha256"));
  async function* streamOf(...texts: string[]) {
    for (const text of texts) yield Buffer.from(text);
  }

  it("takes in what has the digest and the size, and nothing else", async () => {
    const digest = digestOf("blob");
    for (const [size, most, ...texts] of [
      [undefined, 10, "bl0b"],
      [3, 10, "blob"],
      [5, 10, "blob"],
      [undefined, 3, "bl", "ob"],
    ] as [number | undefined, number, ...string[]][]) {
      const blob = { digest, ...(size !== undefined && { size }) };
      const { code } = await failure(blobs.write(blob, streamOf(...texts), most));
      expect(code).to.be.oneOf(["IMAGE_DIGEST_MISMATCH", "IMAGE_TOO_LARGE"]);
      expect(names()).to.deep.equal([]);
    }
    expect(await blobs.write({ digest, size: 4 }, streamOf("bl", "ob"), 4)).to.equal(4);
    expect(await blobs.has({ digest, size: 4 }, quiet.signal)).to.equal(true);
  });

  it("has no blob that was cut short or changed on disk", async () => {
    const digest = digestOf("blob");
    for (const bytes of ["blo", "blub"]) {
      writeFileSync(pathOf(digest), bytes);
      expect(await blobs.has({ digest }, quiet.signal)).to.equal(false);
      expect(names()).to.deep.equal([]);
    }
  });

  it("drops the least recently used first, never one that was used lately, and never from a layout", async () => {
    const digests = ["first", "other", "third"].map((text) => digestOf(text));
    for (const [at, text] of ["first", "other", "third"].entries()) {
      await blobs.write({ digest: digestOf(text) }, streamOf(text), 100);
      utimesSync(pathOf(digestOf(text)), 1, 100 - at);
    }
    mkdirSync(join(bench.dir, "layout"));
    const [first = "", other = "", third = ""] = digests;
    expect(await blobs.evict(15)).to.equal(0);
    expect(await blobs.evict(14)).to.equal(5);
    expect(names().sort()).to.deep.equal([first, other].map((digest) => digest.slice(7)).sort());
    await blobs.linkTo(other, join(bench.dir, "layout"));
    expect(await blobs.evict(0)).to.equal(5);
    expect(names()).to.deep.equal([other.slice(7)]);
    utimesSync(pathOf(other), 1, 1);
    expect(await blobs.evict(0)).to.equal(5);
    expect(readFileSync(join(bench.dir, "layout", other.slice(7)), "utf8")).to.equal("other");
    expect(existsSync(pathOf(third))).to.equal(false);
  });

  it("takes nothing half for whole after a node was killed in the middle of a fetch", async () => {
    const image = await bench.pack("app", Buffer.alloc(300_000, "x"));
    const layer = readFileSync(join(image.dir, "blobs/sha256", image.layerDigest.slice(7)));
    const halfSent = Promise.withResolvers<void>();
    let isHanging = true;
    const mischief: RegistryMood["mischief"] = (path, response) => {
      if (!isHanging || !path.endsWith(image.layerDigest)) return false;
      response.writeHead(200).write(layer.subarray(0, 200_000), () => halfSent.resolve());
      return true;
    };
    const registry = await startRegistry({ mischief });
    registry.push(image.dir);
    try {
      const folder = join(bench.dir, "images");
      const script = join(import.meta.dirname, "fetch-child.ts");
      const child = spawn(process.execPath, [script, folder, bench.target, image.digest, registry.source]);
      await halfSent.promise;
      const kept = join(folder, "blobs/sha256");
      const isPart = (name: string) => name.endsWith(".part") && statSync(join(kept, name)).size > 0;
      while (!readdirSync(kept).some(isPart)) await new Promise((resolve) => setImmediate(resolve));
      child.kill("SIGKILL");
      await once(child, "exit");

      isHanging = false;
      registry.requests.length = 0;
      const images = bench.open();
      expect(readdirSync(kept).filter((name) => name.endsWith(".part"))).to.deep.equal([]);
      expect(readdirSync(kept)).to.not.include(image.layerDigest.slice(7));
      await bench.bring(images, { digest: image.digest, sources: [registry.source] });
      expect(registry.requests.map(({ path }) => path.split("/").at(-1))).to.deep.equal([image.layerDigest]);
      expect(digestOf(readFileSync(join(kept, image.layerDigest.slice(7))))).to.equal(image.layerDigest);
    } finally {
      await registry.close();
    }
  });
});
