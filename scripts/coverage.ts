// Says how much of the contracts the unit tests run: `npm run coverage`. Exits 1 under 98 % of lines or 95 % of statements.
// Hardhat counts statements where others count branches: here every branch is a statement of its own (the body of an `if`).
// The invariants and mocks are left out: random runs reach lines that no test has looked at.
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";

const LINES = 98;
const STATEMENTS = 95;

const root = join(import.meta.dirname, "..");
const hardhat = join(root, "node_modules", "hardhat", "dist", "src", "cli.js");
const report = join(root, "coverage");
rmSync(report, { recursive: true, force: true });
const done = await execa(process.execPath, [hardhat, "test", "mocha", "--coverage"], {
  cwd: root,
  reject: false,
  all: true,
  env: { NO_COLOR: "1" },
});
if (done.exitCode !== 0) {
  console.log(done.all);
  console.log("The tests failed, so their coverage says nothing.");
  process.exit(1);
}

interface FileCoverage {
  file: string;
  found: number;
  hit: number;
  missed: number[];
  /** Per cent. */
  statements: number;
}

const files = readFileSync(join(report, "lcov.info"), "utf8")
  .split("end_of_record")
  .flatMap((record): FileCoverage[] => {
    const file = /^SF:(.+)$/m.exec(record)?.[1];
    if (file === undefined || file.startsWith("contracts/mocks/")) return [];
    const lines = [...record.matchAll(/^DA:(\d+),(\d+)$/gm)];
    const missed = lines.filter(([, , hits]) => hits === "0").map(([, line]) => Number(line));
    return [{ file, found: lines.length, hit: lines.length - missed.length, missed, statements: statementsOf(file) }];
  });
const found = sum(({ found }) => found);
const lines = (100 * sum(({ hit }) => hit)) / found;
const statements = sum(({ statements, found }) => statements * found) / found;
for (const { file, missed } of files) if (missed.length > 0) console.log(`not run: ${file}:${missed.join(",")}`);
console.log(
  `lines ${lines.toFixed(2)} % (at least ${LINES}), statements ${statements.toFixed(2)} % (at least ${STATEMENTS})`,
);
console.log(`The whole report: ${join("coverage", "html", "index.html")}`);
process.exit(lines >= LINES && statements >= STATEMENTS ? 0 : 1);

/** The second figure of the file's row in the table that Hardhat prints. */
function statementsOf(file: string): number {
  const cells = (done.all ?? "")
    .split("\n")
    .find((row) => row.includes(` ${file} `))
    ?.split("│");
  return Number(cells?.[2] ?? Number.NaN);
}

function sum(of: (file: FileCoverage) => number): number {
  return files.reduce((total, file) => total + of(file), 0);
}
