import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type PackedImage, packImage } from "../../../client/src/image/pack.ts";

/** A tiny packed image in `dir`, which nobody will run. */
export async function tinyImage(dir: string): Promise<PackedImage> {
  const rootfs = join(dir, "rootfs");
  await mkdir(join(rootfs, "out"), { recursive: true });
  await writeFile(join(rootfs, "hello"), "hello");
  return await packImage({ rootfs, outDir: join(dir, "image"), config: { command: ["/hello"] } });
}
