// Runs a benchmark: `npm run bench -- NAME [FLAGS]`. Each prints a table and, as its last line, one line of JSON.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const folder = join(root, "bench");
const names = readdirSync(folder).flatMap((file) => (file.endsWith(".ts") ? [file.slice(0, -".ts".length)] : []));
const [name, ...flags] = process.argv.slice(2);

if (name === undefined || !existsSync(join(folder, `${name}.ts`))) {
  console.error(name === undefined ? "Which benchmark?" : `There is no benchmark ${name}.`);
  console.error(`Benchmarks: ${names.join(", ")}. Example: npm run bench -- ${names[0] ?? "NAME"}`);
  process.exit(2);
}
const done = spawnSync(process.execPath, [join(folder, `${name}.ts`), ...flags], { cwd: root, stdio: "inherit" });
process.exit(done.status ?? 1);
