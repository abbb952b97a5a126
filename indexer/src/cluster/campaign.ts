import { MarketError } from "@berth/protocol";
import type { Logger } from "pino";
import type { Candidate, Lease } from "./lease.ts";
import { pause } from "./pause.ts";

/** Between two looks at whether the leader is gone. A look that waited for the lock would hold back the server's cleaning. */
const LOOK_MS = 200;

export interface CampaignOptions {
  candidate: Candidate;
  /** Already held, if any. */
  lease: Lease | undefined;
  /** Resolves when the work of a leader runs; `done` rejects with what ended it. */
  startLeading(lease: Lease): Promise<{ done: Promise<void> }>;
  /** The lease is over, and the work with it. */
  stopLeading(): void;
  signal: AbortSignal;
  log: Logger;
}

/**
 * Leads whenever nobody else does, until `signal` aborts. With a lease this resolves when the work runs. `done` rejects
 * with what ended the work; a lease that is lost ends nothing but the lead.
 */
export async function startCampaign(options: CampaignOptions): Promise<{ done: Promise<void> }> {
  const { candidate, startLeading, stopLeading, signal, log } = options;
  const first = options.lease === undefined ? undefined : await begin(options.lease);
  return { done: run() };

  async function run(): Promise<void> {
    let leading = first;
    while (!signal.aborted) {
      leading ??= await begin(await nextLease());
      if (leading === undefined) await pause(LOOK_MS, signal);
      else await serve(leading);
      leading = undefined;
    }
  }

  async function begin(lease: Lease | undefined) {
    if (lease === undefined) return undefined;
    try {
      const { done } = await startLeading(lease);
      log.info("leading");
      return { lease, done };
    } catch (error) {
      const passes = mayPass(lease, error); // closing a lease looks like losing it
      stopLeading();
      await lease.close();
      if (signal.aborted || !passes) throw error;
      log.warn({ err: error }, "could not begin to lead");
      return undefined;
    }
  }

  async function serve({ lease, done }: { lease: Lease; done: Promise<void> }): Promise<void> {
    try {
      await done;
      if (!signal.aborted) log.warn("the connection that made this indexer the leader was lost");
    } catch (error) {
      if (!mayPass(lease, error)) throw error;
      log.warn({ err: error }, "leads no more");
    } finally {
      stopLeading();
      await lease.close();
    }
  }

  async function nextLease(): Promise<Lease | undefined> {
    let failed = false;
    while (!signal.aborted) {
      try {
        const lease = await candidate.tryToLead();
        if (lease !== undefined) return lease;
        failed = false;
      } catch (err) {
        if (!failed) log.warn({ err }, "the database does not answer");
        failed = true;
      }
      await pause(LOOK_MS, signal);
    }
    return undefined;
  }
}

/** Says the error nothing but that the database was away for a moment? */
function mayPass({ lost }: Lease, error: unknown): boolean {
  return lost.aborted || (error instanceof MarketError && error.retryable);
}
