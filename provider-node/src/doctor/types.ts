/** What a probe proves. A node offers only what passed. */
export type Capability =
  | "container"
  /** Enough of the disk is free just now. */
  | "disk"
  | "limits"
  | "network-none"
  | "output-limit"
  | "image-verification"
  | "mesh"
  | "gvisor"
  | "gpu";

/** One thing tried on this machine. */
export interface Probe {
  name: string;
  capability: Capability;
  ok: boolean;
  /** The GPUs that it proves: CDI names, or as many names as a Slurm partition has of that kind. */
  devices?: readonly string[];
  /** It could not be tried just now, which says nothing either way; only when not ok. */
  isUntried?: boolean;
  /** What was seen, for a person. */
  detail: string;
  /** What to do about it; only when not ok. */
  fix?: string;
}
