import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { type ImageConfig, type UnpackOptions, unpackImage } from "../image/unpack.ts";
import { type ImageLimits, verifyOciLayout } from "../image/verify.ts";
import { mustRun } from "./command.ts";
import type { Context } from "./types.ts";

/** An image as it lies unpacked on disk. */
export interface UnpackedImage {
  rootDir: string;
  config: ImageConfig;
  /** Stored bytes of what it was unpacked to. */
  bytes: number;
}

/** Verified images, each unpacked into a folder named by its manifest's digest. */
export interface BubblewrapImages {
  find(digest: string): UnpackedImage | undefined;
  /** Notes that it is needed now; across restarts. */
  noteUse(digest: string): void;
  /**
   * Verifies an OCI layout and unpacks it. The second time it is already there.
   * @throws MarketError what `verifyOciLayout` and `unpackImage` throw
   */
  take(layoutDir: string, digest: string, context: Context, limits: ImageLimits): Promise<void>;
  /** Drops images, least recently used first, until those left have at most `maxBytes`. Those in `inUse` stay. */
  evict(maxBytes: number, inUse: ReadonlySet<string>): Promise<string[]>;
}

/** An image used this lately may be waiting for its attempt to be prepared. */
const FRESH_MS = 10 * 60_000;
const NAME = /^sha256-[0-9a-f]{64}$/;

/** Opens the folder, and removes what a killed process left half unpacked. */
export function openBubblewrapImages(
  folder: string,
  policy: { userNamespace: { firstHostId: number }; imageIds: number },
): BubblewrapImages {
  const options: UnpackOptions = { firstHostId: policy.userNamespace.firstHostId, ids: policy.imageIds };
  mkdirSync(folder, { recursive: true, mode: 0o711 });
  for (const name of readdirSync(folder)) {
    if (!existsSync(join(folder, name, "image.json"))) rmSync(join(folder, name), { recursive: true, force: true });
  }
  const placeOf = (digest: string) => join(folder, digest.replace(":", "-"));
  const factsOf = (digest: string) => join(placeOf(digest), "image.json");

  const find = (digest: string): UnpackedImage | undefined => {
    if (!NAME.test(digest.replace(":", "-")) || !existsSync(factsOf(digest))) return undefined;
    const { config, bytes } = JSON.parse(readFileSync(factsOf(digest), "utf8")) as Omit<UnpackedImage, "rootDir">;
    return { rootDir: join(placeOf(digest), "root"), config, bytes };
  };
  return {
    find,
    noteUse: (digest) => utimesSync(factsOf(digest), new Date(), new Date()),
    async take(layoutDir, digest, context, limits) {
      if (find(digest)) return;
      const image = await verifyOciLayout(layoutDir, digest, context, limits);
      const staging = mkdtempSync(join(folder, "new-"));
      try {
        const config = await unpackImage(layoutDir, image, join(staging, "root"), options, context);
        const facts = { config, bytes: image.unpackedBytes };
        writeFileSync(join(staging, "image.json"), `${JSON.stringify(facts)}\n`, { mode: 0o600 });
        // All of it on disk before it has a name that stands for the whole.
        await mustRun("sync", ["--file-system", staging], {
          signal: context.signal,
          code: "IMAGE_IMPORT_FAILED",
          doing: "Writing the image to disk",
        });
        await rename(staging, placeOf(digest)).catch((error: NodeJS.ErrnoException) => {
          if (!find(digest)) throw error; // another attempt has unpacked the same one meanwhile
        });
      } finally {
        await rm(staging, { recursive: true, force: true });
      }
      context.log.info({ image: digest, bytes: image.bytes, layers: image.layers.length }, "image unpacked");
    },
    async evict(maxBytes, inUse) {
      const found = readdirSync(folder)
        .filter((name) => NAME.test(name))
        .map((name) => name.replace("-", ":"))
        .flatMap((digest) => {
          const bytes = find(digest)?.bytes;
          return bytes === undefined ? [] : [{ digest, bytes, usedAt: statSync(factsOf(digest)).mtimeMs }];
        });
      let total = found.reduce((sum, { bytes }) => sum + bytes, 0);
      const gone: string[] = [];
      for (const { digest, bytes, usedAt } of found.sort((a, b) => a.usedAt - b.usedAt)) {
        if (total <= maxBytes || Date.now() - usedAt < FRESH_MS) break;
        if (inUse.has(digest)) continue;
        await rm(factsOf(digest)); // from here on it is not there; what is left is taken away with it
        await rm(placeOf(digest), { recursive: true, force: true });
        total -= bytes;
        gone.push(digest);
      }
      return gone;
    },
  };
}
