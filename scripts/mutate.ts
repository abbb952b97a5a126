// Breaks the contracts one place at a time and sees whether a test notices: `npm run mutate`. Prints what survives and exits 1
// when fewer than 95 of 100 are noticed. Works on copies, never on the sources. `-- --sample N` takes N mutants, spread evenly
// over all files, and not 60; `--seed S` takes others; `--all` takes all (hours); `--in TEXT` those whose `file:line` has the text.
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { execa } from "execa";
import { isEquivalent, staleEquivalents } from "./lib/equivalent-mutants.ts";
import { testsOf } from "./lib/mutant-tests.ts";
import { type Mutant, mutantsOf } from "./lib/mutants.ts";
import { inCopies } from "./lib/tree-copy.ts";

const KILLED_SHARE = 0.95;
const SAMPLE = 60;
const WORKERS = Math.min(2, availableParallelism());
/** Several times what the longest run takes on sound contracts: who waits longer waits for ever. */
const TEST_TIMEOUT_MS = 600_000;

const root = join(import.meta.dirname, "..");
const { values } = parseArgs({
  options: {
    sample: { type: "string" },
    seed: { type: "string", default: "1" },
    all: { type: "boolean", default: false },
    in: { type: "string", default: "" },
  },
});
const startedAt = performance.now();
const mutants = globSync("contracts/**/*.sol", { cwd: root, exclude: ["contracts/mocks/**"] })
  .toSorted()
  .flatMap((file) => mutantsOf(file, readFileSync(join(root, file), "utf8")));
for (const stale of staleEquivalents(mutants)) console.log(`listed as equivalent, but no mutant any more: ${stale}`);
const meant = mutants.filter((mutant) => placeOf(mutant).includes(values.in) && !isEquivalent(mutant));
const whole = values.all || (values.in !== "" && values.sample === undefined);
const chosen = whole ? meant : spread(meant, Number(values.sample ?? SAMPLE), Number(values.seed));
console.log(`${chosen.length} of ${mutants.length} mutants${whole ? "" : `, seed ${values.seed}`}`);

const queue = [...chosen];
const survivors: Mutant[] = [];
let useless = 0;
await inCopies(WORKERS, async (folders) => {
  await Promise.all(folders.map(requireSound));
  await Promise.all(folders.map(work));
});
const judged = chosen.length - useless;
const killed = judged - survivors.length;
for (const mutant of survivors) console.log(`survived ${placeOf(mutant)}\n  - ${mutant.was}\n  + ${mutant.is}`);
const share = ((100 * killed) / judged).toFixed(1);
const minutes = ((performance.now() - startedAt) / 60_000).toFixed(0);
console.log(`${killed} of ${judged} mutants killed (${share} %); ${useless} did not compile; ${minutes} min`);
process.exit(killed >= judged * KILLED_SHARE ? 0 : 1);

/** Tests that fail on sound contracts would kill everything. Each copy runs its part of them. */
async function requireSound(folder: string, at: number, folders: readonly string[]): Promise<void> {
  const built = await build(folder);
  if (built !== undefined) throw new Error(`The contracts do not compile.\n${built}`);
  const needed = chosen.flatMap(({ file, within }) => Object.values(testsOf(folder, file, within)).flat());
  const tests = [...new Set(needed)].toSorted().filter((_, i) => i % folders.length === at);
  const failed = await firstFailure(folder, tests);
  if (failed !== undefined) throw new Error(`This fails on sound contracts: ${failed}`);
}

/** One mutant after another. */
async function work(folder: string): Promise<void> {
  for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
    const path = join(folder, mutant.file);
    const source = readFileSync(path, "utf8");
    writeFileSync(path, mutant.source);
    const from = performance.now();
    const verdict = await judge(folder, mutant);
    const seconds = ((performance.now() - from) / 1000).toFixed(0);
    console.log(`${placeOf(mutant)} (${seconds} s) ${mutant.is.trim() || "(nothing)"}\n    ${verdict}`);
    writeFileSync(path, source);
  }
}

async function judge(folder: string, mutant: Mutant): Promise<string> {
  if ((await build(folder)) !== undefined) {
    useless += 1;
    return "does not compile";
  }
  const { quick, random } = testsOf(folder, mutant.file, mutant.within);
  const failed = (await firstFailure(folder, quick)) ?? (await firstFailure(folder, random));
  if (failed !== undefined) return `killed by ${failed}`;
  survivors.push(mutant);
  return "SURVIVED";
}

/** What the compiler complains about. */
async function build(folder: string): Promise<string | undefined> {
  const hardhat = join(folder, "node_modules", "hardhat", "dist", "src", "cli.js");
  const args = [hardhat, "build", "--quiet", "--no-tests"];
  const built = await execa(process.execPath, args, { cwd: folder, reject: false, all: true });
  return built.exitCode === 0 ? undefined : built.all;
}

/** The first test that fails. A run that ends by itself without one, and not well, says nothing and is an error. */
async function firstFailure(folder: string, tests: string[]): Promise<string | undefined> {
  if (tests.length === 0) return undefined;
  const mocha = join(folder, "node_modules", "mocha", "bin", "mocha.js");
  const ran = await execa(process.execPath, [mocha, "--bail", "--reporter", "tap", ...tests], {
    cwd: folder,
    reject: false,
    all: true,
    timeout: TEST_TIMEOUT_MS,
    env: { TSX_DISABLE_CACHE: "1", FC_SEED: values.seed },
  });
  if (ran.exitCode === 0) return undefined;
  const failed = /^not ok \d+ (.+)$/m.exec(ran.all)?.[1];
  if (failed !== undefined) return failed;
  if (ran.timedOut) return "a test that does not end";
  throw new Error(`The tests did not run.\n${ran.all}`);
}

function placeOf({ file, line }: Mutant): string {
  return `${file}:${line}`;
}

/** One out of each of `count` equal parts of `items`, the same for the same seed. */
function spread<T>(items: readonly T[], count: number, seed: number): T[] {
  let state = seed;
  const size = items.length / Math.min(count, items.length);
  return Array.from({ length: Math.min(count, items.length) }, (_, part) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return items[Math.floor((part + state / 2 ** 32) * size)] as T;
  });
}
