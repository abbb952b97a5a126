import { documentHash, type Job, MarketError, parseSpec, type Spec, ZERO_ADDRESS } from "@berth/protocol";

/**
 * Reads the spec that a job commits to. Throws SPEC_INVALID when it is not one, does not hash to the job's `specHash`,
 * promises other resources or times than the job pays for, or asks for what nodes do not run.
 */
export function readSpec(bytes: Uint8Array, job: Job): Spec {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new MarketError("SPEC_INVALID", "The spec is not JSON.", { cause });
  }
  const spec = parseSpec(value);
  // The bytes were fetched by this hash; a spec in another form than the canonical one has no agreed meaning.
  if (documentHash(spec) !== job.specHash.toLowerCase()) {
    throw new MarketError("SPEC_INVALID", "The spec's canonical form does not have the hash that the request names.");
  }
  const wrong = disagreements(spec, job)[0];
  if (wrong !== undefined) throw new MarketError("SPEC_INVALID", wrong);
  return spec;
}

/** Every way in which a valid spec cannot be run under `job`, as sentences. Pure. */
export function disagreements(spec: Spec, job: Job): string[] {
  const found: string[] = [];
  for (const field of ["cpuMilli", "memoryMiB", "diskMiB", "gpus"] as const) {
    const [said, paid] = [spec.resources[field], job[field]];
    if (said !== paid) found.push(`The spec asks for ${said} ${field}, but the request for ${paid}.`);
  }
  const { runSeconds } = spec.timeouts;
  if (runSeconds !== job.maxSeconds) {
    found.push(`The spec's runSeconds are ${runSeconds}, but the request's maxSeconds ${job.maxSeconds}.`);
  }
  if (spec.network.mode !== "none") found.push(`The network mode "${spec.network.mode}" is not served; use "none".`);
  if (spec.resources.gpus > 0 && spec.isolation === "gvisor") found.push("Jobs in gVisor get no GPUs.");
  if (spec.isolation === "vm") found.push('The isolation "vm" is not served; use "gvisor" or "container".');
  if (spec.verification === "quorum" && job.verifier === ZERO_ADDRESS) {
    found.push("The spec asks for a quorum, but the request names no verifier.");
  }
  return found;
}
