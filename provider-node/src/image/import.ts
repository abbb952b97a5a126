import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { MarketError } from "@berth/protocol";
import type { PodmanStore } from "../engine/podman-store.ts";
import type { Context } from "../engine/types.ts";
import { askForImage } from "./find.ts";
import { imageName } from "./name.ts";
import { DEFAULT_IMAGE_LIMITS, type ImageLimits, type VerifiedImage, verifyOciLayout } from "./verify.ts";

/**
 * Brings a verified image into the node's store and returns its image id. The second time it is already there.
 * @throws MarketError what `verifyOciLayout` throws; IMAGE_IMPORT_FAILED
 */
export async function importImage(
  layoutDir: string,
  digest: string,
  store: PodmanStore,
  context: Context,
  limits: ImageLimits = DEFAULT_IMAGE_LIMITS,
): Promise<string> {
  const known = await askForImage(digest, store, context);
  if (known !== undefined) return known;
  const image = await verifyOciLayout(layoutDir, digest, context, limits);
  const staging = stage(resolve(layoutDir), image, store);
  try {
    const { exitCode, stderr } = await store.run(
      // A name made by podman from a path must be lower-case, so the path is ours and relative.
      ["pull", "--quiet", `--signature-policy=${join(store.folder, "conf/policy.json")}`, `oci:${stagedName(digest)}`],
      { signal: context.signal, cwd: staging },
    );
    if (exitCode !== 0) {
      throw new MarketError("IMAGE_IMPORT_FAILED", `podman could not take in the image ${digest}: ${stderr.trim()}.`);
    }
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  // The layout may have changed while podman read it, so what is stored counts.
  const id = await askForImage(digest, store, context);
  if (id === undefined || `sha256:${id}` !== image.configDigest) {
    await removeImage(digest, store, context);
    throw new MarketError(
      "IMAGE_DIGEST_MISMATCH",
      `The store holds ${id ?? "other bytes"} where ${image.configDigest} should be.`,
      {
        hint: "The layout changed while it was read. Import it from a folder that nobody writes to.",
      },
    );
  }
  context.log.info({ image: digest, bytes: image.bytes, layers: image.layers.length }, "image imported");
  return id;
}

/** Drops an image from the node's store. Nothing happens when it is not there. */
export async function removeImage(digest: string, store: PodmanStore, { signal }: Context): Promise<void> {
  await store.run(["rmi", "--force", imageName(digest)], { signal });
}

/** A layout whose index names exactly the verified manifest; the blobs stay where they are. */
function stage(layoutDir: string, { manifestDigest: digest, mediaType, manifest }: VerifiedImage, store: PodmanStore) {
  const staging = mkdtempSync(join(store.folder, "tmp/import-"));
  const layout = join(staging, stagedName(digest));
  mkdirSync(layout);
  symlinkSync(join(layoutDir, "blobs"), join(layout, "blobs"));
  writeFileSync(join(layout, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  const index = { schemaVersion: 2, manifests: [{ mediaType, digest, size: manifest.length }] };
  writeFileSync(join(layout, "index.json"), JSON.stringify(index));
  return staging;
}

function stagedName(digest: string): string {
  return digest.replace(":", "-");
}
