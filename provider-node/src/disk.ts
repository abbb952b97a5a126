import { statfsSync } from "node:fs";

/** Bytes that may still be written to the disk with `path` on it, without the share that only root may fill. */
export function freeBytesOf(path: string): number {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}
