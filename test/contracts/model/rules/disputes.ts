import { compensationDown, depositOf, type Terms, ZERO_ADDRESS } from "@berth/protocol";
import { slash } from "../bonds.ts";
import { add, amountIn } from "../money.ts";
import { pay, settle } from "../payment.ts";
import { commits, replicaOf, State, withReplica } from "../replicas.ts";
import { type Calls, type Rule, those } from "../scene.ts";
import { isWaiting } from "./results.ts";

export const dispute: Rule<Calls["dispute"]> = {
  refusals: ({ storage, by, now }, { terms, claim }) => {
    const { job } = terms;
    const replica = replicaOf(storage, terms);
    return those({
      WrongState: !isWaiting(replica.state),
      WrongClaim: !commits(replica, terms, claim),
      NotRequester: by !== job.requester,
      NotArbiter: job.arbiter === ZERO_ADDRESS,
      WindowClosed: now > replica.lastAt + job.challengeWindow,
      BalanceTooLow: amountIn(storage, "balances", job.requester) < job.arbiterFee,
    });
  },
  outcome: ({ storage, now }, { terms }) => {
    const disputed = withReplica(storage, terms, { state: State.Disputed, lastAt: now });
    return add(disputed, "balances", terms.job.requester, -terms.job.arbiterFee);
  },
};

export const rule: Rule<Calls["rule"]> = {
  refusals: ({ storage, by, now }, { terms, claim, award }) => {
    const replica = replicaOf(storage, terms);
    return those({
      WrongState: replica.state !== State.Disputed,
      WrongClaim: !commits(replica, terms, claim),
      NotArbiter: by !== terms.job.arbiter,
      WindowClosed: now > replica.lastAt + terms.job.arbiterWindow,
      AwardTooHigh: award > claim.charge,
    });
  },
  outcome: ({ storage, facts }, { terms, claim, award }) => {
    const { requester, arbiter, arbiterFee } = terms.job;
    const deposit = depositOf(terms);
    if (award === claim.charge) {
      return add(settle(storage, terms, deposit, award), "balances", arbiter, arbiterFee);
    }
    const fault = faultDown(terms, claim.charge, award);
    const compensation = compensationDown(terms.job, deposit);
    const left = fault - arbiterFee;
    return slash(add(pay(storage, terms, deposit, award), "balances", requester, arbiterFee), facts, terms, {
      amount: fault,
      victim: compensation < left ? compensation : left,
      helper: { account: arbiter, amount: arbiterFee },
    });
  },
};

/** Token units of the bond: in proportion to what was denied, at least the fee. */
function faultDown({ job }: Terms, charge: bigint, award: bigint): bigint {
  const share = (job.bond * (charge - award)) / charge;
  return share > job.arbiterFee ? share : job.arbiterFee;
}
