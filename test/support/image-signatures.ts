import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { writeFileSync } from "node:fs";
import type { ImageSignature } from "../../provider-node/src/image/signature-policy.ts";
import { digestOf } from "./registry.ts";

/** Whoever signs images: a private key, and its public half as a file. */
export interface ImageSigner {
  publicKeyFile: string;
  /** Signs as cosign did before its version 3. Returns the payload and the manifest that carries the signature. */
  sign(digest: string, name?: string): ImageSignature & { payload: Buffer; signature: Buffer; manifest: Buffer };
  /** Signs as cosign does since: a statement in an envelope in a bundle, and the manifest that carries it. */
  bundle(digest: string, change?: BundleChange): ImageSignature & { bundle: Buffer; manifest: Buffer };
}

export interface BundleChange {
  statement?: object;
  envelope?: object;
  bundle?: object;
  /** Instead of the type and the payload that the envelope has. */
  signed?: (payload: Buffer) => Buffer;
}

export const BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json";

export function imageSigner(kind: "p256" | "ed25519", publicKeyFile: string): ImageSigner {
  const { privateKey, publicKey } =
    kind === "p256" ? generateKeyPairSync("ec", { namedCurve: "P-256" }) : generateKeyPairSync("ed25519");
  writeFileSync(publicKeyFile, publicKey.export({ type: "spki", format: "pem" }));
  return {
    publicKeyFile,
    sign(digest, name = "registry.example/team/app") {
      const payload = Buffer.from(JSON.stringify(payloadOf(digest, name)));
      const signature = signatureOf(payload, privateKey);
      return { form: "simple", payload, signature, manifest: signatureManifest(payload, signature) };
    },
    bundle(digest, change = {}) {
      const payload = Buffer.from(JSON.stringify({ ...statementOf(digest), ...change.statement }));
      const type = "application/vnd.in-toto+json";
      const signed = change.signed?.(payload) ?? envelopeBytes(type, payload);
      const signature = signatureOf(signed, privateKey);
      const signatures = [{ sig: signature.toString("base64") }];
      const hint = createHash("sha256")
        .update(publicKey.export({ type: "spki", format: "der" }))
        .digest("base64");
      const made = {
        mediaType: BUNDLE_TYPE,
        verificationMaterial: { publicKey: { hint } },
        dsseEnvelope: { payload: payload.toString("base64"), payloadType: type, signatures, ...change.envelope },
        ...change.bundle,
      };
      const bundle = Buffer.from(JSON.stringify(made));
      return { form: "statement", payload, signature, bundle, manifest: bundleManifest(digest, bundle) };
    },
  };
}

function statementOf(digest: string): object {
  return {
    _type: "https://in-toto.io/Statement/v1",
    subject: [{ digest: { sha256: digest.slice("sha256:".length) }, annotations: {} }],
    predicateType: "https://sigstore.dev/cosign/sign/v1",
    predicate: {},
  };
}

/** What a signature over a DSSE envelope is over. */
export function envelopeBytes(type: string, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${payload.length} `), payload]);
}

function bundleManifest(digest: string, bundle: Buffer): Buffer {
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      artifactType: BUNDLE_TYPE,
      config: { mediaType: "application/vnd.oci.empty.v1+json", digest: digestOf("{}"), size: 2 },
      layers: [{ mediaType: BUNDLE_TYPE, digest: digestOf(bundle), size: bundle.length }],
      subject: { mediaType: "application/vnd.oci.image.manifest.v1+json", digest, size: 1 },
    }),
  );
}

function payloadOf(digest: string, name: string): object {
  const image = { "docker-manifest-digest": digest };
  const identity = { "docker-reference": name };
  return { critical: { identity, image, type: "cosign container image signature" }, optional: null };
}

function signatureOf(payload: Buffer, key: KeyObject): Buffer {
  return sign(key.asymmetricKeyType === "ed25519" ? null : "sha256", payload, key);
}

/** The OCI artifact that cosign pushes as `sha256-<hex>.sig`. */
function signatureManifest(payload: Buffer, signature: Buffer): Buffer {
  const config = Buffer.from("{}");
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: {
        mediaType: "application/vnd.oci.image.config.v1+json",
        digest: digestOf(config),
        size: config.length,
      },
      layers: [
        {
          mediaType: "application/vnd.dev.cosign.simplesigning.v1+json",
          digest: digestOf(payload),
          size: payload.length,
          annotations: { "dev.cosignproject.cosign/signature": signature.toString("base64") },
        },
      ],
    }),
  );
}
