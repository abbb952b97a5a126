import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { MarketError } from "@berth/protocol";
import { attemptHash } from "./sandbox-policy.ts";
import type { AttemptSpec, AttemptState, AttemptSummary, Usage } from "./types.ts";

/** What we know about an attempt that podman does not: written before each step, read by whoever comes after a crash. */
export interface AttemptRecord {
  spec: AttemptSpec;
  imageId: string;
  /** The GPUs it was given. */
  gpuDevices?: readonly string[];
  /** What the engine calls what it made; set once all is there that a start needs. */
  madeAs?: string;
  /** In which boot that was: mounts and cgroups do not outlive it. */
  madeIn?: string;
  /** Written before the start. */
  startIntent?: { bootId: string };
  cancelAt?: Date;
  /** Set once, when the attempt is first seen to have ended; never changes after. */
  end?: { state: AttemptState; usage: Usage };
}

export interface AttemptRecords {
  folderOf(name: string): string;
  read(name: string): AttemptRecord | undefined;
  /** Throws ENGINE_NO_ATTEMPT. */
  must(name: string): AttemptRecord;
  /** What an earlier `prepare` of the same attempt left; undefined before the first. Throws ENGINE_NAME_TAKEN. */
  of(spec: AttemptSpec): AttemptRecord | undefined;
  /** Those of `names` that have a record. */
  summaries(names: readonly string[]): AttemptSummary[];
  /** On disk, whole or not at all, when this returns. */
  write(record: AttemptRecord): void;
}

/** Digests of the images of all attempts with a record in `folder`: those that are not cleaned up. */
export function imagesOf(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const records = attemptRecords(folder);
  return readdirSync(folder).flatMap((name) => records.read(name)?.spec.imageDigest ?? []);
}

/** Records in `<folder>/<name>/attempt.json`. */
export function attemptRecords(folder: string): AttemptRecords {
  const folderOf = (name: string) => {
    if (!/^[a-z0-9][a-z0-9.-]{0,127}$/.test(name)) {
      throw new MarketError("ENGINE_NAME_REFUSED", `"${name}" is not the name of an attempt.`);
    }
    return join(folder, name);
  };
  const read = (name: string) => {
    const path = join(folderOf(name), "attempt.json");
    return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8"), revive) as AttemptRecord) : undefined;
  };
  return {
    folderOf,
    read,
    must: (name) => {
      const record = read(name);
      if (record) return record;
      throw new MarketError("ENGINE_NO_ATTEMPT", `There is no attempt "${name}" here.`, {
        hint: "Call prepare first.",
      });
    },
    of: (spec) => {
      const known = read(spec.name);
      if (known === undefined || attemptHash(known.spec) === attemptHash(spec)) return known;
      throw new MarketError("ENGINE_NAME_TAKEN", `An attempt "${spec.name}" with another spec exists.`, {
        hint: "Give the new attempt its own number.",
      });
    },
    summaries: (names) =>
      names.flatMap((name) => {
        const spec = read(name)?.spec;
        return spec ? [{ name, jobId: spec.jobId, replica: spec.replica, attempt: spec.attempt }] : [];
      }),
    write: (record) => {
      const home = folderOf(record.spec.name);
      mkdirSync(home, { recursive: true, mode: 0o711 });
      const path = join(home, "attempt.json");
      const fd = openSync(`${path}.new`, "w", 0o600);
      try {
        writeFileSync(
          fd,
          JSON.stringify(record, (_, value) => (typeof value === "bigint" ? { bigint: String(value) } : value)),
        );
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(`${path}.new`, path);
    },
  };
}

const DATES = new Set(["cancelAt", "startedAt", "finishedAt"]);

function revive(key: string, value: unknown): unknown {
  if (DATES.has(key)) return new Date(value as string);
  if (key === "cpuNs") return BigInt((value as { bigint: string }).bigint);
  return value;
}
