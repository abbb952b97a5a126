// Breaks the contracts one line at a time and sees whether a test notices: `npm run mutate [-- --sample N] [-- --seed S]`.
// Prints each mutant that survives and exits 1 when fewer than 95 of 100 are noticed. Works on copies, never on the sources.
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { execa } from "execa";
import { type Mutant, mutantsOf } from "./lib/mutants.ts";

const KILLED_SHARE = 0.95;
const WORKERS = 2;
const FILES = [
  "contracts/market/JobMarket.sol",
  "contracts/market/MarketState.sol",
  "contracts/market/desk/Batches.sol",
  "contracts/market/desk/Disputes.sol",
  "contracts/market/desk/Leases.sol",
  "contracts/market/desk/Ledger.sol",
  "contracts/market/desk/Nodes.sol",
  "contracts/market/desk/Requests.sol",
  "contracts/market/libraries/Fit.sol",
  "contracts/market/libraries/Pricing.sol",
  "contracts/staking/ProviderStaking.sol",
  "contracts/libraries/ExactTransfer.sol",
];
const TESTS = "test/contracts/{market,staking}/**/*.test.ts";

const root = join(import.meta.dirname, "..");
const { values } = parseArgs({ options: { sample: { type: "string" }, seed: { type: "string" } } });
const all = FILES.flatMap((file) => mutantsOf(file, readFileSync(join(root, file), "utf8")));
const seed = Number(values.seed ?? 1);
const chosen = values.sample === undefined ? all : sample(all, Number(values.sample), seed);
console.log(`${chosen.length} of ${all.length} mutants${values.sample === undefined ? "" : `, seed ${seed}`}`);

const queue = [...chosen];
const survivors: Mutant[] = [];
let useless = 0;
await Promise.all(Array.from({ length: WORKERS }, work));
const judged = chosen.length - useless;
const killed = judged - survivors.length;
for (const { file, line, was, is } of survivors) console.log(`survived ${file}:${line}\n  - ${was}\n  + ${is}`);
console.log(
  `${killed} of ${judged} mutants killed (${((100 * killed) / judged).toFixed(1)} %); ${useless} did not compile`,
);
process.exit(killed >= judged * KILLED_SHARE ? 0 : 1);

/** One copy of the tree, one mutant after another. */
async function work(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "berth-mutants-"));
  try {
    for (const name of [
      "contracts",
      "test",
      "protocol",
      "ignition",
      "hardhat.config.ts",
      "package.json",
      "tsconfig.json",
    ]) {
      cpSync(join(root, name), join(folder, name), { recursive: true });
    }
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
    for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) await judge(folder, mutant);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function judge(folder: string, mutant: Mutant): Promise<void> {
  const path = join(folder, mutant.file);
  const source = readFileSync(path, "utf8");
  writeFileSync(path, mutant.source);
  try {
    const hardhat = join(root, "node_modules", "hardhat", "dist", "src", "cli.js");
    const options = { cwd: folder, reject: false, all: true } as const;
    const built = await execa(process.execPath, [hardhat, "build", "--quiet"], options);
    if (built.exitCode !== 0) {
      useless += 1;
      return;
    }
    const mocha = join(root, "node_modules", "mocha", "bin", "mocha.js");
    const tested = await execa(process.execPath, [mocha, "--bail", TESTS], options);
    const survived = tested.exitCode === 0;
    if (survived) survivors.push(mutant);
    console.log(
      `${survived ? "SURVIVED" : "killed  "} ${mutant.file}:${mutant.line} ${mutant.is.trim() || "(nothing)"}`,
    );
  } finally {
    writeFileSync(path, source);
  }
}

/** `count` of `items`, the same for the same seed. */
function sample<T>(items: readonly T[], count: number, from: number): T[] {
  let state = from;
  const next = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  return items
    .map((item) => ({ item, at: next() }))
    .toSorted((a, b) => a.at - b.at)
    .slice(0, count)
    .map(({ item }) => item);
}
