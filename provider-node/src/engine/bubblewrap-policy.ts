import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { MarketError } from "@berth/protocol";
import type { ImageConfig } from "../image/unpack.ts";
import { SECCOMP_POLICY } from "./bubblewrap-seccomp.ts";
import { noGvisor } from "./errors.ts";
import { checkSpec, containerPath, SANDBOX_POLICY, tmpMiB } from "./sandbox-policy.ts";
import type { AttemptSpec } from "./types.ts";

/** The same sandbox as podman's, as bubblewrap builds it; where they differ, this one says how. */
export const BUBBLEWRAP_POLICY = {
  ...SANDBOX_POLICY,
  engine: "bubblewrap",
  seccomp: SECCOMP_POLICY,
  /** One id is mapped: the image's user. bwrap itself runs as that user, never as root. */
  userNamespace: { ...SANDBOX_POLICY.userNamespace, ids: 1 },
  /** Ids that files of an image may have. */
  imageIds: SANDBOX_POLICY.userNamespace.ids,
  processesPerUser: "not limited; see pidsLimit",
  gpus: false,
} as const;

/** Files of the kernel that say more about the machine than a job needs. */
const MASKED_FILES = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug"];
const MASKED_FOLDERS = ["/proc/acpi", "/proc/asound", "/proc/scsi"];
/** What programs read to count processors. */
const SHOWN = ["/sys/devices/system/cpu", "/sys/devices/system/node"];
/** bwrap takes 9000 arguments in all. */
const MAX_ARGS = 8500;

/** What bwrap is to do for one attempt, apart from the command. */
export interface BubblewrapPlan {
  /** Host paths for the stage, where each appears under its number: the image's root, the outputs, then the inputs. */
  sources: string[];
  args: string[];
  command: string[];
  workdir: string;
  tmpBytes: number;
}

/** What the plan depends on besides the attempt. */
export interface BubblewrapPlace {
  /** The unpacked image. */
  rootDir: string;
  image: ImageConfig;
  outputDir: string;
  /** Folder on which the stage is mounted, for this attempt alone. */
  stage: string;
}

/**
 * Builds the sandbox. The root is made of read-only binds of what the image has at its top, so that places for mounts
 * can be made beside them without an overlay.
 * @throws MarketError SPEC_INVALID, SPEC_REFUSED
 */
export function bubblewrapPlan(spec: AttemptSpec, place: BubblewrapPlace): BubblewrapPlan {
  checkSpec(spec);
  if (spec.isolation === "gvisor") throw noGvisor("bubblewrap");
  if (spec.resources.gpus > 0) {
    throw new MarketError("SPEC_REFUSED", "This node's engine cannot give GPUs to jobs.", {
      hint: "Ask for a node that offers them.",
    });
  }
  const { image, stage } = place;
  const mounts = [
    { hostDir: place.outputDir, path: containerPath(spec.outputPath), option: "--bind" },
    ...spec.inputs.map(({ hostDir, path }) => ({
      hostDir: source(hostDir),
      path: containerPath(path),
      option: "--ro-bind",
    })),
  ];
  const paths = mounts.map(({ path }) => path);
  const workdir = spec.workdir ?? image.workdir;
  const env = { HOME: image.home, HOSTNAME: "job", ...image.env, ...spec.env };
  const p = BUBBLEWRAP_POLICY;
  const args = [
    ...["--unshare-all", "--unshare-user", "--uid", String(image.uid), "--gid", String(image.gid)],
    ...["--hostname", "job", "--new-session", "--die-with-parent", "--cap-drop", "ALL"],
    ...rootArgs(place.rootDir, `${stage}/0`, ["/proc", "/dev", "/sys", "/tmp", ...paths]),
    ...["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"],
    ...MASKED_FILES.filter((path) => existsSync(path)).flatMap((path) => ["--ro-bind", "/dev/null", path]),
    ...MASKED_FOLDERS.filter((path) => existsSync(path)).flatMap((path) => ["--tmpfs", path, "--remount-ro", path]),
    ...["--dir", "/sys", ...SHOWN.flatMap((path) => ["--ro-bind-try", path, path])],
    ...["--dev", "/dev", "--remount-ro", "/dev"],
    ...["--perms", "1777", "--size", String(p.sharedMemoryMiB * 2 ** 20), "--tmpfs", "/dev/shm"],
    ...(paths.includes("/tmp") ? [] : ["--bind", `${stage}/tmp`, "/tmp"]),
    ...mounts.flatMap(({ path, option }, at) => [option, `${stage}/${at + 1}`, path]),
    ...["--remount-ro", "/"],
    ...["--clearenv", ...Object.entries(env).flatMap(([name, value]) => ["--setenv", name, value])],
    ...["--chdir", workdir],
  ];
  if (args.length > MAX_ARGS) {
    throw new MarketError(
      "SPEC_REFUSED",
      "The image's top folder and the variables are too many for this node's engine.",
    );
  }
  const command = commandOf(spec, image);
  if ([...args, ...command].some((word) => word.includes("\0"))) {
    throw new MarketError("SPEC_INVALID", "The image's command, variables or links hold a NUL character.");
  }
  return {
    sources: [place.rootDir, ...mounts.map(({ hostDir }) => hostDir)],
    args,
    command,
    workdir,
    tmpBytes: tmpMiB(spec.resources.memoryMiB) * 2 ** 20,
  };
}

/** Arguments that show what `rootDir` has, but for what lies at one of `places`; folders above a place are rebuilt. */
export function rootArgs(rootDir: string, shownAs: string, places: readonly string[]): string[] {
  const args: string[] = [];
  const show = (inside: string) => {
    const entries = readdirSync(join(rootDir, inside), { withFileTypes: true });
    if (entries.length + args.length > MAX_ARGS) {
      throw new MarketError(
        "SPEC_REFUSED",
        `The image's folder "${inside}/" has too many entries for this node's engine.`,
      );
    }
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = `${inside}/${entry.name}`;
      const isAbove = places.some((placed) => placed.startsWith(`${path}/`));
      if (places.includes(path)) continue;
      if (isAbove && entry.isDirectory()) {
        args.push("--dir", path);
        show(path);
      } else if (isAbove) {
        // A link or file in the way of a mount gives way to it, as it does to podman's.
      } else if (entry.isSymbolicLink()) args.push("--symlink", readlinkSync(join(rootDir, path)), path);
      else args.push("--ro-bind", `${shownAs}${path}`, path);
    }
  };
  show("");
  return args;
}

/** As podman puts it together: an entrypoint of the spec takes the image's command away with the image's entrypoint. */
function commandOf({ entrypoint, command }: AttemptSpec, image: ImageConfig): string[] {
  const words = command.length > 0 || entrypoint !== undefined ? command : image.command;
  const all = [...(entrypoint ?? image.entrypoint), ...words];
  if (all.length > 0) return all;
  throw new MarketError("SPEC_INVALID", "Neither the spec nor its image names a command.", {
    hint: "Give the spec a command.",
  });
}

/** The stage is built from a list with one path on each line. */
function source(hostDir: string): string {
  if (!/[\n\0]/.test(hostDir)) return hostDir;
  throw new MarketError("ENGINE_PATH_REFUSED", `The host folder ${JSON.stringify(hostDir)} cannot be shown to a job.`);
}
