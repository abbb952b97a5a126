import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { AttemptRecords } from "./attempt-record.ts";
import { type Inspected, inspectedSchema } from "./podman-inspect.ts";
import { readEnd, type SlurmEnd } from "./slurm-end.ts";

/** What the compute node and this node write about an attempt, each in a file of its own on the shared folder. */
export interface AttemptFiles {
  pathOf(name: string, file: string): string;
  has(name: string, file: string): boolean;
  read(name: string, file: string): string | undefined;
  /** Undefined while the attempt has not ended. */
  endOf(name: string): SlurmEnd | undefined;
  /** What podman said of the container at its end. */
  inspectedOf(name: string): Inspected | undefined;
  /** Takes the claim that a batch job would need. False: a batch job has it. */
  withdraw(name: string): boolean;
  /** Clears the place for another batch job, after one that could not start the container. */
  forgetStart(name: string): void;
}

export function attemptFiles(records: Pick<AttemptRecords, "folderOf">): AttemptFiles {
  const pathOf = (name: string, file: string) => join(records.folderOf(name), file);
  const has = (name: string, file: string) => existsSync(pathOf(name, file));
  const read = (name: string, file: string) => (has(name, file) ? readFileSync(pathOf(name, file), "utf8") : undefined);
  return {
    pathOf,
    has,
    read,
    endOf(name) {
      const text = read(name, "exit");
      return text === undefined ? undefined : readEnd(text);
    },
    inspectedOf(name) {
      if (!has(name, "exit")) return undefined; // written before it, so whole once that is there
      const { data } = inspectedSchema.safeParse(JSON.parse(read(name, "inspect.json") || "[]"));
      return data?.[0];
    },
    withdraw(name) {
      try {
        mkdirSync(pathOf(name, "claim"));
        return true;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
        throw error;
      }
    },
    forgetStart(name) {
      for (const file of ["running", "started", "exit", "claim"])
        rmSync(pathOf(name, file), { recursive: true, force: true });
    },
  };
}
