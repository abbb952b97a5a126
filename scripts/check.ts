// Everything that can be said about the code without running it. `npm run check` prints one line per check and exits 1
// when any failed; with names it runs only those: `npm run check -- lint types`.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";

const root = join(import.meta.dirname, "..");
const bin = (name: string) => join(root, "node_modules", ".bin", name);

interface Check {
  name: string;
  what: string;
  run(): Promise<string | undefined>;
}

const checks: Check[] = [
  { name: "lint", what: "format and lint", run: () => command(bin("biome"), "check", ".") },
  { name: "types", what: "types", run: () => command(bin("tsc"), "-p", ".") },
  {
    name: "solidity",
    what: "Solidity lint",
    run: () => command(bin("solhint"), "--max-warnings", "0", "contracts/**/*.sol"),
  },
  { name: "unused", what: "unused files, exports and dependencies", run: () => command(bin("knip")) },
  { name: "abi", what: "generated ABIs equal the contracts", run: () => script("export-abi.ts", "--check") },
  {
    name: "gas",
    what: "gas within 1 % of bench/gas.snapshot.json",
    run: () => command(process.execPath, join(root, "bench", "gas.ts"), "--check"),
  },
  { name: "lock", what: "the lock file is whole: `npm ci` takes it", run: lockIsComplete },
  { name: "links", what: "links between documents lead somewhere", run: linksLeadSomewhere },
];

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !checks.some((check) => check.name === name));
if (unknown.length > 0) {
  console.error(`There is no check ${unknown.join(", ")}. Checks: ${checks.map((check) => check.name).join(", ")}.`);
  process.exit(2);
}
let failed = 0;
for (const check of checks.filter(({ name }) => wanted.length === 0 || wanted.includes(name))) {
  const startedAt = performance.now();
  const complaint = await check.run();
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  console.log(`${complaint === undefined ? "ok    " : "FAILED"} ${check.name.padEnd(9)} ${check.what} (${seconds} s)`);
  if (complaint !== undefined) {
    console.log(complaint);
    failed++;
  }
}
process.exit(failed === 0 ? 0 : 1);

/** Runs a program; its output when it failed. */
async function command(file: string, ...args: string[]): Promise<string | undefined> {
  const done = await execa(file, args, { cwd: root, all: true, reject: false });
  return done.exitCode === 0 ? undefined : (done.all ?? done.shortMessage ?? "failed");
}

function script(name: string, ...args: string[]): Promise<string | undefined> {
  return command(process.execPath, join(root, "scripts", name), ...args);
}

/** A lock entry without a version makes `npm ci` fail on other machines. */
async function lockIsComplete(): Promise<string | undefined> {
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, { version?: string; link?: boolean }>;
  };
  const bare = Object.entries(lock.packages).filter(([, entry]) => entry.version === undefined && !entry.link);
  if (bare.length > 0) return `Without a version: ${bare.map(([name]) => name).join(", ")}`;
  return await command("npm", "ci", "--dry-run", "--offline", "--no-audit", "--no-fund");
}

async function linksLeadSomewhere(): Promise<string | undefined> {
  const dead: string[] = [];
  for (const file of markdownFiles(root)) {
    for (const [, target] of readFileSync(file, "utf8").matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
      if (target === undefined || /^[a-z]+:/.test(target)) continue;
      if (!statSync(join(file, "..", target), { throwIfNoEntry: false })) dead.push(`${file}: ${target}`);
    }
  }
  return dead.length === 0 ? undefined : dead.join("\n");
}

function markdownFiles(folder: string): string[] {
  const skipped = ["node_modules", ".tools", ".berth", ".git", "artifacts", "cache"];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (skipped.includes(entry.name)) return [];
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return markdownFiles(path);
    return entry.name.endsWith(".md") ? [path] : [];
  });
}
