import { errorToJson, MarketError, toJson } from "@berth/protocol";
import Table from "cli-table3";
import pc from "picocolors";
import type { OnOutput } from "../actions/tail-run.ts";
import type { Check } from "../evidence/checks.ts";
import { printable } from "../format.ts";
import type { ProgressEvent } from "../progress.ts";
import { isAbort } from "./exit-codes.ts";

/** What a command gives back: the same facts for people and for programs. */
export interface Answer {
  json: unknown;
  /** Undefined: it was printed as it came. */
  text: string | undefined;
}

/** Facts go to stdout, one JSON document or a text; everything else goes to stderr. */
export function printAnswer({ json, text }: Answer, asJson: boolean): void {
  if (asJson || text !== undefined) process.stdout.write(`${asJson ? toJson(json, 2) : text}\n`);
}

/** Rows without borders, columns aligned. */
export function table(rows: readonly (readonly string[])[], head: readonly string[] = []): string {
  const none = {
    top: "",
    "top-mid": "",
    "top-left": "",
    "top-right": "",
    bottom: "",
    "bottom-mid": "",
    "bottom-left": "",
    "bottom-right": "",
    left: "",
    "left-mid": "",
    mid: "",
    "mid-mid": "",
    right: "",
    "right-mid": "",
    middle: "  ",
  };
  const made = new Table({
    chars: none,
    head: head.map((title) => pc.bold(title)),
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [] },
  });
  made.push(...rows.map((row) => row.map((cell) => printable(cell))));
  return made
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

/** Checks, one line each. */
export function checkLines(checks: readonly Check[]): string {
  return table(checks.map(({ name, ok, detail }) => [ok ? "✔" : "✖", name, detail]));
}

/** Writes progress to stderr: one line for each step, with the time since the start. */
export function progressPrinter(quiet: boolean): (event: ProgressEvent) => void {
  const startedAt = performance.now();
  return ({ phase, message }) => {
    if (quiet) return;
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1).padStart(7);
    process.stderr.write(`${pc.dim(`${seconds} s`)}  ${phase.padEnd(8)}  ${printable(message)}\n`);
  };
}

/** Writes what a job writes to stderr, line by line, under the progress; of several replicas, with their numbers. */
export function outputPrinter(): OnOutput {
  const readers = new Map<string, ReturnType<typeof lineReader>>();
  return (stream, bytes, { replica, of }) => {
    const name = of > 1 ? `${replica} ${stream}` : stream;
    const read = readers.get(name) ?? lineReader();
    readers.set(name, read);
    for (const line of read(bytes))
      process.stderr.write(`${" ".repeat(11)}${pc.dim(name.padEnd(8))}  ${printable(line)}\n`);
  };
}

/** Whole lines out of bytes; an empty piece ends the last one. */
function lineReader(): (bytes: Uint8Array) => string[] {
  const decoder = new TextDecoder();
  let rest = "";
  return (bytes) => {
    const lines = (rest + decoder.decode(bytes, { stream: bytes.length > 0 })).split("\n");
    rest = lines.pop() ?? "";
    if (bytes.length > 0 || rest === "") return lines;
    const last = rest;
    rest = "";
    return [...lines, last];
  };
}

/** An error for people: what happened, then what to do. Never a stack, unless asked for. */
export function errorText(error: unknown, debug: boolean): string {
  if (isAbort(error)) return "Interrupted.";
  const { code, message, hint } = errorToJson(error);
  const said = error instanceof MarketError ? message : `Something went wrong inside berth: ${message}`;
  const lines = [`${pc.red("Error:")} ${printable(said)}`];
  if (hint !== undefined) lines.push(`${pc.bold("Hint:")} ${printable(hint)}`);
  else if (!(error instanceof MarketError))
    lines.push(`${pc.bold("Hint:")} BERTH_DEBUG=1 shows where; please report it.`);
  if (debug) lines.push(`(${code})`, error instanceof Error ? String(error.stack) : "", causes(error));
  return lines.join("\n");
}

function causes(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  if (cause === undefined) return "";
  return `caused by: ${cause instanceof Error ? cause.stack : String(cause)}\n${causes(cause)}`;
}
