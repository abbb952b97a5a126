import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pino from "pino";
import type { EngineConfig } from "../../provider-node/src/config/engine.ts";
import type { Machine } from "../../provider-node/src/core/ports.ts";
import { openPodmanStore, type PodmanStore } from "../../provider-node/src/engine/podman-store.ts";
import type { AttemptSpec, AttemptState, Context, Engine } from "../../provider-node/src/engine/types.ts";
import { openMachine } from "../../provider-node/src/jobs/open-machine.ts";
import { busyboxImage } from "./images.ts";

/** A signal that never fires and a log that says nothing. */
export const quiet: Context = { signal: new AbortController().signal, log: pino({ level: "silent" }) };

/** The most that a test's image may have. */
const MAX_IMAGE_BYTES = 2 ** 30;

/** A real engine on a folder of its own, with the busybox image in its store. */
export interface EngineBench {
  dataDir: string;
  machine: Machine;
  engine: Engine;
  imageDigest: string;
  /** An attempt of a shell script, with modest limits. */
  shell(script: string, changes?: Partial<AttemptSpec>): AttemptSpec;
  /** Prepares, starts and waits. */
  run(spec: AttemptSpec): Promise<AttemptState>;
  stdout(name: string): Promise<string>;
  /** Brings another image into the engine's store. */
  importImage(image: { dir: string; digest: string }): Promise<void>;
  /** Takes away everything that was made. */
  close(): Promise<void>;
}

/** The engine as a process opens it that comes first, or after another was killed. */
export function openTestMachine(engine: EngineConfig, dataDir: string): Promise<Machine> {
  return openMachine({ dataDir, runId: "test", nodeId: "node-a", engine }, quiet);
}

export async function openBench(config: EngineConfig): Promise<EngineBench> {
  // What a test puts into an input folder after the start must be seen by another machine too.
  const parent = config.type === "slurm" ? config.slurm.sharedDir : tmpdir();
  const dataDir = mkdtempSync(join(parent, "berth-Engine-"));
  const image = await busyboxImage();
  const machine = await openTestMachine(config, dataDir);
  const { engine } = machine;
  const importImage: EngineBench["importImage"] = ({ dir, digest }) =>
    machine.importImage(dir, digest, quiet, MAX_IMAGE_BYTES);
  await importImage(image);
  let count = 0;
  return {
    dataDir,
    machine,
    engine,
    imageDigest: image.digest,
    shell: (script, changes = {}) => {
      count += 1;
      return {
        name: `berth-${count}-${randomBytes(3).toString("hex")}`,
        jobId: "0x01",
        replica: 0,
        attempt: 1,
        imageDigest: image.digest,
        command: ["/bin/sh", "-c", script],
        env: {},
        resources: { cpuMilli: 1000, memoryMiB: 64, diskMiB: 16, gpus: 0 },
        maxSeconds: 30,
        inputs: [],
        outputPath: "/out",
        outputs: { maxBytes: 8 * 1024 * 1024, maxFiles: 100 },
        network: "none",
        ...changes,
      };
    },
    run: async (spec) => {
      await engine.prepare(spec, quiet);
      await engine.start(spec.name, quiet);
      return engine.wait(spec.name, quiet);
    },
    stdout: async (name) => readFileSync((await engine.logs(name, quiet)).stdout.path, "utf8"),
    importImage,
    close: async () => {
      await engine.reap([], quiet);
      await engine.release(quiet);
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** A bench on podman, with a second door to its store. */
export interface PodmanBench extends EngineBench {
  store: PodmanStore;
}

export async function openEngineBench(): Promise<PodmanBench> {
  const bench = await openBench({ type: "podman" });
  return { ...bench, store: await openPodmanStore(bench.dataDir, quiet) };
}
