import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, relative } from "node:path";

const root = join(import.meta.dirname, "..", "..");
/** What is made here, and would not fit the copy. */
const LEFT_OUT = [".git", ".tools", ".berth", "artifacts", "cache", "coverage"];
const fits = (path: string) => basename(path) !== "node_modules" && !LEFT_OUT.includes(relative(root, path));

/** Runs `work` in a copy of the checkout, whose sources it may change. */
export async function inCopy<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "berth-copy-"));
  try {
    cpSync(root, folder, { recursive: true, filter: fits });
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The same with as many copies as are wanted. */
export function inCopies<T>(
  count: number,
  work: (folders: string[]) => Promise<T>,
  made: readonly string[] = [],
): Promise<T> {
  return inCopy((folder) => {
    const folders = [...made, folder];
    return folders.length < count ? inCopies(count, work, folders) : work(folders);
  });
}
