import { errorToJson, toJson } from "@berth/protocol";
import Table from "cli-table3";
import colors from "picocolors";
import type { Check } from "../core/check.ts";

/** What a command gives back: the same facts for people and for programs. */
export interface Answer {
  json: object;
  text: string;
  /** Absent: 0. */
  exitCode?: number;
}

/** One line of JSON, or a text. */
export function answerText({ json, text }: Answer, asJson: boolean): string {
  return `${asJson ? toJson(json) : text}\n`;
}

/** Lines of `name  value`. */
export function facts(lines: readonly (readonly [string, string])[]): string {
  const width = Math.max(0, ...lines.map(([name]) => name.length));
  return lines.map(([name, value]) => `${name.padEnd(width)}  ${printable(value)}`).join("\n");
}

/** Rows without borders, columns aligned. */
export function table(rows: readonly (readonly string[])[], head: readonly string[]): string {
  const cells = rows.map((row) => row.map((cell) => printable(cell).replaceAll("\n", " ")));
  const widths = head.map((title, at) => Math.max(title.length, ...cells.map((row) => row[at]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join("  ")
      .trimEnd();
  return [colors.bold(line(head)), ...cells.map(line)].join("\n");
}

/** Unix seconds as UTC. */
export function timeText(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}

/** Bytes for a person. */
export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${power === 0 ? bytes : (bytes / 2 ** (10 * power)).toFixed(1)} ${units[power]}`;
}

/** Examples at the end of a command's help. */
export function example(...lines: readonly string[]): string {
  return `\nExample:\n${lines.map((line) => `  ${line}`).join("\n")}`;
}

/** Messages come from requesters too: what would steer a terminal is shown, not done. */
function printable(text: string): string {
  return text.replace(/[^\P{C}\n]/gu, "\u{fffd}");
}

/** An error on stderr: what happened, then what to do. With `json`, one JSON object `{ error }` on stdout. */
export function printError(error: unknown, { json }: { json: boolean }): void {
  const { code, message, hint, retryable } = errorToJson(error);
  if (json) return void process.stdout.write(`${toJson({ error: { code, message, hint, retryable } })}\n`);
  process.stderr.write(`${colors.red(code)} ${printable(message)}\n`);
  if (hint !== undefined) process.stderr.write(`${printable(hint)}\n`);
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
