import { createHash } from "node:crypto";
import { mkdirSync, realpathSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MarketError } from "@berth/protocol";
import { type BubblewrapImages, openBubblewrapImages } from "./bubblewrap-images.ts";
import { BUBBLEWRAP_POLICY } from "./bubblewrap-policy.ts";
import { seccompProgram } from "./bubblewrap-seccomp.ts";
import { command, mustRun } from "./command.ts";
import { type Ledger, openLedger } from "./ledger.ts";
import type { Context } from "./types.ts";
import { detectVolumeKind, type VolumeKind } from "./volume.ts";

/** Where the engine keeps images, attempts and its record of what it made. Apart from other nodes' on this machine. */
export interface BubblewrapStore {
  /** Twelve hexadecimal digits of the data folder's path. */
  id: string;
  /** `<data folder>/bubblewrap` */
  folder: string;
  /** Empty folder; each attempt mounts its stage on it, in a mount namespace of its own. */
  stage: string;
  /** The system call filter, compiled. */
  filterFile: string;
  version: string;
  volumeKind: VolumeKind;
  ledger: Ledger;
  images: BubblewrapImages;
  /** Drops the runtime folder. Images stay on disk. */
  release(): void;
}

const RUN_FOLDER = "/run/berth";
/** Debian has them in packages that every machine has. */
const PROGRAMS = ["bash", "bwrap", "setpriv", "unshare", "timeout", "stdbuf", "mount"];

/**
 * Opens the store of the node whose data is in `dataDir`, and finds out by running whether bwrap makes sandboxes here;
 * without `prove` it does not, for taking things away needs none.
 * @throws MarketError ENGINE_NEEDS_ROOT, TOOL_MISSING, ENGINE_NO_RUNTIME, ENGINE_NO_SECCOMP
 */
export async function openBubblewrapStore(
  dataDir: string,
  context: Context,
  { prove = true } = {},
): Promise<BubblewrapStore> {
  if (process.getuid?.() !== 0) {
    throw new MarketError("ENGINE_NEEDS_ROOT", "The engine needs root: limits and volumes are real only then.", {
      hint: "Start the node as root, or from its systemd unit.",
    });
  }
  mkdirSync(dataDir, { recursive: true, mode: 0o711 });
  const home = realpathSync(dataDir);
  const id = createHash("sha256").update(home).digest("hex").slice(0, 12);
  const folder = join(home, "bubblewrap");
  const runFolder = join(RUN_FOLDER, `${id}-bubblewrap`);
  const stage = join(runFolder, "stage");
  const ledger = openLedger(join(folder, "ledger.jsonl"));
  ledger.make({ kind: "folder", what: runFolder, owner: "" });
  mkdirSync(stage, { recursive: true, mode: 0o711 });
  mkdirSync(join(folder, "tmp"), { recursive: true });
  const filterFile = join(folder, "filter.bpf");
  writeFileSync(filterFile, seccompProgram(process.arch));

  const version = prove ? await provenVersion(filterFile, context) : "";
  return {
    id,
    folder,
    stage,
    filterFile,
    version,
    volumeKind: prove ? await detectVolumeKind(join(folder, "tmp"), context) : "loop-ext4",
    ledger,
    images: openBubblewrapImages(join(folder, "images"), BUBBLEWRAP_POLICY),
    release: () => {
      rmSync(runFolder, { recursive: true, force: true });
      try {
        rmdirSync(RUN_FOLDER);
      } catch {
        // other nodes are in it, or another has removed it
      }
      ledger.gone({ kind: "folder", what: runFolder, owner: "" });
    },
  };
}

async function provenVersion(filterFile: string, context: Context): Promise<string> {
  for (const program of PROGRAMS) await mustBeThere(program, context);
  const { stdout } = await command("bwrap", ["--version"], { signal: context.signal });
  await mustSandbox(filterFile, context);
  return stdout.trim().split(" ").at(-1) ?? "";
}

async function mustBeThere(program: string, { signal }: Context): Promise<void> {
  const { exitCode } = await command("/bin/sh", ["-c", 'command -v "$1"', "sh", program], { signal });
  if (exitCode === 0) return;
  throw new MarketError("TOOL_MISSING", `The program "${program}" is not installed.`, {
    hint: "`apt-get install bubblewrap util-linux coreutils mount e2fsprogs`",
  });
}

/** A sandbox around `true`, made as the user that jobs are, with the filter that they get. */
async function mustSandbox(filterFile: string, { signal }: Context): Promise<void> {
  const { firstHostId } = BUBBLEWRAP_POLICY.userNamespace;
  const user = `setpriv --reuid=${firstHostId} --regid=${firstHostId} --clear-groups`;
  const sandbox = "bwrap --unshare-all --unshare-user --uid 0 --gid 0 --seccomp 8 --ro-bind / / --proc /proc true";
  try {
    await mustRun("/bin/sh", ["-c", `cd / && exec ${user} ${sandbox} 8<"$1"`, "sh", filterFile], {
      signal,
      code: "ENGINE_NO_RUNTIME",
      doing: "Making a sandbox with bwrap",
    });
  } catch (error) {
    if (!(error instanceof MarketError) || error.code !== "ENGINE_NO_RUNTIME") throw error;
    throw new MarketError("ENGINE_NO_RUNTIME", error.message, {
      hint: "Allow user namespaces: `sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000`, and on Ubuntu `sysctl kernel.apparmor_restrict_unprivileged_userns=0`.",
      cause: error,
    });
  }
}
