import type { Evidence, Hex } from "@berth/protocol";
import type { Logger } from "pino";

/** What a node asks an attester to vouch for. */
export interface AttestRequest {
  /** From `reportData`: the 32 bytes that the quote must carry. */
  reportData: Hex;
  /** sha256 of the OCI platform manifest that is about to run, or runs. */
  imageDigest: Hex;
  /** `start` before the job's container starts, `heartbeat` while it runs. */
  phase: "start" | "heartbeat";
  signal?: AbortSignal;
}

/** What `doctor` shows, and what the node bases its TEE trait on. */
export interface AttesterProbe {
  /** Would `attest` succeed now? */
  available: boolean;
  /** One sentence for a person. */
  detail: string;
  /** What to do when it is not available. */
  hint?: string;
}

/** Produces evidence about this machine. Safe to call concurrently. */
export interface Attester {
  readonly type: Evidence["type"];
  /** Tries everything that `attest` needs without measuring anything. Throws only when `signal` aborts. */
  probe(context?: { signal?: AbortSignal }): Promise<AttesterProbe>;
  /** Throws a MarketError with a code that starts with TPM_ or ATTEST_; nothing half-made is ever returned. */
  attest(request: AttestRequest): Promise<Evidence>;
}

/** What every attester is built with. */
export interface AttesterContext {
  log: Logger;
  /** The wall clock, for `producedAt` and the endorsement's validity. */
  clock?: () => Date;
}
