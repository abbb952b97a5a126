import { existsSync, mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { copyFile, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { digestSchema } from "@berth/protocol";
import { z } from "zod";
import { type ImageLimits, type VerifiedImage, verifyOciLayout } from "../image/verify.ts";
import type { Context } from "./types.ts";

const knownSchema = z.object({ imageId: z.string().regex(/^[0-9a-f]{64}$/), bytes: z.int().min(0) });

/** Verified images on the shared file system, each an OCI layout that compute nodes load when a job needs it. */
export interface SharedImages {
  /** podman's id of the image, if it is here. */
  idOf(digest: string): string | undefined;
  /** Notes that it is needed now. */
  noteUse(digest: string): void;
  /** Throws what `verifyOciLayout` throws. */
  add(layoutDir: string, digest: string, limits: ImageLimits, context: Context): Promise<void>;
  /** Drops images, least recently used first, until those left have at most `maxBytes`; never one of `needed`. */
  evict(maxBytes: number, needed: readonly string[]): Promise<string[]>;
}

/** An image used this lately may be waiting for its attempt to be made. */
const FRESH_MS = 10 * 60_000;
const KNOWN = "image.json";

/** Images in `<folder>/sha256-<hex>`. */
export function sharedImages(folder: string): SharedImages {
  const homeOf = (digest: string) => join(folder, digestSchema.parse(digest).replace(":", "-"));
  const knownOf = (digest: string) => {
    const path = join(homeOf(digest), KNOWN);
    return existsSync(path) ? knownSchema.parse(JSON.parse(readFileSync(path, "utf8"))) : undefined;
  };
  return {
    idOf: (digest) => knownOf(digest)?.imageId,
    noteUse: (digest) => {
      const now = new Date();
      utimesSync(join(homeOf(digest), KNOWN), now, now);
    },
    add: async (layoutDir, digest, limits, context) => {
      if (knownOf(digest)) return;
      const image = await verifyOciLayout(layoutDir, digest, context, limits);
      const draft = `${homeOf(digest)}.new`;
      await rm(draft, { recursive: true, force: true });
      await copyLayout(layoutDir, draft, image);
      // The layout may have changed while it was read, so what is shared counts.
      await verifyOciLayout(draft, digest, context, limits);
      const known = { imageId: image.configDigest.slice("sha256:".length), bytes: image.bytes };
      writeFileSync(join(draft, KNOWN), JSON.stringify(known));
      await rename(draft, homeOf(digest));
      context.log.info({ image: digest, bytes: image.bytes }, "image shared with the compute nodes");
    },
    evict: async (maxBytes, needed) => {
      mkdirSync(folder, { recursive: true });
      const images = (await readdir(folder)).flatMap((name) => {
        const { data: digest } = digestSchema.safeParse(name.replace("-", ":"));
        const known = digest === undefined ? undefined : knownOf(digest);
        if (digest === undefined || known === undefined) return [];
        return [{ digest, bytes: known.bytes, usedAt: statSync(join(homeOf(digest), KNOWN)).mtimeMs }];
      });
      let total = images.reduce((sum, { bytes }) => sum + bytes, 0);
      const gone: string[] = [];
      for (const { digest, bytes, usedAt } of images.sort((a, b) => a.usedAt - b.usedAt)) {
        if (total <= maxBytes || Date.now() - usedAt < FRESH_MS) break;
        if (needed.includes(digest)) continue;
        await rename(homeOf(digest), `${homeOf(digest)}.new`); // gone at once for a compute node that looks
        await rm(`${homeOf(digest)}.new`, { recursive: true });
        total -= bytes;
        gone.push(digest);
      }
      return gone;
    },
  };
}

/** Manifest, configuration and layers, and an index that names exactly this manifest. */
async function copyLayout(from: string, to: string, image: VerifiedImage) {
  const { manifestDigest, mediaType, manifest, configDigest, layers } = image;
  await mkdir(join(to, "blobs/sha256"), { recursive: true });
  for (const digest of new Set([manifestDigest, configDigest, ...layers.map((layer) => layer.digest)])) {
    const blob = join("blobs/sha256", digest.slice("sha256:".length));
    await copyFile(join(from, blob), join(to, blob));
  }
  const index = { schemaVersion: 2, manifests: [{ mediaType, digest: manifestDigest, size: manifest.length }] };
  writeFileSync(join(to, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  writeFileSync(join(to, "index.json"), JSON.stringify(index));
}
