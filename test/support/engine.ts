import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pino from "pino";
import { createPodmanEngine } from "../../provider-node/src/engine/podman.ts";
import { openPodmanStore, type PodmanStore } from "../../provider-node/src/engine/podman-store.ts";
import type { AttemptSpec, AttemptState, Context, Engine } from "../../provider-node/src/engine/types.ts";
import { importImage } from "../../provider-node/src/image/import.ts";
import { busyboxImage } from "./images.ts";

/** A signal that never fires and a log that says nothing. */
export const quiet: Context = { signal: new AbortController().signal, log: pino({ level: "silent" }) };

/** A real engine on a folder of its own, with the busybox image in its store. */
export interface EngineBench {
  dataDir: string;
  store: PodmanStore;
  engine: Engine;
  imageDigest: string;
  /** An attempt of a shell script, with modest limits. */
  shell(script: string, changes?: Partial<AttemptSpec>): AttemptSpec;
  /** Prepares, starts and waits. */
  run(spec: AttemptSpec): Promise<AttemptState>;
  stdout(name: string): Promise<string>;
  /** Takes away everything that was made. */
  close(): Promise<void>;
}

export async function openEngineBench(): Promise<EngineBench> {
  const dataDir = mkdtempSync(join(tmpdir(), "berth-Engine-"));
  const { dir, digest: imageDigest } = await busyboxImage();
  const store = await openPodmanStore(dataDir, quiet);
  const engine = createPodmanEngine({ store, runId: "test", nodeId: "node-a" });
  await importImage(dir, imageDigest, store, quiet);
  let count = 0;
  return {
    dataDir,
    store,
    engine,
    imageDigest,
    shell: (script, changes = {}) => {
      count += 1;
      return {
        name: `berth-${count}-${randomBytes(3).toString("hex")}`,
        jobId: "0x01",
        replica: 0,
        attempt: 1,
        imageDigest,
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
    close: async () => {
      await engine.reap([], quiet);
      await engine.release(quiet);
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
