import { type Claim, chargeOfDown, type Hex, ZERO_BYTES32 } from "@berth/protocol";
import { aimedAt, type RunCall } from "./aims.ts";
import { deadlinesOf } from "./deadlines.ts";
import { termsFlaws } from "./flaws.ts";
import type { Move } from "./moves.ts";
import { oneOf, or, pickOf } from "./pick.ts";
import { keyOf, type Make, type Plan } from "./plans.ts";
import { replicaOf, State } from "./replicas.ts";
import type { Settlement } from "./scene.ts";
import type { Run, Trace } from "./trace.ts";
import { timeOf } from "./when.ts";

const NOTHING: Claim = { resultHash: ZERO_BYTES32, resultBytes: 0n, charge: 0n };
const RESULT: Hex = `0x${"42".repeat(32)}`;

/** A call that is meant for a replica; undefined when there is none for it. */
export function planRun(trace: Trace, move: Move, kind: RunCall, make: Make): Plan | undefined {
  const { facts, people, storage } = trace;
  const fitting = aimedAt(trace, kind);
  const wanted = move.flaw === "state" ? trace.runs : fitting;
  const run = pickOf(wanted, move.pick);
  if (run === undefined) return undefined;

  const now = timeOf(trace, move, deadlinesOf(storage, run.terms));
  const { terms, claim } = flawed(settlementOf(trace, run), move);
  const { job, assignment } = terms;
  const node = oneOf([assignment.operator, keyOf(trace, assignment.operator)], move.share);
  const someAmount = (most: bigint) => (move.flaw === "amount" ? most + 1n : (most * BigInt(move.share)) / 100n);
  switch (kind) {
    case "decline": {
      const sibling = move.pick % 3 === 0 ? assignment.replica : 1 - Math.min(1, assignment.replica);
      return make({ name: "decline", args: { terms, sibling } }, node, now);
    }
    case "submit": {
      const charge = someAmount(chargeOfDown(run.terms, now - replicaOf(storage, run.terms).matchedAt));
      const posted = {
        resultHash: move.flaw === "claim" ? ZERO_BYTES32 : RESULT,
        resultBytes: BigInt(move.pick),
        charge,
      };
      return make({ name: "submit", args: { terms, claim: posted } }, node, now);
    }
    case "approve":
      return make({ name: "approve", args: { terms, claim } }, oneOf([job.requester, job.payer], move.share), now);
    case "dispute":
      return make({ name: "dispute", args: { terms, claim } }, job.requester, now);
    case "rule":
      return make({ name: "rule", args: { terms, claim, award: someAmount(claim.charge) } }, facts.arbiter, now);
    case "finalize":
      return make({ name: "finalize", args: { terms, claim } }, people.stranger, now);
    case "finalizeMany": {
      const other = settlementOf(trace, pickOf(or(fitting, trace.runs), move.pick + 1) ?? run);
      return make({ name: "finalizeMany", args: { items: [{ terms, claim }, other] } }, people.stranger, now);
    }
    case "claim":
      return make({ name: "claim", args: { terms } }, node, now);
    case "topUp": {
      const addedSeconds = move.flaw === "amount" ? 2 ** 32 - 1 : move.share;
      return make({ name: "topUp", args: { terms, addedSeconds } }, people.payer, now);
    }
    case "close":
      return make(
        { name: "close", args: { terms } },
        oneOf([job.requester, job.payer, node, people.stranger], move.pick),
        now,
      );
  }
}

/** What `finalize` takes for a replica: nothing claimed where there is no result. */
function settlementOf({ storage }: Trace, { terms, claim }: Run): Settlement {
  const active = replicaOf(storage, terms).state === State.Active;
  return { terms, claim: active ? NOTHING : (claim ?? NOTHING) };
}

function flawed({ terms, claim }: Settlement, { flaw, share, pick }: Move): Settlement {
  const change = flaw === "terms" ? pickOf(termsFlaws, pick + share) : undefined;
  const off = flaw === "claim" ? 1n : 0n;
  return { terms: change?.(terms) ?? terms, claim: { ...claim, charge: claim.charge + off } };
}
