import { generateKeyPairSync } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import type { PackedImage } from "../../../client/src/image/index.ts";
import { loadSignaturePolicy } from "../../../provider-node/src/image/signature-policy.ts";
import { quiet } from "../../support/engine.ts";
import { type ImageSigner, imageSigner } from "../../support/image-signatures.ts";
import { digestOf, startRegistry, type TestRegistry } from "../../support/registry.ts";
import { failure, imageBench } from "./support.ts";

describe("the signature policy", () => {
  let bench: ReturnType<typeof imageBench>;
  let release: ImageSigner;
  let stranger: ImageSigner;
  beforeEach(() => {
    bench = imageBench();
    release = imageSigner("p256", join(bench.dir, "release.pub"));
    stranger = imageSigner("ed25519", join(bench.dir, "stranger.pub"));
  });
  afterEach(() => bench.close());

  const digest = digestOf("an image");
  const rule = (signer: ImageSigner, match?: string) => ({
    keys: [signer.publicKeyFile],
    ...(match !== undefined && { match }),
  });

  it("accepts ECDSA P-256 and Ed25519 by the keys that it names, for the digest that was signed", () => {
    const policy = loadSignaturePolicy([rule(release)]);
    expect(policy.accepts(digest, release.sign(digest))).to.equal(true);
    expect(policy.accepts(digestOf("another"), release.sign(digest))).to.equal(false);
    expect(policy.accepts(digest, stranger.sign(digest))).to.equal(false);
    expect(loadSignaturePolicy([rule(stranger)]).accepts(digest, stranger.sign(digest))).to.equal(true);
    expect(loadSignaturePolicy([rule(stranger), rule(release)]).accepts(digest, release.sign(digest))).to.equal(true);
  });

  it("accepts no signature with one byte changed, of another kind, or over anything else", () => {
    const policy = loadSignaturePolicy([rule(release), rule(stranger)]);
    const signed = release.sign(digest);
    for (const part of ["payload", "signature"] as const) {
      const changed = Buffer.from(signed[part]);
      changed[20] = (changed[20] ?? 0) ^ 1;
      expect(policy.accepts(digest, { ...signed, [part]: changed })).to.equal(false);
    }
    expect(policy.accepts(digest, { ...signed, signature: Buffer.alloc(0) })).to.equal(false);
    expect(policy.accepts(digest, { ...signed, payload: Buffer.from("no JSON") })).to.equal(false);
    const other = signed.payload.toString().replace("cosign container image signature", "a note");
    expect(policy.accepts(digest, { ...signed, payload: Buffer.from(other) })).to.equal(false);
  });

  it("lets a key sign only for the names of its rule, which count as signed", () => {
    const policy = loadSignaturePolicy([rule(release, "registry.example/team/*"), rule(stranger, "other.example/a.b")]);
    expect(policy.accepts(digest, release.sign(digest, "registry.example/team/app"))).to.equal(true);
    expect(policy.accepts(digest, release.sign(digest, "registry.example/team2/app"))).to.equal(false);
    expect(policy.accepts(digest, release.sign(digest, "evil.example/registry.example/team/app"))).to.equal(false);
    expect(policy.accepts(digest, stranger.sign(digest, "registry.example/team/app"))).to.equal(false);
    expect(policy.accepts(digest, stranger.sign(digest, "other.example/a.b"))).to.equal(true);
    expect(policy.accepts(digest, stranger.sign(digest, "other.example/axb"))).to.equal(false);
  });

  it("does not start with a key that is none, or of a kind that it does not know", () => {
    const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
    const files = { junk: "junk", p384: publicKey.export({ type: "spki", format: "pem" }) };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(bench.dir, name), text);
    for (const name of ["junk", "p384", "absent"]) {
      expect(() => loadSignaturePolicy([{ keys: [join(bench.dir, name)] }]))
        .to.throw("is no public key (PEM) of ECDSA P-256 or Ed25519")
        .with.property("code", "CONFIG_INVALID");
    }
  });

  describe("of a node", () => {
    let image: PackedImage;
    let registry: TestRegistry;
    beforeEach(async () => {
      image = await bench.pack("app");
      registry = await startRegistry({ asksForToken: true });
      registry.push(image.dir);
    });
    afterEach(() => registry.close());

    const open = (...signers: ImageSigner[]) => bench.open({ policy: [{ keys: signers.map((s) => s.publicKeyFile) }] });
    const place = () => ({ digest: image.digest, sources: [registry.source] });
    const publish = (signer: ImageSigner, name = image.digest) => {
      const { payload, manifest } = signer.sign(name);
      registry.put(payload);
      registry.tag(`${image.digest.replace(":", "-")}.sig`, registry.put(manifest));
    };
    /** Puts a signature into a layout beside the image, as a copy of both makes it. */
    const addTo = (layout: string, signer: ImageSigner) => {
      const { payload, manifest } = signer.sign(image.digest);
      for (const bytes of [payload, manifest])
        writeFileSync(join(layout, "blobs/sha256", digestOf(bytes).slice(7)), bytes);
      const index = JSON.parse(readFileSync(join(layout, "index.json"), "utf8"));
      index.manifests.push({ digest: digestOf(manifest), size: manifest.length });
      writeFileSync(join(layout, "index.json"), JSON.stringify(index));
    };

    it("asks for nothing when there is none", async () => {
      const images = bench.open();
      expect(images.isAccepted(image.digest)).to.equal(true);
      await bench.bring(images, place());
      expect(registry.requests.filter(({ path }) => path.endsWith(".sig"))).to.deep.equal([]);
    });

    it("takes an image whose signature the registry has, and remembers it for as long as the key is trusted", async () => {
      publish(release);
      expect(open(release).isAccepted(image.digest)).to.equal(false);
      await bench.bring(open(release), place());
      expect(open(release).isAccepted(image.digest)).to.equal(true);
      expect(open(stranger, release).isAccepted(image.digest)).to.equal(true);
      expect(open(stranger).isAccepted(image.digest)).to.equal(false);
      writeFileSync(join(bench.dir, "images/signatures", `${image.digest.replace(":", "-")}.json`), '{"payload":"e3');
      expect(open(release).isAccepted(image.digest)).to.equal(false);
    });

    it("refuses one that is not signed, or by a stranger, or whose signature is another image's", async () => {
      const refused = async () => {
        registry.requests.length = 0;
        const error = await failure(bench.bring(open(release), place()));
        expect(error.code).to.equal("IMAGE_UNSIGNED");
        expect(error.message).to.equal(`The image ${image.digest} has no signature that this node accepts.`);
        const asked = registry.requests.map(({ path }) => path.split("/").at(-1));
        expect(asked).to.not.include(image.layerDigest);
      };
      await refused();
      publish(stranger);
      await refused();
      publish(release, digestOf("another"));
      await refused();
      const { payload, manifest } = release.sign(image.digest);
      const other = manifest.toString().replace("simplesigning", "another");
      registry.put(payload);
      registry.tag(`${image.digest.replace(":", "-")}.sig`, registry.put(other));
      await refused();
      expect(open(release).isAccepted(image.digest)).to.equal(false);
    });

    it("does not call it unsigned while the place of the signature does not answer", async () => {
      const error = await failure(
        bench.bring(open(release), { digest: image.digest, sources: ["oci://127.0.0.1:1/team/app", registry.source] }),
      );
      expect(error.code).to.equal("CONTENT_UNAVAILABLE");
    });

    it("can tell without the image that it is unsigned, but only where every place was heard", async () => {
      const { digest, sources } = place();
      const ask = (images: ReturnType<typeof open>, spec = place() as Parameters<typeof images.isUnsigned>[0]) =>
        images.isUnsigned(spec, quiet);
      expect(await ask(bench.open())).to.equal(false);
      expect(await ask(open(release))).to.equal(true);
      expect(await ask(open(release), { digest, cid: "bafycid", sources })).to.equal(false);
      expect(await ask(open(release), { digest, sources: [...sources, "http://127.0.0.1:1/app.tar"] })).to.equal(false);
      expect(await ask(open(release), { digest, sources: [...sources, "oci://127.0.0.1:1/team/app"] })).to.equal(false);
      publish(release);
      expect(await ask(open(stranger))).to.equal(true);
      expect(await ask(open(release))).to.equal(false);
      expect(registry.requests.map(({ path }) => path.split("/").at(-1))).to.not.include(image.digest);
    });

    it("finds the signature beside the image in a layout: in the operator's folder, an archive, on IPFS", async () => {
      addTo(image.dir, release);
      const layouts = join(bench.dir, "layouts");
      mkdirSync(layouts);
      cpSync(image.dir, join(layouts, "app"), { recursive: true });
      const forget = () => rmSync(join(bench.dir, "images/signatures"), { recursive: true });
      const settings = { policy: [{ keys: [release.publicKeyFile] }] };
      await bench.bring(bench.open({ ...settings, files: [layouts] }), { digest: image.digest, cid: "bafycid" });
      forget();
      const fromIpfs = async (_cid: string, target: string) => {
        cpSync(image.dir, target, { recursive: true });
        return 1;
      };
      await bench.bring(open(release), { digest: image.digest, cid: "bafycid" }, { fromIpfs });
      expect(open(release).isAccepted(image.digest)).to.equal(true);
      forget();
      const unsigned = bench.bring(open(stranger), { digest: image.digest, cid: "bafycid" }, { fromIpfs });
      expect(await failure(unsigned)).to.have.property("code", "IMAGE_UNSIGNED");
    });
  });
});
