import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";

/** A real file system of a few hundred MiB: what fills it does not fill the machine's. */
export interface SmallDisk {
  /** Fills it up until no more than `keepBytes` are free. */
  fill(keepBytes?: number): void;
  /** Takes away what filled it. */
  makeRoom(): void;
  unmount(): Promise<void>;
}

/** @param image a file beside it, which goes with the folder that it is in */
export async function mountSmallDisk(mountPoint: string, image: string, mebibytes: number): Promise<SmallDisk> {
  mkdirSync(mountPoint, { recursive: true });
  await execa("truncate", ["-s", `${mebibytes}M`, image]);
  // Blocks of a page, as of any disk above 512 MiB: with smaller ones SQLite's shared memory has holes, and ends its process.
  await execa("mkfs.ext4", ["-q", "-F", "-m", "0", "-b", "4096", image]);
  await execa("mount", ["-o", "loop", image, mountPoint]);
  const ballast = join(mountPoint, "ballast");
  return {
    fill(keepBytes = 0) {
      const fd = openSync(ballast, "a");
      try {
        for (const size of [1 << 20, 4096, 1]) {
          while (freeBytes(mountPoint) - size >= keepBytes && append(fd, size));
        }
      } finally {
        closeSync(fd);
      }
    },
    makeRoom: () => rmSync(ballast, { force: true }),
    unmount: async () => void (await execa("umount", ["--lazy", mountPoint])),
  };
}

function freeBytes(path: string): number {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}

/** Returns whether there was room. */
function append(fd: number, size: number): boolean {
  try {
    return writeSync(fd, Buffer.alloc(size)) > 0;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOSPC") return false;
    throw error;
  }
}
