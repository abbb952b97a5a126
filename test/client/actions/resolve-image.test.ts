import { execFileSync } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openEmbeddedStore } from "@berth/content";
import type { MarketError } from "@berth/protocol";
import { expect } from "chai";
import {
  checkImageReference,
  parseImageReference,
  placesOf,
  referenceOf,
  resolveImage,
} from "../../../client/src/actions/resolve-image.ts";
import type { Client } from "../../../client/src/client.ts";
import type { PackedImage } from "../../../client/src/image/pack.ts";
import { workbench } from "../../content/support.ts";
import { asDockerImage } from "../../support/docker-image.ts";
import { digestOf, type RegistryMood, startRegistry } from "../../support/registry.ts";
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

  it("takes an image in Docker's format, from a layout and from a registry", async () => {
    const digest = asDockerImage(image.dir, image.digest);
    expect(await resolveImage(client, `oci:${image.dir}@${digest}`)).to.include({ digest });
    const registry = await startRegistry();
    bench.later(() => registry.close());
    registry.push(image.dir);
    expect(await resolveImage(client, `${registry.source}@${digest}`)).to.include({ digest, source: registry.source });
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

  describe("where it is", () => {
    const registry = async (mood: RegistryMood = {}) => {
      const started = await startRegistry(mood);
      bench.later(started.close);
      started.push(image.dir);
      return started;
    };
    /** The image's folder, and an archive of it, on a web server. */
    const web = async () => {
      execFileSync("tar", ["-C", image.dir, "-cf", `${image.dir}.tar`, "."]);
      return await bench.server(async ({ url = "" }, response) => {
        const file = join(image.dir, "..", url.slice(1));
        await readFile(file).then(
          (bytes) => response.end(bytes),
          () => response.writeHead(404).end(),
        );
      });
    };

    it("checks manifest and config in a registry, and leaves the layers for the node", async () => {
      const { source, requests } = await registry({ asksForToken: true });
      const resolved = await resolveImage(client, `${source}@${image.digest}`);
      expect(resolved).to.include({ digest: image.digest, bytes: image.bytes, source, cid: undefined });
      expect(resolved.architecture).to.match(/^(amd64|arm64)$/);
      expect(requests.map(({ path }) => path.split("/").at(-1))).to.not.include(image.layerDigest);
      expect(placesOf(resolved)).to.deep.equal({ digest: image.digest, sources: [source] });
      expect(referenceOf(placesOf(resolved))).to.equal(`${source}@${image.digest}`);
      expect(referenceOf({ digest: image.digest, cid: "bafy", sources: [source] })).to.equal(
        `ipfs:bafy@${image.digest}`,
      );
    });

    it("does so in a layout folder and in an archive on a web server", async () => {
      const url = await web();
      for (const source of [`${url}/image/`, `${url}/image.tar`]) {
        expect(await resolveImage(client, `${source}@${image.digest}`)).to.include({ source, bytes: image.bytes });
      }
      const other = `sha256:${"0".repeat(64)}`;
      expect((await refused(`${url}/image.tar@${other}`)).code).to.equal("IMAGE_BLOB_MISSING");
      expect((await refused(`${url}/image/@${other}`)).code).to.equal("IMAGE_UNAVAILABLE");
    });

    it("catches a registry that sends another manifest or config than was named, or nothing", async () => {
      for (const digest of [image.digest, image.configDigest]) {
        const mischief: RegistryMood["mischief"] = (path, response) =>
          path.endsWith(digest) && response.end("{}") !== undefined;
        const { source } = await registry({ mischief });
        expect((await refused(`${source}@${image.digest}`)).code).to.equal("IMAGE_DIGEST_MISMATCH");
      }
      const { source } = await registry();
      const error = await refused(`${source}@${digestOf("absent")}`);
      expect(error.code).to.equal("IMAGE_UNAVAILABLE");
      expect(error.message).to.contain("It answered 404");
    });

    it("refuses a list of platforms and names what is in it", async () => {
      const { source, put } = await registry();
      const index = put(JSON.stringify({ schemaVersion: 2, manifests: [{ digest: image.digest }] }));
      const { code, hint } = await refused(`${source}@${index}`);
      expect(code).to.equal("IMAGE_REFUSED");
      expect(hint).to.contain(image.digest);
    });

    it("refuses a tag, and tells the digest of each platform that it stands for now", async () => {
      const { source, put, tag } = await registry({ asksForToken: true });
      tag("1", image.digest);
      const platform = { os: "linux", architecture: "arm64" };
      const unknown = { digest: digestOf("attestation"), platform: { os: "unknown", architecture: "unknown" } };
      tag("latest", put(JSON.stringify({ manifests: [{ digest: image.digest, platform }, unknown] })));
      const host = source.slice("oci://".length);
      for (const text of [`${source}:1`, `docker://${host}:1`, `${host}:1`]) {
        const { code, message } = await refused(text);
        expect(code).to.equal("IMAGE_REFERENCE_REFUSED");
        expect(message).to.match(new RegExp(`Just now it stands for ${source}@${image.digest}\\.$`));
      }
      const { message } = await refused(source);
      expect(message).to.match(new RegExp(`stands for ${source}@${image.digest} \\(linux/arm64\\)\\.$`));
      expect((await refused(`${source}:none`)).message).to.not.contain("Just now");
    });

    it("asks nobody about a name without a host, and takes a folder by the form it always had", async () => {
      for (const text of ["alpine", "alpine:3", "team/app:1"]) {
        const error = await checkImageReference(text).catch((thrown: unknown) => thrown);
        expect(error).to.have.property("code", "IMAGE_REFERENCE_REFUSED");
      }
      expect(parseImageReference("oci:./dir")).to.deep.equal({ kind: "oci", dir: "./dir", digest: undefined });
      expect(parseImageReference(`oci:///srv/dir@${image.digest}`)).to.include({ kind: "oci", digest: image.digest });
    });
  });
});
