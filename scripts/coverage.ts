// Says how much of the contracts the unit tests run: `npm run coverage`. Exits 1 under 98 % of lines or 95 % of branches,
// which are the two ways of every `if`, also the way past it. Hardhat counts lines only, so the contracts are run as a copy
// in which each way has a line of its own. Choices inside an expression are no branches here: `npm run mutate` tries those.
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { type LinesRun, markBranches, withoutMarks } from "./lib/branches.ts";
import { inCopy } from "./lib/tree-copy.ts";

const LINES = 98;
const BRANCHES = 95;
/**
 * Random lives and whole deployments run lines that no test has looked at, and they take the longest. The emulated TPM
 * proves the fixtures of the tests beside it.
 */
const LEFT_OUT = ["**/*.property.test.ts", "**/*.model.test.ts", "**/*.swtpm.test.ts", "**/deployment*.test.ts"];
/** What counts runs costs gas, so a test of how much gas something needs says nothing here. */
const OF_GAS = ["could not get the gas that it was promised"];

interface Share {
  ran: number;
  of: number;
}

const startedAt = performance.now();
const runs = await inCopy(async (folder) => {
  const files = globSync("contracts/**/*.sol", { cwd: folder, exclude: ["contracts/mocks/**"] }).toSorted();
  for (const file of files) {
    const path = join(folder, file);
    writeFileSync(path, markBranches(readFileSync(path, "utf8")));
  }
  const hardhat = join(folder, "node_modules", "hardhat", "dist", "src", "cli.js");
  const tests = globSync("test/contracts/**/*.test.ts", { cwd: folder, exclude: LEFT_OUT }).toSorted();
  const args = [hardhat, "test", "mocha", "--coverage", "--grep", `^(?!.*(${OF_GAS.join("|")}))`, ...tests];
  const done = await execa(process.execPath, args, {
    cwd: folder,
    reject: false,
    all: true,
    env: { NO_COLOR: "1", TSX_DISABLE_CACHE: "1" },
  });
  if (done.exitCode !== 0) {
    console.log(done.all);
    console.log("The tests failed, so their coverage says nothing.");
    process.exitCode = 1;
    return [];
  }
  return [...linesRun(readFileSync(join(folder, "coverage", "lcov.info"), "utf8"))]
    .filter(([file]) => files.includes(file))
    .map(([file, lines]) => ({ file, ...withoutMarks(readFileSync(join(folder, file), "utf8"), lines) }));
});
if (runs.length > 0) report(runs);

function report(runs: readonly (LinesRun & { file: string })[]): void {
  for (const run of runs) {
    const missed = [...run.lines].filter(([, ran]) => !ran).map(([line]) => line);
    const untaken = run.branches.filter(({ ran }) => !ran).map(({ line }) => line);
    if (missed.length > 0) console.log(`not run: ${run.file}:${missed.join(",")}`);
    if (untaken.length > 0) console.log(`one way only: ${run.file}:${untaken.join(",")}`);
  }
  const lines = percent(runs.map(({ lines }) => shareOf([...lines.values()])));
  const branches = percent(runs.map(({ branches }) => shareOf(branches.map(({ ran }) => ran))));
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  console.log(
    `lines ${lines.toFixed(2)} % (at least ${LINES}), branches ${branches.toFixed(2)} % (at least ${BRANCHES}), ${seconds} s`,
  );
  process.exitCode = lines >= LINES && branches >= BRANCHES ? 0 : 1;
}

/** Of an lcov report: which lines of each file ran. */
function linesRun(lcov: string): Map<string, Map<number, boolean>> {
  const records = lcov.split("end_of_record").flatMap((record) => {
    const file = /^SF:(.+)$/m.exec(record)?.[1];
    const lines = [...record.matchAll(/^DA:(\d+),(\d+)$/gm)];
    const ran = new Map(lines.map(([, line, hits]) => [Number(line), hits !== "0"]));
    return file === undefined ? [] : [[file, ran] as const];
  });
  return new Map(records);
}

function shareOf(ran: readonly boolean[]): Share {
  return { ran: ran.filter(Boolean).length, of: ran.length };
}

function percent(shares: readonly Share[]): number {
  const [ran, of] = [
    shares.reduce((sum, share) => sum + share.ran, 0),
    shares.reduce((sum, share) => sum + share.of, 0),
  ];
  return (100 * ran) / of;
}
