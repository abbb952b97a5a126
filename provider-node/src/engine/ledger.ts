import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { z } from "zod";

const entrySchema = z.strictObject({
  op: z.enum(["make", "gone"]),
  kind: z.enum(["container", "mount", "cgroup", "folder"]),
  /** Container name, mount point, cgroup path or folder. */
  what: z.string(),
  /** The attempt it belongs to; empty for what the engine itself needs. */
  owner: z.string(),
});

export type LedgerKind = z.infer<typeof entrySchema>["kind"];
export interface Made {
  kind: LedgerKind;
  what: string;
  owner: string;
}

/**
 * Everything made on this machine outside plain files, recorded on disk before it is made, so that a process that starts
 * after a kill -9 knows what to take away.
 */
export interface Ledger {
  /** Records what is about to be made. On disk when this returns. */
  make(...made: Made[]): void;
  /** Records that it is gone. */
  gone(...made: Made[]): void;
  /** What may exist, oldest first. */
  open(): Made[];
  /** Attempts that something of may exist. */
  owners(): string[];
}

/** What is gone is dropped from the file when it has this many lines more than it needs. */
const MOST_LINES = 500;

/** Opens the ledger file, dropping a line torn by a crash and everything already gone. */
export function openLedger(path: string): Ledger {
  mkdirSync(dirname(path), { recursive: true });
  const open = new Map<string, Made>();
  for (const entry of readEntries(path)) apply(open, entry);
  compact(path, [...open.values()]);

  let lines = open.size;
  const write = (op: "make" | "gone", made: Made[]) => {
    const entries = made.map(({ kind, what, owner }) => ({ op, kind, what, owner }));
    const fd = openSync(path, "a", 0o600);
    try {
      append(fd, entries.map(lineOf).join(""));
      if (op === "make") fdatasyncSync(fd);
    } finally {
      closeSync(fd);
    }
    for (const entry of entries) apply(open, entry);
    lines += entries.length;
    if (lines > MOST_LINES + 2 * open.size) {
      compact(path, [...open.values()]);
      lines = open.size;
    }
  };
  return {
    make: (...made) => {
      const fresh = made.filter((one) => !open.has(keyOf(one)));
      if (fresh.length > 0) write("make", fresh);
    },
    gone: (...made) => {
      const known = made.filter((one) => open.has(keyOf(one)));
      if (known.length > 0) write("gone", known);
    },
    open: () => [...open.values()],
    owners: () => [...new Set([...open.values()].flatMap(({ owner }) => owner || []))],
  };
}

function apply(open: Map<string, Made>, { op, kind, what, owner }: z.infer<typeof entrySchema>): void {
  if (op === "make") open.set(keyOf({ kind, what, owner }), { kind, what, owner });
  else open.delete(keyOf({ kind, what, owner }));
}

function lineOf(entry: z.infer<typeof entrySchema>): string {
  return `${JSON.stringify(entry)}\n`;
}

function keyOf({ kind, what }: Made): string {
  return `${kind} ${what}`;
}

function readEntries(path: string) {
  if (!existsSync(path)) return [];
  return readFileSync(path, "utf8")
    .split("\n")
    .flatMap((line) => {
      try {
        return [entrySchema.parse(JSON.parse(line))];
      } catch {
        return []; // only the last line can be torn: each is written whole, and made things are synced
      }
    });
}

/** All of it or nothing: the next line must not go on from a part that had room on a full disk. */
function append(fd: number, lines: string): void {
  const { size } = fstatSync(fd);
  try {
    writeFileSync(fd, lines);
  } catch (error) {
    ftruncateSync(fd, size);
    throw error;
  }
}

function compact(path: string, open: Made[]): void {
  const draft = `${path}.new`;
  const fd = openSync(draft, "w", 0o600);
  try {
    writeFileSync(fd, open.map((made) => lineOf({ op: "make", ...made })).join(""));
    fdatasyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(draft, path);
}
