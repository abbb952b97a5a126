import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { MarketError } from "@berth/protocol";
import type { SlurmConfig } from "../config/slurm.ts";
import { policyHash } from "./sandbox-policy.ts";
import type { SlurmCluster } from "./slurm-cluster.ts";
import { readFields } from "./slurm-end.ts";
import { writeProbe } from "./slurm-script.ts";
import type { Context, EngineFacts } from "./types.ts";
import type { VolumeKind } from "./volume.ts";

export interface ProbeParts {
  slurm: SlurmConfig;
  cluster: SlurmCluster;
  /** This node's id on the cluster, and its folder on what the compute nodes share. */
  id: string;
  home: string;
  script: string;
  volume: VolumeKind;
}

/** A full cluster has no place for a probe. */
const PROBE_PATIENCE_MS = 60_000;
/** How often the shared folder is looked at for an end. */
const LOOK_MS = 100;

/** What a compute node can do, found out by a job there. */
export async function probeCluster(parts: ProbeParts, context: Context): Promise<EngineFacts> {
  const { home, script, volume, cluster, id, slurm } = parts;
  mkdirSync(join(home, "probes"), { recursive: true, mode: 0o700 });
  const folder = mkdtempSync(join(home, "probes", "berth-probe-"));
  const name = basename(folder).toLowerCase();
  try {
    const batch = writeProbe(name, script, { home, folder, id, volume }, slurm);
    const order = { name, comment: `berth:${id}`, script: batch, cpus: 1, memoryMiB: 64, gpus: 0, seconds: 300 };
    await cluster.submit(order, context);
    const until = Date.now() + PROBE_PATIENCE_MS;
    while (!existsSync(join(folder, "exit"))) {
      if (Date.now() > until) {
        throw new MarketError(
          "ENGINE_CLUSTER_BUSY",
          `No node of ${slurm.partition} ran a probe in ${PROBE_PATIENCE_MS / 1000} s.`,
          {
            hint: "Look at `squeue` and `sinfo`, and try again when a node is free.",
            retryable: true,
          },
        );
      }
      await pause(LOOK_MS, undefined, { signal: context.signal });
    }
    const found = readFields(readFileSync(join(folder, "exit"), "utf8"));
    if (found["failed"] !== undefined)
      throw new MarketError("ENGINE_FAILED", `A compute node runs no container: ${found["failed"]}`);
    return {
      engine: "slurm",
      version: `${await cluster.version(context)}, podman ${found["podman"]}`,
      runtime: found["runtime"] ?? "",
      cgroupVersion: found["cgroup"] === "2" ? 2 : 1,
      volume: found["volume"] === "tmpfs" ? "tmpfs" : "loop-ext4",
      policyHash: policyHash(),
    };
  } finally {
    await cluster.cancel(name, { signal: AbortSignal.timeout(10_000) });
    rmSync(folder, { recursive: true, force: true });
  }
}
