// Runs the tests, suite after suite, and ends with one line `N passed, N failed`. With names it runs only those suites:
// `npm test -- contracts unit`. Every suite runs even when one before it failed.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { buildContracts } from "./lib/chain.ts";

const root = join(import.meta.dirname, "..");
const mocha = join(root, "node_modules", "mocha", "bin", "mocha.js");
const hardhat = join(root, "node_modules", "hardhat", "dist", "src", "cli.js");

interface Count {
  passed: number;
  failed: number;
  /** What failed and why, in words. */
  failures?: string[];
}

/** What test/support/reporter.cjs writes. */
interface Report {
  passes: number;
  failures: number;
  failed: { title: string; why: string }[];
}

type Say = (text: string) => void;

/** Tests of whole nodes on a chain. They wait for blocks and containers more than they work. */
const NODES = "test/provider-node/{daemon,commands}/**/*.test.ts";
const PARTS = "test/{protocol,chain,content,provider-node,client,indexer,scripts}/**/*.test.ts";

/** Each gets where to put its words. */
const suites: Record<string, (say: Say) => Promise<Count>> = {
  contracts: (say) => runHardhat("mocha", say),
  invariants: (say) => runHardhat("solidity", say),
  unit: (say) => runMocha([PARTS, "--ignore", NODES], say),
  node: (say) => runMocha([NODES], say),
  e2e: (say) => runMocha(["test/e2e/**/*.test.ts"], say),
};
/** What is cheap and fundamental first; those in one line run at once. */
const order = [["contracts"], ["invariants"], ["unit", "node"], ["e2e"]];

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in suites));
if (unknown.length > 0) {
  console.error(`There is no suite ${unknown.join(", ")}. Suites: ${Object.keys(suites).join(", ")}.`);
  process.exit(2);
}

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop.abort());
process.on("disconnect", () => stop.abort());

await buildContracts();
const total: Count = { passed: 0, failed: 0 };
const lines: string[] = [];
const failures: string[] = [];
for (const together of order) {
  const names = together.filter((name) => wanted.length === 0 || wanted.includes(name));
  await Promise.all(names.map((name, at) => runSuite(name, at === 0)));
}
// Once more at the end, for whoever sees only the last page of a long log.
if (failures.length > 0) console.log(`\nWhat failed:\n\n${failures.join("\n\n")}`);
console.log(`\n${lines.join("\n")}`);
if (stop.signal.aborted) console.log("Stopped before the end.");
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 && total.passed > 0 && !stop.signal.aborted ? 0 : 1);

/** @param aloud say everything as it comes; otherwise in one piece at the end, so that suites at once can be told apart */
async function runSuite(name: string, aloud: boolean): Promise<void> {
  const run = suites[name];
  if (run === undefined || stop.signal.aborted) return;
  const kept: string[] = [];
  const title = `\n=== ${name}\n`;
  if (aloud) process.stdout.write(title);
  const startedAt = performance.now();
  const count = await run((text) => void (aloud ? process.stdout.write(text) : kept.push(text)));
  if (!aloud) process.stdout.write(title + kept.join(""));
  total.passed += count.passed;
  total.failed += count.failed;
  failures.push(...(count.failures ?? []).map((failure) => `${name}: ${failure}`));
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  lines.push(`${name.padEnd(11)} ${count.passed} passed, ${count.failed} failed (${seconds} s)`);
}

/** A mocha run of our own, counted by its JSON report. */
async function runMocha(spec: string[], say: Say): Promise<Count> {
  const folder = mkdtempSync(join(tmpdir(), "berth-test-"));
  const report = join(folder, "report.json");
  const reporter = join(root, "test", "support", "reporter.cjs");
  const args = [mocha, "--reporter", reporter, "--reporter-option", `output=${report}`, ...spec];
  try {
    const exitCode = await run(args, say);
    const { passes, failures, failed } = JSON.parse(readFileSync(report, "utf8")) as Report;
    const words = failed.map(({ title, why }) => `${title}\n${why}`);
    return { passed: passes, failed: exitCode === 0 ? failures : Math.max(1, failures), failures: words };
  } catch (error) {
    say(`There is no report of ${spec[0]}: ${error instanceof Error ? error.message : error}\n`);
    return { passed: 0, failed: 1 };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A Hardhat run, counted by the summary it prints. */
async function runHardhat(task: "mocha" | "solidity", say: Say): Promise<Count> {
  let output = "";
  const exitCode = await run([hardhat, "test", task], (text) => {
    output += text;
    say(text);
  });
  const number = (word: string) => Number(new RegExp(`(\\d+) ${word}`).exec(plain(output))?.[1] ?? 0);
  const failed = number("failing") || number("failed");
  const passed = number("passing") || number("passed");
  const failures = failed > 0 ? [plain(output).slice(plain(output).lastIndexOf("failing")).slice(0, 4000)] : [];
  if (passed + failed === 0) say(`Hardhat ran no ${task} test.\n`);
  return { passed, failed: exitCode === 0 && passed > 0 ? failed : Math.max(1, failed), failures };
}

function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colour codes start with ESC
  return text.replaceAll(/\u001b\[[0-9;]*m/g, "");
}

async function run(args: string[], say: Say): Promise<number> {
  const child = execa(process.execPath, args, {
    cwd: root,
    all: true,
    stdin: "ignore",
    reject: false,
    buffer: false,
    cancelSignal: stop.signal,
    forceKillAfterDelay: 30_000,
  });
  child.all.setEncoding("utf8");
  child.all.on("data", say);
  return (await child).exitCode ?? 1;
}
