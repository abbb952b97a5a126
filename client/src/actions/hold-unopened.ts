import { hasOpenResult } from "../chain-reads.ts";
import { formatTime } from "../format.ts";
import type { Job, JobReplica } from "./get-job.ts";
import type { VerifiedReplica } from "./verify-job.ts";

/** What is to become of the results that can still be paid. */
interface Decision {
  approved: JobReplica[];
  /** Nobody opened them: they are left to their challenge window. */
  held: JobReplica[];
}

/**
 * Parts the results that verify. One that is encrypted and was not opened may be an age header and noise: approving it
 * would give the challenge window away for something that nobody has seen.
 */
export function holdUnopened(
  job: Job,
  verified: readonly VerifiedReplica[],
  { approve = true, approveUnopened = false }: { approve?: boolean | undefined; approveUnopened?: boolean | undefined },
): Decision {
  if (!approve) return { approved: [], held: [] };
  const good = new Map(verified.filter(({ ok }) => ok).map((each) => [each.replica, each]));
  const open = job.replicas.filter(({ replica, state }) => hasOpenResult(state) && good.has(replica));
  const isHeld = ({ replica }: JobReplica) => !approveUnopened && good.get(replica)?.opened === false;
  return { approved: open.filter((each) => !isHeld(each)), held: open.filter(isHeld) };
}

/** Why a result is not approved, when it will be paid, and what can be done until then. */
export function heldSentence({ jobId, order }: Job, { replica, state, submittedAt }: JobReplica): string {
  const who = order.replicas === 1 ? "" : `replica ${replica}: `;
  const at = state === "submitted" ? `, at ${formatTime(submittedAt + order.challengeWindow)}` : "";
  return (
    `${who}not approved, for nothing here opens it: it will be paid when its challenge window ends${at}. ` +
    `\`berth resume ${jobId}\` with \`--identity FILE\` opens it, with \`--approve-unopened\` approves it all the same`
  );
}
