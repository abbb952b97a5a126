// Looks for mistakes in the contracts where tests do not: `npm run audit`. slither looks for known ones, halmos proves
// `test/contracts/proofs` for all inputs at once. Exits 1 on a finding that nothing explains, an explanation of nothing, or a
// proof that fails. An explanation is a comment at the place: `// slither-disable-next-line NAME` under the line that says why.
import { chmodSync, globSync, mkdirSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { execa } from "execa";
import { writeForgeOutput } from "./lib/forge-output.ts";
import { inCopy } from "./lib/tree-copy.ts";

/** What does not apply to these contracts as a whole. */
const LEFT_OUT: Record<string, string> = {
  timestamp: "every deadline is a block timestamp by design; a proposer may shift it by seconds, deadlines are minutes",
  "calls-loop": "a gang is all or nothing: one operator that cannot be bound must fail the whole match",
};
const SOLVER_MS = 120_000;

const ends: boolean[] = [];
if (await has("slither", "slither-analyzer")) ends.push(await inCopy(findMistakes));
// cvc5 is a module of the same Python.
if (await has("halmos", "halmos cvc5")) ends.push(await inCopy(prove));
process.exitCode = ends.every(Boolean) ? 0 : 1;

async function has(program: string, packages: string): Promise<boolean> {
  const asked = await execa(program, ["--version"], { reject: false });
  if (asked.exitCode === 0) console.log(`${program} ${asked.stdout.replace(program, "").trim()}`);
  else console.log(`${program} is not installed here, so it looked at nothing. To get it: pip install ${packages}`);
  return asked.exitCode === 0;
}

async function findMistakes(folder: string): Promise<boolean> {
  await build(folder, "--no-tests");
  const excluded = Object.keys(LEFT_OUT).join(",");
  const flags = ["--exclude-informational", "--exclude-optimization", "--exclude", excluded, "--warn-unused-ignores"];
  const ours = ["--filter-paths", "npm/|node_modules|contracts/mocks"];
  // An explanation of nothing is no finding to slither, and there are some in what we depend on.
  const args = [".", "--ignore-compile", "--fail-low", ...ours, ...flags];
  const { all = "", exitCode } = await execa("slither", args, { cwd: folder, all: true, reject: false });
  const idle = all.split("\n").filter((line) => line.includes("Unused ") && line.includes(` ${folder}/contracts/`));
  console.log(exitCode === 0 ? [...idle, `${idle.length} explanations of nothing, no findings`].join("\n") : all);
  for (const [name, why] of Object.entries(LEFT_OUT)) console.log(`left out: ${name} (${why})`);
  return exitCode === 0 && idle.length === 0;
}

async function prove(folder: string): Promise<boolean> {
  await build(folder, ...globSync("test/contracts/proofs/*.sol", { cwd: folder }));
  writeForgeOutput(join(folder, "artifacts"), join(folder, "out"));
  // halmos has forge build first; here everything is built.
  const bin = join(folder, "bin");
  mkdirSync(bin);
  writeFileSync(join(bin, "forge"), "#!/bin/sh\n");
  chmodSync(join(bin, "forge"), 0o755);
  const limit = ["--solver-timeout-assertion", String(SOLVER_MS)];
  const args = [
    "--root",
    folder,
    "--match-contract",
    "Proof$",
    "--match-test",
    "^check_",
    "--no-status",
    "--early-exit",
    ...limit,
  ];
  const env = { PATH: [bin, process.env["PATH"]].join(delimiter) };
  const done = await execa("halmos", args, { cwd: folder, env, reject: false, stdout: "inherit", stderr: "inherit" });
  return done.exitCode === 0;
}

async function build(folder: string, ...args: string[]): Promise<void> {
  const hardhat = join(folder, "node_modules", "hardhat", "dist", "src", "cli.js");
  await execa(process.execPath, [hardhat, "build", "--quiet", ...args], { cwd: folder, stdio: "inherit" });
}
