import { utimesSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { evictImages, holdImage, noteUse } from "../../../provider-node/src/image/cache.ts";
import { importImage } from "../../../provider-node/src/image/import.ts";
import { openEngineBench, type PodmanBench, quiet } from "../../support/engine.ts";
import { busyboxImage } from "../../support/images.ts";

describe("evictImages", function () {
  this.timeout(30_000);
  let bench: PodmanBench;
  before(async () => {
    bench = await openEngineBench();
  });
  after(() => bench.close());

  it("drops an image only when the cache is too large, nobody needs it and it is not fresh", async () => {
    const { digest, dir } = await busyboxImage();
    const evict = (maxBytes: number) => evictImages(maxBytes, bench.store, quiet);
    noteUse(digest, bench.store);
    expect(await evict(0)).to.deep.equal([]);
    utimesSync(join(bench.store.folder, "image-use", digest.replace(":", "-")), 1, 1);
    expect(await evict(2 ** 40)).to.deep.equal([]);

    const attempt = bench.shell("true");
    await bench.engine.prepare(attempt, quiet);
    expect(await evict(0)).to.deep.equal([]);
    await bench.engine.cleanup(attempt.name, quiet);
    const held = holdImage(digest);
    const again = holdImage(digest);
    again[Symbol.dispose]();
    expect(await evict(0)).to.deep.equal([]);
    held[Symbol.dispose]();
    expect(await evict(0)).to.deep.equal([digest]);
    expect((await bench.store.run(["images", "--quiet"], quiet)).stdout).to.equal("");
    await importImage(dir, digest, bench.store, quiet);
  });
});
