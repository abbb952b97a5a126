import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openEmbeddedStore } from "@berth/content";
import type { MarketError } from "@berth/protocol";
import { expect } from "chai";
import { parseImageReference, resolveImage } from "../../../client/src/actions/resolve-image.ts";
import type { Client } from "../../../client/src/client.ts";
import type { PackedImage } from "../../../client/src/image/pack.ts";
import { workbench } from "../../content/support.ts";
import { tinyImage } from "../support/images.ts";
import { silent } from "../support/market.ts";

describe("resolveImage", () => {
  const bench = workbench();
  afterEach(() => bench.cleanUp());

  let image: PackedImage;
  let client: Client;
  beforeEach(async () => {
    image = await tinyImage(await bench.folder());
    const store = await openEmbeddedStore({ dir: await bench.folder() });
    bench.later(() => store.close());
    client = { store, contentGateways: [], log: silent } as unknown as Client;
  });

  const blob = (digest: string) => join(image.dir, "blobs", "sha256", digest.slice("sha256:".length));
  const refused = async (text = `oci:${image.dir}`): Promise<MarketError> => {
    const caught = await resolveImage(client, text).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(caught).to.have.property("name", "MarketError");
    return caught as MarketError;
  };

  it("adds a checked layout to the store under its digest, and finds it there again", async () => {
    const resolved = await resolveImage(client, `oci:${image.dir}`);
    expect(resolved).to.include({ digest: image.digest, bytes: image.bytes });
    expect(await client.store.has(resolved.cid ?? "")).to.equal(true);
    const again = await resolveImage(client, `ipfs:${resolved.cid}@${image.digest}`);
    expect(again).to.deep.equal(resolved);
  });

  it("catches one changed byte in manifest, config or layer, and says expected and actual", async () => {
    for (const digest of [image.digest, image.configDigest, image.layerDigest]) {
      const bytes = await readFile(blob(digest));
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(10) ^ 1, 10);
      await writeFile(blob(digest), changed);
      const { code, message } = await refused();
      expect(code).to.equal("IMAGE_DIGEST_MISMATCH");
      expect(message).to.match(new RegExp(`expected ${digest}, actual sha256:[0-9a-f]{64}`));
      await writeFile(blob(digest), bytes);
    }
  });

  it("catches content that is not the image of the digest given", async () => {
    const { cid } = await resolveImage(client, `oci:${image.dir}`);
    const other = `sha256:${"0".repeat(64)}`;
    expect((await refused(`ipfs:${cid}@${other}`)).code).to.equal("IMAGE_BLOB_MISSING");
  });

  it("names a missing blob, a folder that is no layout, and content that nobody has", async () => {
    await rm(blob(image.layerDigest));
    expect((await refused()).message).to.include(`layer ${image.layerDigest}`);
    expect((await refused(`oci:${await bench.folder()}`)).code).to.equal("IMAGE_NOT_FOUND");
    const absent = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";
    expect((await refused(`ipfs:${absent}@${image.digest}`)).code).to.equal("CONTENT_UNAVAILABLE");
  });

  it("asks for a digest where a layout holds several images, and takes it", async () => {
    const index = JSON.parse(await readFile(join(image.dir, "index.json"), "utf8"));
    index.manifests.push({ ...index.manifests[0], digest: `sha256:${"1".repeat(64)}` });
    await writeFile(join(image.dir, "index.json"), JSON.stringify(index));
    const { message, hint } = await refused();
    expect(message).to.include("names 2 manifests");
    expect(hint).to.include("oci:DIR@sha256:DIGEST");
    expect((await resolveImage(client, `oci:${image.dir}@${image.digest}`)).digest).to.equal(image.digest);
  });

  it("refuses a tag, and says how to get a digest", () => {
    for (const tag of ["alpine:3", "docker://alpine", "ghcr.io/a/b", "ipfs:bafy", `alpine@sha256:${"a".repeat(64)}`]) {
      expect(() => parseImageReference(tag))
        .to.throw("a tag can be moved")
        .with.property("hint")
        .that.includes("skopeo copy docker://");
    }
  });
});
