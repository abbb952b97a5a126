import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Spec } from "@berth/protocol";
import pino from "pino";
import { type PackedImage, packImage } from "../../../client/src/image/index.ts";
import { type Config, configSchema } from "../../../provider-node/src/config.ts";
import {
  type BringOptions,
  type Images,
  type ImagesOptions,
  openImages,
} from "../../../provider-node/src/image/images.ts";
import { verifyOciLayout } from "../../../provider-node/src/image/verify.ts";
import { quiet } from "../../support/engine.ts";

const LIMITS = { maxBytes: 2 ** 24, maxUnpackedBytes: 2 ** 24 };

/** A folder, images that nobody runs, and a node's images without the node. All is gone after `close`. */
export function imageBench() {
  const dir = mkdtempSync(join(tmpdir(), "berth-images-"));
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: "debug" }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const target = join(dir, "staging/image");
  mkdirSync(join(dir, "staging"));
  return {
    dir,
    /** What the node wrote to its log. */
    lines,
    target,
    /** An image with one file, as a layout. */
    async pack(name: string, content: string | Uint8Array = name, gzipLevel = 0): Promise<PackedImage> {
      const rootfs = join(dir, `${name}-rootfs`);
      mkdirSync(rootfs, { recursive: true });
      writeFileSync(join(rootfs, "file"), content);
      return await packImage({ rootfs, outDir: join(dir, name), gzipLevel, config: { command: [`/${name}`] } });
    },
    /** The layout as a web server would offer it, in one piece. */
    archive(layout: string, ...how: string[]): string {
      const file = `${layout}.tar`;
      execFileSync("tar", [...how, "-C", layout, "-cf", file, "."]);
      return file;
    },
    open(settings: Partial<Config["images"]> = {}, change: Partial<ImagesOptions> = {}): Images {
      return openImages({
        dir: join(dir, "images"),
        settings: configSchema.shape.images.parse(settings),
        allowPrivate: true,
        minFreeBytes: 0,
        peersFor: () => [],
        now: () => 1000,
        ...change,
      });
    },
    /** Brings an image in as a job would have it, and says with what digest the engine was given it. */
    async bring(
      images: Images,
      image: Spec["image"],
      change: Partial<BringOptions> & { signal?: AbortSignal } = {},
    ): Promise<{ bytes: number; architecture: string }> {
      const { signal = quiet.signal, ...options } = change;
      let architecture = "";
      const use = async (layout: string) => {
        const verified = await verifyOciLayout(layout, image.digest, quiet, LIMITS);
        architecture = verified.architecture;
      };
      const fromIpfs = async () => {
        throw new Error("nobody has it on IPFS");
      };
      const { maxBytes } = LIMITS;
      const bytes = await images.bring(image, { target, maxBytes, fromIpfs, use, ...options }, { signal, log });
      return { bytes, architecture };
    },
    close: () => rmSync(dir, { recursive: true, force: true }),
  };
}

/** What a promise was rejected with. */
export async function failure(promise: Promise<unknown>): Promise<Error & { code: string; hint?: string }> {
  const error = await promise.then(
    () => new Error("it worked"),
    (thrown: unknown) => thrown,
  );
  return error as Error & { code: string };
}
