import { generateKeyPairSync } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import type { PackedImage } from "../../../client/src/image/index.ts";
import { loadSignaturePolicy } from "../../../provider-node/src/image/signature-policy.ts";
import { quiet } from "../../support/engine.ts";
import { BUNDLE_TYPE, envelopeBytes, type ImageSigner, imageSigner } from "../../support/image-signatures.ts";
import { digestOf, type RegistryMood, startRegistry, type TestRegistry } from "../../support/registry.ts";
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

  it("accepts the statement of a bundle, by the same keys, for the digest that it is about", () => {
    for (const signer of [release, stranger]) {
      const policy = loadSignaturePolicy([rule(signer)]);
      expect(policy.accepts(digest, signer.bundle(digest))).to.equal(true);
      expect(policy.refusal(digestOf("another"), signer.bundle(digest))).to.equal("it is for another image");
      const other = signer === release ? stranger : release;
      expect(policy.refusal(digest, other.bundle(digest))).to.equal("it was made by no key of a rule for this name");
    }
    const policy = loadSignaturePolicy([rule(release)]);
    const subject = [{ digest: { sha256: "0".repeat(64) } }, { digest: { sha256: digest.slice(7) } }];
    expect(policy.accepts(digest, release.bundle(digest, { statement: { subject } }))).to.equal(true);
  });

  it("accepts no statement that was changed, that is no signature of an image, or that was signed as anything else", () => {
    const policy = loadSignaturePolicy([rule(release), rule(stranger)]);
    const signed = release.bundle(digest);
    for (const part of ["payload", "signature"] as const) {
      const changed = Buffer.from(signed[part]);
      changed[20] = (changed[20] ?? 0) ^ 1;
      expect(policy.accepts(digest, { ...signed, [part]: changed })).to.equal(false);
    }
    const refusal = (change: Parameters<ImageSigner["bundle"]>[1]) =>
      policy.refusal(digest, release.bundle(digest, change));
    const other = "it is not the signature of an image";
    expect(refusal({ statement: { predicateType: "https://slsa.dev/provenance/v1" } })).to.equal(other);
    expect(refusal({ statement: { _type: "https://in-toto.io/Statement/v2" } })).to.equal(other);
    expect(refusal({ statement: { subject: [] } })).to.equal(other);
    expect(refusal({ statement: { subject: [{ digest: { sha512: digest.slice(7) } }] } })).to.equal(other);
    const byNoKey = "it was made by no key of a rule for this name";
    expect(refusal({ signed: (payload) => payload })).to.equal(byNoKey);
    expect(refusal({ signed: (payload) => envelopeBytes("application/json", payload) })).to.equal(byNoKey);
    expect(policy.accepts(digest, { ...release.sign(digest), form: "statement" })).to.equal(false);
    expect(policy.accepts(digest, { ...signed, form: "simple" })).to.equal(false);
  });

  it("asks the statement for the name of its rule, which cosign leaves out", () => {
    const policy = loadSignaturePolicy([rule(release, "registry.example/team/*")]);
    expect(policy.refusal(digest, release.bundle(digest))).to.equal('no rule is for the name ""');
    const named = (name: string) =>
      release.bundle(digest, { statement: { subject: [{ name, digest: { sha256: digest.slice(7) } }] } });
    expect(policy.accepts(digest, named("registry.example/team/app"))).to.equal(true);
    expect(policy.accepts(digest, named("registry.example/team2/app"))).to.equal(false);
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
    let mood: RegistryMood;
    beforeEach(async () => {
      image = await bench.pack("app");
      mood = { asksForToken: true };
      registry = await startRegistry(mood);
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
      addBeside(layout, payload, manifest);
    };
    const addBeside = (layout: string, payload: Buffer, manifest: Buffer) => {
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

    describe("with bundles", () => {
      const open3 = () => open(release);
      const attach = (bundle: Buffer, manifest: Buffer) => {
        registry.put(bundle);
        return { digest: registry.put(manifest), artifactType: BUNDLE_TYPE, size: manifest.length };
      };
      const attested = (signer = release, change?: Parameters<ImageSigner["bundle"]>[1]) => {
        const { bundle, manifest } = signer.bundle(image.digest, change);
        return attach(bundle, manifest);
      };
      const refused = async (signatures: number, ...reasons: string[]) => {
        registry.requests.length = 0;
        const error = await failure(bench.bring(open3(), place()));
        expect(error).to.include({ code: "IMAGE_UNSIGNED" });
        expect(error.hint).to.contain("cosign sign --key");
        const said = bench.lines.findLast(({ msg }) => msg === "no signature of the image accepted");
        expect(said).to.deep.include({ signatures, reasons });
        const asked = registry.requests.map(({ path }) => path.split("/").at(-1));
        expect(asked).to.not.include(image.layerDigest);
      };

      it("takes an image by the registry's list of what refers to it, and remembers the signature", async () => {
        mood.referrersPage = 100;
        registry.refer(image.digest, attested());
        await bench.bring(open3(), place());
        expect(open3().isAccepted(image.digest)).to.equal(true);
        expect(open(stranger).isAccepted(image.digest)).to.equal(false);
        const list = `/v2/team/app/referrers/${image.digest}?artifactType=${encodeURIComponent(BUNDLE_TYPE)}`;
        expect(registry.requests.map(({ path }) => path)).to.include(list);
      });

      it("takes it by the list under a tag, where the registry keeps none, or an empty one", async () => {
        const list = { schemaVersion: 2, manifests: [attested()] };
        registry.tag(image.digest.replace(":", "-"), registry.put(JSON.stringify(list)));
        await bench.bring(open3(), place());
        rmSync(join(bench.dir, "images/signatures"), { recursive: true });
        mood.referrersPage = 100;
        await bench.bring(open3(), place());
      });

      it("takes it from a layout, beside the image", async () => {
        const { bundle, manifest } = release.bundle(image.digest);
        addBeside(image.dir, bundle, manifest);
        const layouts = join(bench.dir, "layouts");
        cpSync(image.dir, join(layouts, "app"), { recursive: true });
        const images = bench.open({ policy: [{ keys: [release.publicKeyFile] }], files: [layouts] });
        await bench.bring(images, { digest: image.digest, cid: "bafycid" });
      });

      it("refuses a wrong key, another image, what is no signature, and damaged bundles", async () => {
        mood.referrersPage = 100;
        await refused(0);
        registry.refer(image.digest, attested(stranger));
        const wrongKey = "it was made by no key of a rule for this name";
        await refused(1, wrongKey);
        const other = release.bundle(digestOf("another"));
        registry.refer(image.digest, attach(other.bundle, other.manifest));
        await refused(2, wrongKey, "it is for another image");
        registry.refer(image.digest, attested(release, { statement: { predicateType: "https://cyclonedx.org/bom" } }));
        await refused(3, wrongKey, "it is for another image", "it is not the signature of an image");
        for (const change of [
          { bundle: { mediaType: "application/vnd.dev.sigstore.bundle+json;version=0.1" } },
          { bundle: { dsseEnvelope: undefined, messageSignature: {} } },
          { envelope: { payloadType: "application/json" } },
          { envelope: { signatures: [] } },
          { envelope: { payload: "no base64!" } },
        ])
          registry.refer(image.digest, attested(release, change));
        const large = attested(release, { bundle: { padding: "x".repeat(300_000) } });
        const huge = { ...large, digest: registry.put(Buffer.alloc(2_000_000, " ")) };
        const kind = { ...attested(), artifactType: "application/spdx+json" };
        const about = {
          ...attested(),
          annotations: { "dev.sigstore.bundle.predicateType": "https://cyclonedx.org/bom" },
        };
        registry.refer(image.digest, large, huge, kind, about, { digest: "sha256:abc", artifactType: BUNDLE_TYPE });
        await refused(3, wrongKey, "it is for another image", "it is not the signature of an image");
      });

      it("finds the signature among thousands of entries, of which it looks at few", async () => {
        mood.referrersPage = 2000;
        const noise = attested(stranger);
        const others = Array.from({ length: 5000 }, (_, at) => ({ ...noise, digest: digestOf(String(at)) }));
        registry.refer(image.digest, ...others);
        await refused(0);
        expect(registry.requests.length).to.be.below(45);
        const annotations = { "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1" };
        registry.refer(image.digest, { ...attested(), annotations });
        await bench.bring(open3(), place());
      });

      it("reads no list without end, neither in pages nor in one", async () => {
        mood.referrersPage = 1;
        registry.refer(image.digest, ...Array.from({ length: 100 }, () => attested(stranger)), attested());
        await refused(1, "it was made by no key of a rule for this name");
        const pages = registry.requests.filter(({ path }) => path.includes("/referrers/"));
        expect(pages).to.have.length(4);
        mood.referrersPage = 100_000;
        registry.refer(image.digest, { padding: "x".repeat(5_000_000) });
        await refused(0);
      });

      it("follows a list to no other server", async () => {
        const elsewhere = await startRegistry({ referrersPage: 100 });
        try {
          mood.mischief = (path, response) => {
            if (!path.includes("/referrers/")) return false;
            const link = `<${elsewhere.url}${path}>; rel="next"`;
            response.writeHead(200, { Link: link }).end(JSON.stringify({ manifests: [] }));
            return true;
          };
          await refused(0);
          expect(elsewhere.requests).to.deep.equal([]);
        } finally {
          await elsewhere.close();
        }
      });

      it("does not call it unsigned while the registry has too much to do", async () => {
        mood.mischief = (path, response) => {
          if (!path.includes("/referrers/")) return false;
          response.writeHead(429).end();
          return true;
        };
        expect(await failure(bench.bring(open3(), place()))).to.include({
          code: "CONTENT_UNAVAILABLE",
          retryable: true,
        });
      });
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
