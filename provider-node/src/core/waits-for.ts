import type { AttemptRow, JobRow } from "../store/journal.ts";
import { deadlinesOf } from "./deadlines.ts";
import { isBusy } from "./states.ts";

/** What has to happen next for an attempt, and until when, in unix seconds. Pure. */
export interface WaitsFor {
  what: string;
  until: number | null;
}

/** Null when nothing is ever done for it again. */
export function waitsFor(job: JobRow, attempt: AttemptRow): WaitsFor | null {
  const { startBy, submitBy, settleBy, acceptBy } = deadlinesOf(job, attempt.facts.spec);
  if (job.chain === "dropped" && isBusy(attempt.state))
    return { what: "the chain to bring its match back, after a reorganisation", until: null };
  switch (attempt.state) {
    case "matched":
    case "fetching":
      return { what: "its spec, image and inputs", until: startBy };
    case "prepared":
      return { what: "its attestation or its start", until: startBy };
    case "attested":
      return { what: "its start", until: startBy };
    case "running":
      return { what: "its command to end", until: submitBy };
    case "exited":
      return { what: "its outputs to be collected", until: submitBy };
    case "collected":
      return { what: "its outputs to be published", until: submitBy };
    case "published":
    case "submitting":
      return { what: "its result to be mined", until: submitBy };
    case "submitted":
      return { what: "its result to be deep enough in the chain", until: settleBy };
    case "final":
      if (job.chain === "disputed") return { what: "its arbiter to rule", until: settleBy };
      if (job.chain === "judging") return { what: "its verifier to judge", until: settleBy };
      return { what: "the requester's approval or the end of the challenge window", until: settleBy };
    case "declined":
      return { what: "the refusal to be mined", until: acceptBy };
    case "expired":
    case "cancelled":
      return { what: "its container to be cleaned up", until: null };
    case "cleaned":
    case "retried":
      return null;
  }
}
