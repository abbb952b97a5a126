import { statfsSync } from "node:fs";
import { command } from "./engine/command.ts";

/** Bytes that may still be written to the disk with `path` on it, without the share that only root may fill. */
export function freeBytesOf(path: string): number {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}

/** Bytes on disk of everything in `dir`; undefined when they cannot be counted. `options` are more of `du`. */
export async function usedBytesOf(
  dir: string,
  { signal }: { signal: AbortSignal },
  options: readonly string[] = [],
): Promise<number | undefined> {
  const { stdout } = await command("du", ["--summarize", "--block-size=1", ...options, dir], { signal });
  const bytes = Number.parseInt(stdout, 10); // files that vanish meanwhile make du fail after its sum
  return Number.isNaN(bytes) ? undefined : bytes;
}

/** `SQLITE_FULL`, and `SQLITE_IOERR_SHMSIZE`: not even what the processes of a database share finds room. */
const DATABASE_FULL: readonly unknown[] = [13, 4874];

/** Did something fail for want of room on a disk? The system says so in one way, and the database in another. */
export function isDiskFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code, errcode } = error as { code?: unknown; errcode?: unknown };
  return code === "ENOSPC" || DATABASE_FULL.includes(errcode) || isDiskFull(error.cause);
}
