import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { command, mustRun } from "./command.ts";
import type { Context } from "./types.ts";

export type VolumeKind = "loop-ext4" | "tmpfs";

/** A folder that holds at most so much: what a job writes to cannot fill the machine's disk. */
export interface Volume {
  kind: VolumeKind;
  /** The image file of a loop volume. */
  imagePath: string;
  mountPoint: string;
  bytes: number;
  inodes: number;
  /** Host user and group that own the folder. */
  ownerId: number;
}

const MIN_BYTES = 1024 * 1024;
const MOUNT_OPTIONS = "nosuid,nodev,noexec";

/**
 * Makes and mounts the volume; does nothing when it is mounted, mounts it again when only the image is there.
 * @throws MarketError ENGINE_VOLUME_FAILED
 */
export async function openVolume(volume: Volume, { signal }: Context): Promise<void> {
  const { kind, imagePath, mountPoint, bytes, inodes, ownerId } = volume;
  mkdirSync(mountPoint, { recursive: true, mode: 0o711 });
  if (!mountPoints().includes(mountPoint)) {
    const options = { signal, code: "ENGINE_VOLUME_FAILED", doing: "Making the output volume" };
    if (kind === "tmpfs") {
      const sizes = `size=${Math.max(bytes, MIN_BYTES)},nr_inodes=${inodes}`;
      await mustRun("mount", ["-t", "tmpfs", "-o", `${sizes},${MOUNT_OPTIONS}`, "tmpfs", mountPoint], options);
    } else {
      if (!existsSync(imagePath)) await makeImage(volume, options);
      await mustRun("mount", ["-o", `loop,${MOUNT_OPTIONS}`, imagePath, mountPoint], options);
    }
  }
  hand(mountPoint, ownerId); // each time: a crash may have come between the mount and this
}

/** Unmounts what is mounted there, waiting a little for the last user to go. The image file stays. */
export async function closeVolume(mountPoint: string, { signal, log }: Context): Promise<void> {
  const deadline = Date.now() + 5000;
  while (mountPoints().includes(mountPoint)) {
    const { exitCode, stderr } = await command("umount", [mountPoint], { signal });
    if (exitCode === 0) continue; // there may be a second mount on top
    if (Date.now() > deadline) {
      log.warn({ mountPoint, reason: stderr.trim() }, "mount was busy and is detached now");
      await command("umount", ["--lazy", mountPoint], { signal });
      return;
    }
    await pause(50);
  }
}

/** Which kind of volume works here, found by making one in `folder`. */
export async function detectVolumeKind(folder: string, context: Context): Promise<VolumeKind> {
  const place = join(folder, `volume-probe-${process.pid}`);
  const mountPoint = join(place, "mnt");
  const volume = { imagePath: join(place, "img"), mountPoint, bytes: MIN_BYTES, inodes: 16, ownerId: 0 };
  try {
    await openVolume({ kind: "loop-ext4", ...volume }, context);
    return "loop-ext4";
  } catch (error) {
    context.signal.throwIfAborted();
    context.log.warn({ err: error }, "no loop-mounted volumes here, outputs are held in memory");
    return "tmpfs";
  } finally {
    await closeVolume(mountPoint, context);
    rmSync(place, { recursive: true, force: true });
  }
}

/** Every mount point that this process sees, in the order mounted. */
export function mountPoints(): string[] {
  return readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .flatMap((line) => line.split(" ")[1] ?? [])
    .map((path) => path.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))));
}

async function makeImage({ imagePath, bytes, inodes }: Volume, options: Parameters<typeof mustRun>[2]): Promise<void> {
  const draft = `${imagePath}.new`;
  const size = Math.max(bytes, MIN_BYTES);
  rmSync(draft, { force: true });
  writeFileSync(draft, "", { mode: 0o600 });
  // Reserved on disk now, so that a promise of space is kept later; a file system without fallocate gets a sparse file.
  const { exitCode } = await command("fallocate", ["-l", String(size), draft], options);
  if (exitCode !== 0) truncateSync(draft, size);
  const most = Math.max(32, Math.floor(size / 4096));
  const flags = ["-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "nodiscard", "-N", String(Math.min(inodes, most))];
  await mustRun("mkfs.ext4", [...flags, draft], options);
  renameSync(draft, imagePath);
}

/** The job may be any user inside its namespace, and nobody else sees the folder. */
function hand(folder: string, ownerId: number): void {
  const left = join(folder, "lost+found");
  // The file system's own, not one that a job made: a job has no files of the host's user 0.
  if (lstatSync(left, { throwIfNoEntry: false })?.uid === 0) rmdirSync(left);
  chownSync(folder, ownerId, ownerId);
  chmodSync(folder, 0o777);
}
