import { join } from "node:path";
import type { PackedImage } from "../../client/src/image/index.ts";
import * as recipes from "../../scripts/demo-job/image.ts";

/** Images are kept between runs of the tests, by content. */
const CACHE = join(import.meta.dirname, "../../.berth/cache/images");

/** Node and the Mandelbrot job: 130 MB. */
export function demoImage(): Promise<PackedImage> {
  return recipes.demoImage(CACHE);
}

/** A shell and its tools: 2 MB. */
export function busyboxImage(): Promise<PackedImage> {
  return recipes.busyboxImage(CACHE);
}
