import type { Logger } from "../log.ts";
import type { MachineDiagnosis, Proven } from "./doctor.ts";

/** What this machine has been proven to do, by the newest checks; nothing before the first. */
export interface Proof {
  note(found: MachineDiagnosis): void;
  proven(): Proven;
  /** These GPUs are being tried, and no others. */
  tries(devices: readonly string[]): void;
  /** Proven GPUs that a job may be given now. */
  gpus(): readonly string[];
  /** Undefined until the first checks have tried. */
  servesGvisor(): boolean | undefined;
}

export function createProof(log: Logger, hasEngine: () => boolean): Proof {
  let usable: Proven = { containers: false, mesh: false, gvisor: false, gpus: [], attestation: "none" };
  let servesGvisor: boolean | undefined;
  let tried: readonly string[] = [];
  return {
    note({ proven, checks }) {
      for (const { name, status, detail, fix } of checks)
        if (status === "fail") log.warn({ check: name, detail, fix }, "check of this machine failed");
      usable = proven;
      // Who was matched while it was offered is served all the same: the engine falls back on nothing else.
      servesGvisor = servesGvisor === true || proven.gvisor === true;
    },
    proven: () => ({ ...usable, containers: usable.containers && hasEngine() }),
    tries(devices) {
      tried = devices;
    },
    gpus: () => usable.gpus.filter((device) => !tried.includes(device)),
    servesGvisor: () => servesGvisor,
  };
}
