import { createHash } from "node:crypto";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect } from "chai";
import { type PackedImage, packImage } from "../../../client/src/image/index.ts";
import { type ImageLimits, verifyOciLayout } from "../../../provider-node/src/image/verify.ts";
import { asDockerImage, type DockerManifest } from "../../support/docker-image.ts";
import { quiet } from "../../support/engine.ts";

describe("verifyOciLayout", () => {
  let folder: string;
  let image: PackedImage;
  let dir: string;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "berth-verify-"));
    mkdirSync(join(folder, "rootfs"));
    writeFileSync(join(folder, "rootfs/file"), Buffer.alloc(50_000, "x"));
    image = await packImage({ rootfs: join(folder, "rootfs"), outDir: join(folder, "image"), gzipLevel: 6 });
    dir = image.dir;
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const blob = (digest: string) => join(dir, "blobs/sha256", digest.slice(7));
  const put = (bytes: Uint8Array | string) => {
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    writeFileSync(blob(digest), bytes);
    return digest;
  };
  const json = (digest: string) => JSON.parse(readFileSync(blob(digest), "utf8"));
  /** The digest of a manifest with something changed in it. */
  const forged = (change: (manifest: { config: Blob; layers: Blob[] } & Record<string, unknown>) => void) => {
    const manifest = json(image.digest);
    change(manifest);
    return put(JSON.stringify(manifest));
  };
  type Blob = { digest: string; size: number; mediaType: string; urls?: string[] };
  const verify = (digest = image.digest, limits?: ImageLimits) => verifyOciLayout(dir, digest, quiet, limits);
  const refusal = (digest?: string, limits?: ImageLimits) =>
    verify(digest, limits).then(
      () => "accepted",
      (error: { code: string; message: string }) => error,
    );

  it("accepts what was packed and tells its parts", async () => {
    const found = await verify();
    expect(found.configDigest).to.equal(image.configDigest);
    expect(found.layers.map(({ digest }) => digest)).to.deep.equal([image.layerDigest]);
    expect(found.bytes).to.equal(image.bytes);
    expect(found.unpackedBytes).to.be.above(50_000);
  });

  it("does not care what index.json says", async () => {
    writeFileSync(join(dir, "index.json"), "not even JSON");
    expect((await verify()).manifestDigest).to.equal(image.digest);
  });

  for (const reference of [
    "latest",
    "busybox:1.36",
    "sha256:abc",
    `sha512:${"a".repeat(128)}`,
    `sha256:${"A".repeat(64)}`,
  ]) {
    it(`refuses ${reference.slice(0, 20)} as a name`, async () => {
      expect(await refusal(reference)).to.have.property("code", "IMAGE_REFERENCE_REFUSED");
    });
  }

  for (const [what, change] of [
    ["a second list of layers under another case", (text: string) => text.replace(/}$/, ',"Layers":[]}')],
    ["a key that folds with a letter outside ASCII", (text: string) => text.replace(/}$/, ',"layer\u017f":[]}')],
    [
      "other places for a blob under another case",
      (text: string) => text.replace('"size"', '"URLs":["http://x"],"size"'),
    ],
    [
      "a key that is there twice",
      (text: string) => text.replace('"config":', '"config":{"urls":["http://x"]},"config":'),
    ],
    ["the same written with an escape", (text: string) => text.replace(/}$/, ',"l\\u0061yers":[]}')],
  ] as const) {
    it(`refuses ${what} in the manifest`, async () => {
      const text = change(JSON.stringify(json(image.digest)));
      expect(text).to.not.equal(JSON.stringify(json(image.digest)));
      expect(await refusal(put(text))).to.have.property("code", "IMAGE_REFUSED");
    });
  }

  it("refuses a config whose keys engines read in another way, but lets labels have any name", async () => {
    const withConfig = (more: object) => {
      const config = put(JSON.stringify({ ...json(image.configDigest), ...more }));
      const { size } = statSync(blob(config));
      return forged((manifest) => Object.assign(manifest.config, { digest: config, size }));
    };
    expect(await refusal(withConfig({ RootFS: { type: "layers", diff_ids: [] } }))).to.have.property(
      "code",
      "IMAGE_REFUSED",
    );
    expect(await refusal(withConfig({ config: { ENV: ["A=b"] } }))).to.have.property("code", "IMAGE_REFUSED");
    const labels = { layers: "1", Layers: "2" };
    expect(await refusal(withConfig({ config: { Cmd: ["/x"], Labels: labels } }))).to.equal("accepted");
  });

  it("names both digests when the manifest was changed under its old name", async () => {
    writeFileSync(blob(image.digest), JSON.stringify({ ...json(image.digest), annotations: { evil: "yes" } }));
    const error = await refusal();
    expect(error).to.have.property("code", "IMAGE_DIGEST_MISMATCH");
    expect(error)
      .to.have.property("message")
      .that.matches(new RegExp(`${image.digest}.*the bytes are sha256:[0-9a-f]{64}`));
  });

  it("refuses one bit changed in the layer, in any half of it", async () => {
    const bytes = readFileSync(blob(image.layerDigest));
    for (const at of [12, bytes.length - 1]) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      writeFileSync(blob(image.layerDigest), changed);
      expect(await refusal()).to.have.property("code", "IMAGE_DIGEST_MISMATCH");
    }
  });

  it("refuses a changed config", async () => {
    writeFileSync(blob(image.configDigest), readFileSync(blob(image.configDigest), "utf8").replace("linux", "linuy"));
    expect(await refusal()).to.have.property("code", "IMAGE_DIGEST_MISMATCH");
  });

  it("refuses a layer that unpacks to something else than the config says", async () => {
    const other = gzipSync(Buffer.from("another layer"));
    const digest = put(other);
    const manifest = forged(({ layers }) => Object.assign(layers[0] as Blob, { digest, size: other.length }));
    expect(await refusal(manifest)).to.have.property("code", "IMAGE_DIGEST_MISMATCH");
  });

  it("says which blob is missing", async () => {
    rmSync(blob(image.layerDigest));
    const error = await refusal();
    expect(error).to.have.property("code", "IMAGE_BLOB_MISSING");
    expect(error).to.have.property("message").that.contains(image.layerDigest);
  });

  it("refuses a layer of another size than declared, before hashing it", async () => {
    const manifest = forged(({ layers }) => Object.assign(layers[0] as Blob, { size: 1 }));
    expect(await refusal(manifest))
      .to.have.property("message")
      .that.contains("blob of 1 bytes");
  });

  it("follows no symbolic link", async () => {
    renameSync(blob(image.layerDigest), join(folder, "elsewhere"));
    symlinkSync(join(folder, "elsewhere"), blob(image.layerDigest));
    expect(await refusal()).to.have.property("code", "IMAGE_REFUSED");
    cpSync(join(dir, "blobs"), join(folder, "blobs"), { recursive: true });
    rmSync(join(dir, "blobs"), { recursive: true });
    symlinkSync(join(folder, "blobs"), join(dir, "blobs"));
    expect(await refusal()).to.have.property("code", "IMAGE_REFUSED");
  });

  it("refuses an index of several platforms", async () => {
    const index = put(JSON.stringify({ schemaVersion: 2, manifests: [{ digest: image.digest }] }));
    expect(await refusal(index))
      .to.have.property("message")
      .that.contains("several platforms");
  });

  it("accepts an image in Docker's second format by the digest of Docker's manifest, and checks it as far", async () => {
    const docker = asDockerImage(dir, image.digest);
    const found = await verify(docker);
    expect(found).to.include({
      manifestDigest: docker,
      mediaType: "application/vnd.docker.distribution.manifest.v2+json",
      configDigest: image.configDigest,
    });
    expect(found.unpackedBytes).to.be.above(50_000);
    for (const digest of [image.layerDigest, image.configDigest, docker]) {
      const bytes = readFileSync(blob(digest));
      const changed = Buffer.from(bytes);
      changed[20] = (changed[20] ?? 0) ^ 1;
      writeFileSync(blob(digest), changed);
      expect(await refusal(docker)).to.have.property("code", "IMAGE_DIGEST_MISMATCH");
      writeFileSync(blob(digest), bytes);
    }
  });

  it("refuses documents that are neither OCI's nor Docker's, mixed ones, and Docker's first format", async () => {
    const oci = "application/vnd.oci.image.manifest.v1+json";
    const changes: [string, (manifest: DockerManifest) => void][] = [
      ["Docker's parts in OCI's manifest", (manifest) => Object.assign(manifest, { mediaType: oci })],
      ["Docker's parts in a manifest without a name", (manifest) => delete manifest.mediaType],
      [
        "a layer of OCI's",
        ({ layers }) => Object.assign(layers[0] ?? {}, { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip" }),
      ],
      [
        "a layer that is elsewhere",
        ({ layers }) =>
          Object.assign(layers[0] ?? {}, { mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" }),
      ],
      ["urls", ({ layers }) => Object.assign(layers[0] ?? {}, { urls: ["https://elsewhere.invalid"] })],
    ];
    for (const [what, change] of changes) {
      const error = await refusal(asDockerImage(dir, image.digest, change));
      expect(error, what).to.have.property("code", "IMAGE_REFUSED");
    }
    const docker = "application/vnd.docker.distribution.manifest.v2+json";
    const named = forged((manifest) => Object.assign(manifest, { mediaType: docker }));
    expect(await refusal(named), "OCI's parts in Docker's manifest").to.have.property("code", "IMAGE_REFUSED");
    const first = put(JSON.stringify({ schemaVersion: 1, name: "team/app", fsLayers: [], history: [] }));
    expect(await refusal(first))
      .to.include({ code: "IMAGE_REFUSED" })
      .and.to.have.property("hint")
      .that.contains("skopeo copy");
    const list = "application/vnd.docker.distribution.manifest.list.v2+json";
    const platform = { os: "linux", architecture: "amd64" };
    const manifests = [{ mediaType: docker, digest: image.digest, size: 1, platform }];
    const index = put(JSON.stringify({ schemaVersion: 2, mediaType: list, manifests }));
    expect(await refusal(index))
      .to.have.property("message")
      .that.contains(`name one of them: ${image.digest} (linux/amd64)`);
  });

  it("refuses layers that are elsewhere", async () => {
    const foreign = forged(({ layers }) => Object.assign(layers[0] as Blob, { urls: ["https://elsewhere.invalid"] }));
    expect(await refusal(foreign)).to.have.property("code", "IMAGE_REFUSED");
  });

  it("refuses an archive in place of a layout", async () => {
    writeFileSync(join(folder, "image.tar"), "archive");
    const error = await verifyOciLayout(join(folder, "image.tar"), image.digest, quiet).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).to.have.property("code", "IMAGE_REFUSED");
  });

  it("refuses what is too large, stored or unpacked", async () => {
    const room = 10_000_000;
    expect(await refusal(image.digest, { maxBytes: 100, maxUnpackedBytes: room })).to.have.property(
      "code",
      "IMAGE_TOO_LARGE",
    );
    const bomb = await refusal(image.digest, { maxBytes: room, maxUnpackedBytes: 10_000 });
    expect(bomb).to.have.property("code", "IMAGE_TOO_LARGE");
  });
});
