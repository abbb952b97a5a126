import { errorToJson, toJson } from "@berth/protocol";
import Table from "cli-table3";
import colors from "picocolors";
import type { Check } from "../core/check.ts";

/** One answer on stdout: JSON when asked for, else lines of `name  value`. */
export function printAnswer(
  answer: object,
  { json, lines }: { json: boolean; lines: readonly (readonly [string, string])[] },
): void {
  if (json) return void process.stdout.write(`${toJson(answer)}\n`);
  const width = Math.max(0, ...lines.map(([name]) => name.length));
  for (const [name, value] of lines) process.stdout.write(`${name.padEnd(width)}  ${value}\n`);
}

/** An error on stderr: what happened, then what to do. With `json`, one JSON object on stdout. */
export function printError(error: unknown, { json }: { json: boolean }): void {
  const { code, message, hint, retryable } = errorToJson(error);
  if (json) return void process.stdout.write(`${toJson({ error: { code, message, hint, retryable } })}\n`);
  process.stderr.write(`${colors.red(code)} ${message}\n`);
  if (hint !== undefined) process.stderr.write(`${hint}\n`);
  if (code === "INTERNAL" && error instanceof Error) process.stderr.write(`${error.stack ?? ""}\n`);
}

/** The table of `doctor`, and under it what to do about each thing that is not right. */
export function checkTable(checks: readonly Check[]): string {
  const mark = { ok: colors.green("ok"), warn: colors.yellow("look"), fail: colors.red("FAIL") };
  const table = new Table({
    head: ["check", "", "found"],
    style: { head: [], border: [] },
    wordWrap: true,
    colWidths: [28, 6, 76],
  });
  for (const { name, status, detail } of checks) table.push([name, mark[status], detail]);
  const todo = checks.filter(({ status }) => status !== "ok");
  const lines = todo.map(({ name, fix, without }) => {
    const effect = without === undefined ? "" : ` (until then without: ${without})`;
    return `  ${name}: ${fix ?? "see above"}${effect}`;
  });
  return [table.toString(), ...(lines.length > 0 ? ["To do:", ...lines] : []), ""].join("\n");
}
