import { parseSpec, type Spec } from "@berth/protocol";

/** What a person has to say about a job; the rest has defaults. */
export interface SpecOptions {
  image: Spec["image"];
  command?: readonly string[] | undefined;
  entrypoint?: readonly string[] | undefined;
  env?: Readonly<Record<string, string>> | undefined;
  workdir?: string | undefined;
  inputs?: Spec["inputs"] | undefined;
  outputsPath?: string | undefined;
  outputsMaxBytes?: number | undefined;
  cpuMilli?: number | undefined;
  memoryMiB?: number | undefined;
  diskMiB?: number | undefined;
  /** Whole GPUs. */
  gpus?: number | undefined;
  /** The longest run. */
  runSeconds?: number | undefined;
  /** From the match until the command runs, fetching included. */
  startSeconds?: number | undefined;
  /** What stands between the command and the node's kernel. */
  isolation?: Spec["isolation"] | undefined;
  attestation?: Spec["attestation"] | undefined;
  /** May the command be started again after a crash of the machine? */
  idempotent?: boolean | undefined;
  retentionSeconds?: number | undefined;
}

/** What a job gets when nobody says otherwise. */
export const specDefaults = {
  cpuMilli: 1000,
  memoryMiB: 512,
  diskMiB: 512,
  gpus: 0,
  isolation: "container",
  runSeconds: 600,
  startSeconds: 300,
  outputsPath: "/out",
  retentionSeconds: 7 * 86_400,
} as const;

const MIB = 1024 * 1024;

/** A complete, checked spec. Pure. Throws SPEC_INVALID with every wrong field named. */
export function buildSpec(options: SpecOptions): Spec {
  const { entrypoint, workdir, diskMiB = specDefaults.diskMiB } = options;
  return parseSpec({
    version: 1,
    image: options.image,
    ...(entrypoint === undefined ? {} : { entrypoint: [...entrypoint] }),
    command: [...(options.command ?? [])],
    env: { ...options.env },
    ...(workdir === undefined ? {} : { workdir }),
    inputs: options.inputs ?? [],
    outputs: {
      path: options.outputsPath ?? specDefaults.outputsPath,
      maxBytes: options.outputsMaxBytes ?? diskMiB * MIB,
      maxFiles: 10_000,
    },
    resources: {
      cpuMilli: options.cpuMilli ?? specDefaults.cpuMilli,
      memoryMiB: options.memoryMiB ?? specDefaults.memoryMiB,
      diskMiB,
      gpus: options.gpus ?? specDefaults.gpus,
    },
    network: { mode: "none" },
    timeouts: {
      startSeconds: options.startSeconds ?? specDefaults.startSeconds,
      runSeconds: options.runSeconds ?? specDefaults.runSeconds,
    },
    isolation: options.isolation ?? specDefaults.isolation,
    idempotent: options.idempotent ?? false,
    verification: "optimistic",
    attestation: options.attestation ?? "none",
    retentionSeconds: options.retentionSeconds ?? specDefaults.retentionSeconds,
  });
}

/** Traits that an offer must have for this spec and this image. Pure. */
export function traitsOf(spec: Spec, architecture: string | undefined): string[] {
  const traits = [`isolation-${spec.isolation}`];
  if (architecture === "amd64" || architecture === "arm64") traits.push(`arch-${architecture}`);
  if (spec.attestation !== "none") traits.push(`attest-${spec.attestation}`);
  if (spec.network.mode !== "none") traits.push(`network-${spec.network.mode}`);
  return traits;
}
