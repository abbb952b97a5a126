import { z } from "zod";
import { path } from "./fields.ts";

/** Reaches Slurm and bash on the compute nodes, so it may have nothing that means something to a shell. */
const plainPath = z.string().regex(/^\/[\w./-]+$/, "must be an absolute path of letters, digits, and . _ - /");
const word = z.string().regex(/^[\w.-]+$/, "must be letters, digits, and . _ -");

/** A partition of a Slurm cluster that this node offers as one machine. */
export const slurmSchema = z.strictObject({
  partition: word,
  /** Folder that this machine and every compute node see under the same path. */
  sharedDir: plainPath,
  /** Folder on each compute node for the images and for running attempts. */
  localDir: plainPath.default("/var/lib/berth-slurm"),
  /** `SLURM_CONF` for Slurm's commands. Absent: Slurm's own default. */
  conf: path.optional(),
  /** Where Slurm's commands are. Absent: on the PATH. */
  binDir: path.optional(),
  /** More arguments for `sbatch`, such as `--account=market`. */
  sbatchArgs: z.array(z.string().regex(/^--?\w/, "must be an option")).default([]),
  /** One `squeue` for all attempts, at most this often. */
  pollMs: z.int().min(50).max(60_000).default(2000),
  /** How long the end of an attempt may take to show up on the shared folder, once its job is gone from Slurm. */
  graceSeconds: z.int().min(1).max(3600).default(60),
  /** Added to a job's own time for Slurm's time limit: fetching the image, copying the outputs. */
  marginSeconds: z.int().min(60).max(86_400).default(600),
  /** Memory of each compute node that is not offered. */
  reserveMiB: z.int().min(0).default(512),
  /** Name of the GPUs among Slurm's generic resources, and their CDI kind. */
  gres: word.default("gpu"),
  gpuKind: z
    .string()
    .regex(/^[\w.-]+\/[\w.-]+$/)
    .default("nvidia.com/gpu"),
});

export type SlurmConfig = z.infer<typeof slurmSchema>;
