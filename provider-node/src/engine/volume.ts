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
  statSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { command, mustRun } from "./command.ts";
import { shellWord } from "./shell-word.ts";
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
 * Makes and mounts volumes; does nothing for one that is mounted, mounts it again when only the image is there. One shell
 * does all of it: to start a program from a process as large as this one costs more than the program.
 * @throws MarketError ENGINE_VOLUME_FAILED
 */
export async function openVolumes(volumes: readonly Volume[], { signal }: Context): Promise<void> {
  for (const { mountPoint } of volumes) mkdirSync(mountPoint, { recursive: true, mode: 0o711 });
  const script = volumes.filter(({ mountPoint }) => !isMounted(mountPoint)).flatMap(stepsOf);
  if (script.length > 0) {
    const options = { signal, code: "ENGINE_VOLUME_FAILED", doing: "Making the output volume" };
    await mustRun("sh", ["-ec", script.join("\n")], options);
  }
  // Each time, for a crash may have come before this.
  for (const { imagePath, mountPoint, ownerId } of volumes) {
    if (existsSync(draftOf(imagePath))) renameSync(draftOf(imagePath), imagePath);
    hand(mountPoint, ownerId);
  }
}

export const openVolume = (volume: Volume, context: Context): Promise<void> => openVolumes([volume], context);

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

/** Lines of shell that make and mount one volume. */
function stepsOf({ kind, imagePath, mountPoint, bytes, inodes }: Volume): string[] {
  const size = Math.max(bytes, MIN_BYTES);
  const place = shellWord(mountPoint);
  if (kind === "tmpfs") {
    return [`mount -t tmpfs -o size=${size},nr_inodes=${inodes},${MOUNT_OPTIONS} tmpfs ${place}`];
  }
  if (existsSync(imagePath)) return [`mount -o loop,${MOUNT_OPTIONS} ${shellWord(imagePath)} ${place}`];
  const draft = shellWord(draftOf(imagePath));
  rmSync(draftOf(imagePath), { force: true });
  const most = Math.max(32, Math.floor(size / 4096));
  return [
    // Reserved on disk now, so that a promise of space is kept later; a file system without fallocate gets a sparse file.
    `umask 077; fallocate -l ${size} ${draft} 2>/dev/null || truncate -s ${size} ${draft}`,
    `mkfs.ext4 -q -F -m 0 -O ^has_journal -E nodiscard -N ${Math.min(inodes, most)} ${draft}`,
    `mount -o loop,${MOUNT_OPTIONS} ${draft} ${place}`,
  ];
}

/** What an image is called until it is whole, and mounted. */
function draftOf(imagePath: string): string {
  return `${imagePath}.new`;
}

/** Whether another file system begins at the folder: a volume is one, a bind mount may not be. */
function isMounted(folder: string): boolean {
  const here = lstatSync(folder, { throwIfNoEntry: false });
  return here !== undefined && here.dev !== statSync(join(folder, "..")).dev;
}

/** The job may be any user inside its namespace, and nobody else sees the folder. */
function hand(folder: string, ownerId: number): void {
  const left = join(folder, "lost+found");
  // The file system's own, not one that a job made: a job has no files of the host's user 0.
  if (lstatSync(left, { throwIfNoEntry: false })?.uid === 0) rmdirSync(left);
  chownSync(folder, ownerId, ownerId);
  chmodSync(folder, 0o777);
}
