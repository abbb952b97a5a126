import { readdirSync } from "node:fs";
import { join } from "node:path";
import { attemptRecords } from "./attempt-record.ts";

/**
 * The GPUs that attempts of the node whose data is in `dataDir` have, or will have once they start: by what is recorded on
 * disk, so that any process can ask.
 */
export function heldGpus(dataDir: string): ReadonlySet<string> {
  const folder = join(dataDir, "engine", "attempts");
  const { read } = attemptRecords(folder);
  const devicesOf = (name: string): readonly string[] => {
    try {
      const record = read(name);
      return record === undefined || record.end !== undefined ? [] : (record.gpuDevices ?? []);
    } catch {
      return []; // cleaned up under our eyes
    }
  };
  return new Set(namesIn(folder).flatMap(devicesOf));
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
