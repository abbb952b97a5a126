import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MarketError } from "@berth/protocol";
import { command } from "./command.ts";
import type { Context } from "./types.ts";

const CANDIDATES = ["crun", "runc"];
/** Host folders that make `/bin/true` run; only those that exist are shown, read-only. */
const SYSTEM_FOLDERS = ["/bin", "/lib", "/lib64", "/usr"];

/**
 * The first OCI runtime that really runs a process in a limited cgroup here. An installed one may refuse: crun does on
 * machines with hybrid cgroups.
 * @throws MarketError ENGINE_NO_RUNTIME with each one's reason
 */
export async function detectRuntime(folder: string, context: Context): Promise<string> {
  const reasons: string[] = [];
  for (const runtime of CANDIDATES) {
    const reason = await tryRuntime(runtime, folder, context);
    if (reason === undefined) return runtime;
    reasons.push(`${runtime}: ${reason}`);
  }
  throw new MarketError("ENGINE_NO_RUNTIME", `No OCI runtime runs here (${reasons.join("; ")}).`, {
    hint: "Run as root and install one: `apt-get install runc`.",
  });
}

async function tryRuntime(runtime: string, folder: string, { signal }: Context): Promise<string | undefined> {
  // The same name each time, so that what a killed try left behind is found.
  const id = `berth-probe-${createHash("sha256").update(folder).digest("hex").slice(0, 12)}-${runtime}`;
  const bundle = mkdtempSync(join(folder, "runtime-"));
  mkdirSync(join(bundle, "rootfs"));
  writeFileSync(join(bundle, "config.json"), JSON.stringify(trueBundle(id)));
  const run = () => command(runtime, ["run", "--bundle", bundle, id], { signal });
  try {
    let result = await run();
    if (result.exitCode !== 0) {
      await command(runtime, ["delete", "--force", id], { signal });
      result = await run();
    }
    if (result.exitCode === 0) return undefined;
    return result.stderr.trim().split("\n").at(-1) || `it ended with ${result.exitCode}`;
  } catch (error) {
    if (error instanceof MarketError && error.code === "TOOL_MISSING") return "not installed";
    throw error;
  } finally {
    rmSync(bundle, { recursive: true, force: true });
  }
}

/** The OCI bundle configuration of `/bin/true` in a limited cgroup of its own. */
export function trueBundle(id: string): object {
  const mounts = SYSTEM_FOLDERS.filter((path) => existsSync(path)).map((path) => ({
    destination: path,
    source: path,
    type: "bind",
    options: ["rbind", "ro"],
  }));
  return {
    ociVersion: "1.0.2",
    process: { user: { uid: 0, gid: 0 }, args: ["/bin/true"], cwd: "/", env: [] },
    root: { path: "rootfs" },
    mounts: [{ destination: "/proc", source: "proc", type: "proc" }, ...mounts],
    linux: {
      cgroupsPath: `/${id}`,
      namespaces: [{ type: "pid" }, { type: "mount" }, { type: "network" }, { type: "ipc" }, { type: "uts" }],
      resources: { memory: { limit: 64 * 1024 * 1024 } },
    },
  };
}
