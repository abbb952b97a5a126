import type { Action, Situation } from "./states.ts";

/** How often a run that was lost is made again, where the spec allows it. */
export const MAX_ATTEMPTS = 3;
/** Seconds of the new branch in which a match that a reorganisation took away may come back. */
export const DROPPED_GRACE_SECONDS = 120;
/** Seconds for which the container of a final result stays, if the chain does not end the replica before. */
export const KEEP_ENDED_SECONDS = 600;
/** Seconds between two looks at something that should send a signal of its own. */
const LOOK_SECONDS = 15;
/** Seconds kept free before the submit deadline for publishing and sending. */
const SUBMIT_RESERVE_SECONDS = 15;

/**
 * The next action for one attempt. Pure. The chain is truth for obligation, the journal for progress, the engine for
 * liveness; what is `unknown` is waited for and never taken for gone. What cannot be taken back is done only while the
 * chain is followed, and an attempt is given up only once a block says that its time is over: a clock may be wrong, and a
 * chain may stand still.
 */
export function decide(situation: Situation): Action {
  const action = next(situation);
  return isFinal(action) && !situation.followed ? wait(LOOK_SECONDS) : action;
}

function isFinal(action: Action): boolean {
  switch (action.do) {
    case "enter":
      return action.outcome !== undefined || action.state === "expired" || action.state === "cancelled";
    case "decline":
      return action.reason !== null;
    case "retry":
    case "clean":
      return true;
    default:
      return false;
  }
}

function next(situation: Situation): Action {
  const { attempt, chain, now, blockTime } = situation;
  switch (attempt.state) {
    case "cleaned":
    case "retried":
      return { do: "nothing" };
    case "expired":
    case "cancelled":
      return { do: "clean" };
    case "declined":
      return whenDeclined(situation);
    default:
  }
  if (chain === "dropped") return whileDropped(situation);
  if (attempt.state === "final") return whenFinal(situation);
  if (isEnded(situation)) {
    return attempt.state === "submitted" || attempt.state === "submitting"
      ? enter("final")
      : { do: "enter", state: "expired", message: `The replica was ${chain} without a result of this node.` };
  }
  if (hasResult(chain)) return enter("final");
  // From here on the replica is active.
  if (attempt.isLease) return whenLeased(situation);
  // A result is owed.
  if (attempt.state === "submitted") return whenSubmitted(situation);
  if (attempt.state === "submitting") return whileSubmitting(situation);
  if (blockTime > attempt.submitBy) {
    return { do: "enter", state: "expired", message: "The submit window passed before there was a result." };
  }
  if (now > attempt.submitBy) return wait(LOOK_SECONDS);
  return working(situation);
}

function working(situation: Situation): Action {
  const { attempt, engine, now } = situation;
  switch (attempt.state) {
    case "matched":
      return whenMatched(situation);
    case "fetching":
      return { do: "prepare" };
    case "prepared":
      if (now > attempt.startBy) return tooLate();
      return attempt.attestation === "none" ? enter("attested") : { do: "attest" };
    case "attested":
      if (now > attempt.startBy) return tooLate();
      if (engine === "unknown") return wait(LOOK_SECONDS);
      // Nothing starts a container before `running` is written, so what is absent here has never run.
      if (engine === "absent") return { do: "remake" };
      return enter("running");
    case "running":
      return whileRunning(situation);
    case "exited":
      return { do: "collect" };
    case "collected":
      return { do: "publish" };
    case "published":
      return { do: "submit" };
    default:
      return { do: "nothing" };
  }
}

/** What this node cannot do, or its operator does not want, is given back while that is possible; then it is served. */
function whenMatched({ attempt, now, canServe, veto }: Situation): Action {
  if (now > attempt.acceptBy) return enter("fetching");
  if (!canServe) return decline("cannot-serve", "This node could not run containers.");
  // A later attempt is one of a job that was taken.
  const isUnwanted = veto?.mayDecline === true && attempt.attempt === 0;
  return isUnwanted ? { do: "decline", reason: veto.reason } : enter("fetching");
}

/** The intent to start is written: from now on only the engine knows whether the command began. */
function whileRunning({ attempt, engine, now }: Situation): Action {
  switch (engine) {
    case "unknown":
      return wait(LOOK_SECONDS);
    case "created":
      return now > attempt.startBy ? tooLate() : { do: "start" };
    case "running":
      return { do: "await-exit" };
    case "exited":
      return enter("exited");
    case "absent":
    case "lost": {
      const timeLeft = attempt.submitBy - now - SUBMIT_RESERVE_SECONDS;
      if (attempt.idempotent && attempt.attempt + 1 < MAX_ATTEMPTS && timeLeft > attempt.maxSeconds)
        return { do: "retry" };
      return {
        do: "enter",
        state: "collected",
        outcome: "lost",
        message: "The machine or its container engine restarted during the run, so how it ended is not known.",
      };
    }
  }
}

/** No offer of this node takes leases. One that comes all the same is given back before it costs the bond. */
function whenLeased({ attempt, now, blockTime }: Situation): Action {
  if (now <= attempt.acceptBy) return decline("lease", "This node serves no leases.");
  if (blockTime <= attempt.acceptBy) return wait(LOOK_SECONDS);
  return { do: "enter", state: "expired", message: "This node serves no leases, and it was too late to decline." };
}

/**
 * Everything that matters is in the content store by now; the container is kept a while for people to look at, and as
 * long as the result may be judged or disputed.
 */
function whenFinal(situation: Situation): Action {
  const { attempt, chain, now } = situation;
  // A reorganisation took the result away: a result is owed again.
  if (chain === "active" && now <= attempt.submitBy) return enter("submitting");
  const isContested = chain === "judging" || chain === "disputed";
  const keepUntil = attempt.since + KEEP_ENDED_SECONDS;
  const left = (isContested ? Math.max(keepUntil, attempt.settleBy) : keepUntil) - now;
  return isEnded(situation) || left <= 0 ? { do: "clean" } : wait(Math.min(left, LOOK_SECONDS));
}

/** The outbox owns the transaction: another is made only once it is known to have failed while a result is still owed. */
function whileSubmitting({ attempt, transaction, now, blockTime }: Situation): Action {
  if (transaction === "mined") return enter("submitted");
  if (transaction === "none") return { do: "submit" };
  if (transaction === "pending") return wait(LOOK_SECONDS);
  if (now <= attempt.submitBy) return { do: "submit" };
  if (blockTime <= attempt.submitBy) return wait(LOOK_SECONDS);
  return { do: "enter", state: "expired", message: "The result could not be put on chain in time." };
}

/** A reorganisation may take a mined result away, and its transaction may then fail. */
function whenSubmitted({ transaction }: Situation): Action {
  return transaction === "failed" ? enter("submitting") : wait(LOOK_SECONDS);
}

/** The state is written before the refusal is in the outbox, so a crash can lose it; and it can come too late. */
function whenDeclined(situation: Situation): Action {
  const { attempt, chain, transaction, now, blockTime } = situation;
  if (isEnded(situation) || blockTime > Math.max(attempt.acceptBy, attempt.submitBy)) return { do: "clean" };
  const isOwed = chain === "active";
  if (isOwed && transaction === "none" && now <= attempt.acceptBy) return { do: "decline", reason: null };
  if (isOwed && !attempt.isLease && (transaction === "none" || transaction === "failed")) return enter("fetching");
  return wait(LOOK_SECONDS);
}

/**
 * A reorganisation may bring the same match again in another block, so work is kept until enough of the new branch was
 * followed without it; nothing new begins.
 */
function whileDropped({ engine, droppedAt, blockTime }: Situation): Action {
  if (droppedAt === null || blockTime - droppedAt <= DROPPED_GRACE_SECONDS) {
    return engine === "running" ? { do: "await-exit" } : wait(LOOK_SECONDS);
  }
  return { do: "enter", state: "cancelled", message: "The block of the match is no longer on the chain." };
}

function hasResult(chain: Situation["chain"]): boolean {
  return chain === "submitted" || chain === "judging" || chain === "disputed";
}

function isEnded({ chain }: Situation): boolean {
  return chain === "settled" || chain === "refunded";
}

function tooLate(): Action {
  const message = "The job could not be started within its startSeconds.";
  return { do: "enter", state: "collected", outcome: "cancelled", message };
}

function enter(state: Situation["attempt"]["state"]): Action {
  return { do: "enter", state };
}

function decline(code: string, text: string): Action {
  return { do: "decline", reason: { code, text, values: {} } };
}

function wait(seconds: number): Action {
  return { do: "wait", seconds };
}
