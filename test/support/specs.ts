import type { Spec } from "@berth/protocol";

/** A valid spec. */
export function aSpec(replaced: Partial<Spec> = {}): Spec {
  return {
    version: 1,
    image: {
      digest: `sha256:${"ab".repeat(32)}`,
      cid: "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
    },
    command: ["node", "job.mjs"],
    env: { LANG: "C" },
    inputs: [],
    outputs: { path: "/out", maxBytes: 1_000_000, maxFiles: 100 },
    resources: { cpuMilli: 1000, memoryMiB: 512, diskMiB: 128, gpus: 0 },
    network: { mode: "none" },
    timeouts: { startSeconds: 120, runSeconds: 60 },
    isolation: "container",
    idempotent: true,
    verification: "optimistic",
    attestation: "none",
    retentionSeconds: 3600,
    ...replaced,
  };
}
