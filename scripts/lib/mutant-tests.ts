import { globSync } from "node:fs";

/** The tests that concern a contract: quick ones, and random lives that are asked last. */
export interface Concerned {
  quick: string[];
  random: string[];
}

/** By the folder of the contract: folders of tests, those beside it first. */
const rooms: Record<string, string[]> = {
  arbiters: ["arbiters"],
  attestation: ["attestation"],
  identity: ["identity", "market"],
  libraries: ["staking", "identity", "arbiters", "market"],
  market: ["market", "model"],
  staking: ["staking", "market", "model"],
  verifiers: ["verifiers"],
};
/** Tests of functions that a contract's private ones serve. */
const near: Record<string, RegExp> = {
  "contracts/market/JobMarket.sol": /(matchJob|submit|finalize|judging)\.test/,
  "contracts/market/MarketState.sol": /(finalize|submit|decline|post)\.test/,
  "contracts/market/desk/Batches.sol": /Many\.test/,
  "contracts/market/desk/Disputes.sol": /(dispute|rule)\.test/,
  "contracts/market/desk/Leases.sol": /(claim|topUp|close)\.test/,
  "contracts/market/desk/Ledger.sol": /deposit\.test/,
  "contracts/market/desk/Nodes.sol": /(bumpEpoch|set\w+)\.test/,
  "contracts/market/desk/Requests.sol": /(post|cancel|decline)\.test/,
  "contracts/market/libraries/Fit.sol": /(matchJob|post|R4)\.test/,
  "contracts/market/libraries/OrderHash.sol": /(vectors|matchJob)\.test/,
  "contracts/market/libraries/OrderWords.sol": /(matchJob|post)\.test/,
  "contracts/market/libraries/Pricing.sol": /(matchJob|submit|rule|decline)\.test/,
};
const RANDOM = /\.(property|model)\.test\.ts$/;
/** Asks a program for an emulated TPM: what it proves, the tests beside it prove with recorded fixtures. */
const LEFT_OUT = /\.swtpm\.test\.ts$/;

/** Those of `root` that concern function `within` of contract `file`, in the order in which to ask them. */
export function testsOf(root: string, file: string, within: string): Concerned {
  const room = file.split("/")[1] ?? "";
  const tests = (rooms[room] ?? []).flatMap((folder) =>
    globSync(`test/contracts/${folder}/**/*.test.ts`, { cwd: root }).toSorted(),
  );
  const rank = (test: string) => (test.includes(`.${within}.`) ? 0 : near[file]?.test(test) ? 1 : 2);
  return {
    quick: tests.filter((test) => !RANDOM.test(test) && !LEFT_OUT.test(test)).toSorted((a, b) => rank(a) - rank(b)),
    random: tests.filter((test) => RANDOM.test(test)),
  };
}
