import type { Mutant } from "./mutants.ts";

interface Equivalent extends Pick<Mutant, "file" | "within" | "was" | "is"> {
  /** Why no test could tell it from the original. */
  why: string;
}

/** Mutants that do what the original does. By their text, because lines move. */
const equivalents: Equivalent[] = [
  {
    file: "contracts/arbiters/JuryArbiter.sol",
    within: "_gather",
    was: "uint256 moved = current < before ? 0 : current - before;",
    is: "uint256 moved = current <= before ? 0 : current - before;",
    why: "where both are equal, the difference is zero as well",
  },
  {
    file: "contracts/libraries/ExactTransfer.sol",
    within: "take",
    was: "revert WrongAmountMoved(token, amount, current < before ? 0 : current - before);",
    is: "revert WrongAmountMoved(token, amount, current <= before ? 0 : current - before);",
    why: "where both are equal, the difference is zero as well",
  },
  {
    file: "contracts/libraries/ExactTransfer.sol",
    within: "give",
    was: "revert WrongAmountMoved(token, amount, current > before ? 0 : before - current);",
    is: "revert WrongAmountMoved(token, amount, current >= before ? 0 : before - current);",
    why: "where both are equal, the difference is zero as well",
  },
  {
    file: "contracts/market/MarketState.sol",
    within: "_credit",
    was: "if (amount > 0) _balances[account][token] += amount;",
    is: "if (amount >= 0) _balances[account][token] += amount;",
    why: "to add zero changes nothing",
  },
  {
    file: "contracts/market/desk/Leases.sol",
    within: "_chargedSeconds",
    was: "uint256 elapsed = end > _since(replica) ? end - _since(replica) : 0;",
    is: "uint256 elapsed = end >= _since(replica) ? end - _since(replica) : 0;",
    why: "where both are equal, the difference is zero as well",
  },
  {
    file: "contracts/market/libraries/Fit.sol",
    within: "_grow",
    was: "uint256 available = capacity > used ? capacity - used : 0;",
    is: "uint256 available = capacity >= used ? capacity - used : 0;",
    why: "where both are equal, the difference is zero as well",
  },
  {
    file: "contracts/verifiers/QuorumVerifier.sol",
    within: "_count",
    was: "else if (group > known) _others[jobId][group] = digest;",
    is: "else if (group >= known) _others[jobId][group] = digest;",
    why: "who joins the last group writes the digest that it was found by; that of group 1 is read from elsewhere",
  },
  {
    file: "contracts/verifiers/TeeVerifier.sol",
    within: "judge",
    was: "if (failure != ECDSA.RecoverError.NoError) return Verdict.Fails;",
    is: "",
    why: "what cannot be recovered gives the key zero, which nobody can register: it needs a signature by that key",
  },
];

/** Does what the original does: it is listed, or all that it changes is which of two equal values is taken. */
export function isEquivalent(mutant: Mutant): boolean {
  return withoutTies(mutant.was) === withoutTies(mutant.is) || equivalents.some((known) => names(known, mutant));
}

/** Those that name no mutant any more. */
export function staleEquivalents(all: readonly Mutant[]): string[] {
  return equivalents
    .filter((known) => !all.some((mutant) => names(known, mutant)))
    .map(({ file, within, was }) => `${file} ${within}: ${was}`);
}

/** In `a < b ? a : b` and in `if (a > b) a = b`, it is all the same what is done with two that are equal. */
function withoutTies(line: string): string {
  const code = line.replace(/\s*\/\/.*$/, "").trim();
  return code.replace(/([\w.]+) ([<>])=? ([\w.]+)(?= \? (\1 : \3|\3 : \1)\b|\) (\1 = \3|\3 = \1);)/g, "$1 $2 $3");
}

function names(known: Equivalent, mutant: Mutant): boolean {
  return (
    known.file === mutant.file &&
    known.within === mutant.within &&
    known.was === mutant.was.trim() &&
    known.is === mutant.is.trim()
  );
}
