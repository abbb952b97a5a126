import { randomBytes } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { execa } from "execa";
import { isAlive, type ProcessRef, processRef, stopProcess } from "./processes.ts";

/** One thing on this machine that a run made and has to take away again. */
export type Made =
  | { kind: "owner"; process: ProcessRef }
  | { kind: "process"; what: string; process: ProcessRef }
  | { kind: "namespace"; name: string }
  | { kind: "link"; name: string }
  | { kind: "nft-table"; name: string }
  | { kind: "folder"; folder: string }
  | { kind: "node-data"; folder: string };

/** Everything that a run makes, written down before it is made, so that the next run can clean up after a kill -9. */
export interface RunLedger {
  /** Six hexadecimal digits; part of every name that the run gives. */
  readonly id: string;
  readonly folder: string;
  record(made: Made): void;
  entries(): Made[];
}

/** Opens the ledger of a new run below `runsFolder`. */
export function openRun(runsFolder: string): RunLedger {
  const id = randomBytes(3).toString("hex");
  const folder = join(runsFolder, id);
  const draft = join(runsFolder, `.${id}`);
  mkdirSync(draft, { recursive: true, mode: 0o700 });
  const owner = processRef(process.pid);
  if (owner) ledgerAt(id, draft).record({ kind: "owner", process: owner });
  renameSync(draft, folder); // so that nobody ever sees a run without its owner, and takes it for a dead one
  return ledgerAt(id, folder);
}

function ledgerAt(id: string, folder: string): RunLedger {
  const file = join(folder, "ledger.jsonl");
  return {
    id,
    folder,
    record: (made) => appendFileSync(file, `${JSON.stringify(made)}\n`, { flush: true }),
    entries: () => (existsSync(file) ? readFileSync(file, "utf8").split("\n").flatMap(parseLine) : []),
  };
}

/** A line that a crash cut short names nothing that was made yet. */
function parseLine(line: string): Made[] {
  try {
    return [JSON.parse(line) as Made];
  } catch {
    return [];
  }
}

/**
 * Takes away what runs left whose owner is dead. Returns their ids. Of several that start at once, one does it; the
 * others go on without waiting.
 */
export async function reapDeadRuns(runsFolder: string, reapNodeData: ReapNodeData): Promise<string[]> {
  if (!existsSync(runsFolder)) return [];
  const unlock = lock(join(runsFolder, ".reap.lock"));
  if (unlock === undefined) return [];
  try {
    const reaped: string[] = [];
    for (const ledger of runsIn(runsFolder)) {
      const owner = ledger.entries().find((made) => made.kind === "owner");
      if (owner !== undefined && isAlive(owner.process)) continue;
      await takeAway(ledger, reapNodeData);
      reaped.push(ledger.id);
    }
    return reaped;
  } finally {
    unlock();
  }
}

/** A name that begins with a dot is no run: a draft, or the lock. */
function runsIn(runsFolder: string): RunLedger[] {
  return readdirSync(runsFolder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
    .map(({ name }) => ledgerAt(name, join(runsFolder, name)));
}

/** A lock that the system takes back when its holder dies. Undefined: somebody else has it. */
function lock(file: string): (() => void) | undefined {
  const db = new DatabaseSync(file, { timeout: 0 });
  try {
    db.exec("BEGIN EXCLUSIVE");
    return () => db.close();
  } catch {
    db.close();
    return undefined;
  }
}

/** Removes containers, mounts and cgroups that a node left under its data folder. */
export type ReapNodeData = (folder: string) => Promise<void>;

/** Takes away everything that a run made, in the order in which things hang on each other. Safe to call twice. */
export async function takeAway(ledger: RunLedger, reapNodeData: ReapNodeData): Promise<void> {
  const made = ledger.entries();
  const processes = made.filter((entry) => entry.kind === "process").reverse();
  await Promise.all(processes.map((entry) => stopProcess(entry.process)));
  for (const entry of made) if (entry.kind === "node-data") await reapNodeData(entry.folder);
  for (const entry of made) {
    if (entry.kind === "namespace") await quietly("ip", ["netns", "del", entry.name]);
    if (entry.kind === "link") await quietly("ip", ["link", "del", entry.name]);
    if (entry.kind === "folder") rmSync(entry.folder, { recursive: true, force: true });
    if (entry.kind === "nft-table") await quietly("nft", ["delete", "table", "inet", entry.name]);
  }
  rmSync(ledger.folder, { recursive: true, force: true });
}

async function quietly(file: string, args: string[]): Promise<void> {
  await execa(file, args, { reject: false });
}
