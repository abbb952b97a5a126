/** What a probe proves. A node offers only what passed. */
export type Capability =
  | "container"
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
  /** The CDI name of the GPU that was tried. */
  device?: string;
  /** What was seen, for a person. */
  detail: string;
  /** What to do about it; only when not ok. */
  fix?: string;
}
