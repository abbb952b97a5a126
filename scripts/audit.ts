// Looks for known mistakes in the contracts with slither, where Python has it: `npm run audit`. Exits 1 on a finding that nothing
// explains. An explanation is a comment at the place itself: `// slither-disable-next-line NAME` under the line that says why.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";

/** What does not apply to these contracts as a whole. */
const LEFT_OUT: Record<string, string> = {
  timestamp: "every deadline is a block timestamp by design; a proposer may shift it by seconds, deadlines are minutes",
  "calls-loop": "a gang is all or nothing: one operator that cannot be bound must fail the whole match",
};

const root = join(import.meta.dirname, "..");
const hardhat = join(root, "node_modules", "hardhat", "dist", "src", "cli.js");
const found = await execa("slither", ["--version"], { reject: false });
if (found.exitCode !== 0) {
  console.log("slither is not installed here, so nothing was audited. To get it: pip install slither-analyzer");
  process.exit(0);
}

console.log(`slither ${found.stdout}: building everything anew`);
// Builds leave only what changed behind; slither needs all contracts in one piece.
for (const folder of ["artifacts", "cache"]) rmSync(join(root, folder), { recursive: true, force: true });
await execa(process.execPath, [hardhat, "build", "--quiet"], { cwd: root, stdio: "inherit" });
const excluded = Object.keys(LEFT_OUT).join(",");
const flags = ["--exclude-informational", "--exclude-optimization", "--exclude", excluded];
const args = [".", "--ignore-compile", "--filter-paths", "npm/|node_modules|contracts/mocks", ...flags];
const done = await execa("slither", args, { cwd: root, all: true, reject: false });
console.log(done.all ?? "");
for (const [name, why] of Object.entries(LEFT_OUT)) console.log(`left out: ${name} (${why})`);
process.exit(done.exitCode === 0 ? 0 : 1);
