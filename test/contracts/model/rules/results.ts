import { chargeOfDown, depositOf, MODE, replicaCommitment, ZERO_ADDRESS, ZERO_BYTES32 } from "@berth/protocol";
import { slash, slashForSilence, unlockBond } from "../bonds.ts";
import { add } from "../money.ts";
import { refund, settle } from "../payment.ts";
import { commits, isNode, replicaOf, State, vacate, withReplica } from "../replicas.ts";
import { type Answer, type Calls, type Rule, type Scene, type Settlement, those } from "../scene.ts";
import type { Storage } from "../storage.ts";

export const submit: Rule<Calls["submit"]> = {
  refusals: (scene, { terms, claim }) => {
    const { job, assignment } = terms;
    const replica = replicaOf(scene.storage, terms);
    const verdict = verdictOf(scene, terms.job.verifier);
    return those({
      NotNode: !isNode(scene, assignment.operator),
      WrongMode: job.mode !== MODE.batch,
      WrongState: replica.state !== State.Active,
      WrongTerms: !commits(replica, terms),
      WindowClosed: scene.now > replica.matchedAt + job.submitWindow,
      EmptyResult: claim.resultHash === ZERO_BYTES32,
      ChargeTooHigh: claim.charge > chargeOfDown(terms, scene.now - replica.matchedAt),
      ResultRefused: verdict === "fails" || verdict === "void",
    });
  },
  outcome: (scene, { terms, claim }) => {
    const judging = verdictOf(scene, terms.job.verifier) === "pending";
    const submitted = withReplica(vacate(scene.storage, terms), terms, {
      state: judging ? State.Judging : State.Submitted,
      lastAt: scene.now,
      commitment: replicaCommitment(terms, claim),
    });
    const instant = !judging && terms.job.challengeWindow === 0;
    return instant ? settle(submitted, terms, depositOf(terms), claim.charge) : submitted;
  },
};

export const approve: Rule<Calls["approve"]> = {
  refusals: ({ storage, by }, { terms, claim }) => {
    const replica = replicaOf(storage, terms);
    return those({
      WrongState: !isWaiting(replica.state),
      WrongClaim: !commits(replica, terms, claim),
      NotRequester: by !== terms.job.requester && by !== terms.job.payer,
    });
  },
  outcome: ({ storage }, { terms, claim }) => settle(storage, terms, depositOf(terms), claim.charge),
};

export const finalize: Rule<Calls["finalize"]> = {
  refusals: (scene, settlement) => {
    const { terms, claim } = settlement;
    const replica = replicaOf(scene.storage, terms);
    if (replica.state === State.Active) {
      return those({
        WrongTerms: !commits(replica, terms),
        WrongMode: terms.job.mode !== MODE.batch,
        WrongClaim: claim.resultHash !== ZERO_BYTES32 || claim.resultBytes !== 0n || claim.charge !== 0n,
        WindowOpen: scene.now <= replica.matchedAt + terms.job.submitWindow,
      });
    }
    return those({
      WrongState: !isWaiting(replica.state) && replica.state !== State.Disputed,
      WrongClaim: !commits(replica, terms, claim),
      WindowOpen: scene.now <= replica.lastAt + waitOf(scene, settlement),
    });
  },
  outcome: (scene, settlement) => {
    const { storage, facts, by } = scene;
    const { terms, claim } = settlement;
    const deposit = depositOf(terms);
    const { state } = replicaOf(storage, terms);
    if (state === State.Active) {
      return slashForSilence(refund(vacate(storage, terms), terms, deposit), facts, terms, by);
    }
    if (state === State.Judging) return finishJudging(scene, settlement);
    const returned = state === State.Disputed ? terms.job.arbiterFee : 0n;
    return add(settle(storage, terms, deposit, claim.charge), "balances", terms.job.requester, returned);
  },
};

/** A result that nobody disputed yet. */
export function isWaiting(state: number): boolean {
  return state === State.Submitted || state === State.Judging;
}

/** Seconds after the submission, or the dispute, until anyone may finalize. */
function waitOf(scene: Scene, { terms }: Settlement): number {
  const { challengeWindow, arbiterWindow, verifier } = terms.job;
  const { state } = replicaOf(scene.storage, terms);
  if (state === State.Disputed) return arbiterWindow;
  const undecided = state === State.Judging && verdictOf(scene, verifier) === "pending";
  return challengeWindow + (undecided ? arbiterWindow : 0);
}

function finishJudging(scene: Scene, { terms, claim }: Settlement): Storage {
  const { storage, facts } = scene;
  const verdict = verdictOf(scene, terms.job.verifier);
  if (verdict === "stands") return settle(storage, terms, depositOf(terms), claim.charge);
  const refunded = refund(storage, terms, depositOf(terms));
  return verdict === "fails" ? slash(refunded, facts, terms, { amount: terms.job.bond }) : unlockBond(refunded, terms);
}

/** No verifier: everything stands. No answer, or one without a meaning: pending. */
function verdictOf({ answer }: Scene, verifier: string): "pending" | "stands" | "fails" | "void" {
  if (verifier === ZERO_ADDRESS) return "stands";
  const unanswered: Answer[] = ["reverts", "burns", "nonsense"];
  return unanswered.includes(answer) ? "pending" : (answer as "pending" | "stands" | "fails" | "void");
}
