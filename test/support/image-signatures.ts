import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { writeFileSync } from "node:fs";
import { digestOf } from "./registry.ts";

/** Whoever signs images: a private key, and its public half as a file. */
export interface ImageSigner {
  publicKeyFile: string;
  /** Signs as cosign does. Returns the payload and the manifest that carries the signature. */
  sign(digest: string, name?: string): { payload: Buffer; signature: Buffer; manifest: Buffer };
}

export function imageSigner(kind: "p256" | "ed25519", publicKeyFile: string): ImageSigner {
  const { privateKey, publicKey } =
    kind === "p256" ? generateKeyPairSync("ec", { namedCurve: "P-256" }) : generateKeyPairSync("ed25519");
  writeFileSync(publicKeyFile, publicKey.export({ type: "spki", format: "pem" }));
  return {
    publicKeyFile,
    sign(digest, name = "registry.example/team/app") {
      const payload = Buffer.from(JSON.stringify(payloadOf(digest, name)));
      const signature = signatureOf(payload, privateKey);
      return { payload, signature, manifest: signatureManifest(payload, signature) };
    },
  };
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
