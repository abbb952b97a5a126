import { join } from "node:path";
import type { EngineConfig } from "../config/engine.ts";
import type { SlurmConfig } from "../config/slurm.ts";
import type { Machine } from "../core/ports.ts";
import { imagesOf } from "../engine/attempt-record.ts";
import { createBubblewrapEngine } from "../engine/bubblewrap.ts";
import { openBubblewrapStore } from "../engine/bubblewrap-store.ts";
import { createPodmanEngine } from "../engine/podman.ts";
import { openPodmanStore } from "../engine/podman-store.ts";
import { reapOtherEngines } from "../engine/reap.ts";
import { policyHash } from "../engine/sandbox-policy.ts";
import { openSlurmEngine } from "../engine/slurm.ts";
import { evictImages, listImages, noteUse } from "../image/cache.ts";
import { findImage } from "../image/find.ts";
import { importImage } from "../image/import.ts";
import { DEFAULT_IMAGE_LIMITS } from "../image/verify.ts";
import type { Context } from "../log.ts";

/** How many times its stored size an image may have unpacked, at the size that a job may bring. */
const UNPACKED_FACTOR = 4;

export interface MachineOptions {
  dataDir: string;
  /** Part of the name of every attempt, and which node it is: labels for a person who looks at the machine. */
  runId: string;
  nodeId: string;
  engine: EngineConfig;
  /** CDI names of the GPUs that jobs may have, as proven now. Absent: none. */
  gpuDevices?: () => readonly string[];
}

/**
 * The engine that the configuration names, with a store of this node's own; what other engines left here is gone then.
 * Throws ENGINE_NEEDS_ROOT, TOOL_MISSING, ENGINE_NO_RUNTIME, ENGINE_STORE_FAILED.
 */
export async function openMachine(options: MachineOptions, context: Context): Promise<Machine> {
  await reapOtherEngines(options.dataDir, options.engine.type, context);
  switch (options.engine.type) {
    case "podman":
      return await openPodman(options, context);
    case "bubblewrap":
      return await openBubblewrap(options, context);
    case "slurm":
      return await openSlurm({ ...options, slurm: options.engine.slurm }, context);
  }
}

async function openPodman({ dataDir, runId, nodeId, gpuDevices }: MachineOptions, context: Context): Promise<Machine> {
  const store = await openPodmanStore(dataDir, context);
  const engine = createPodmanEngine({ store, runId, nodeId, ...(gpuDevices && { gpuDevices }) });
  const { policyHash } = await engine.probe(context);
  return {
    engine,
    policyHash,
    async hasImage(digest, { signal }) {
      const isHere = (await findImage(digest, store, { signal })) !== undefined;
      if (isHere) noteUse(digest, store);
      return isHere;
    },
    async importImage(layoutDir, digest, own, maxBytes) {
      await importImage(layoutDir, digest, store, own, limitsOf(maxBytes));
      noteUse(digest, store);
    },
    listImages: (own) => listImages(store, own),
    evictImages: (maxBytes, own) => evictImages(maxBytes, store, own),
  };
}

async function openBubblewrap({ dataDir }: MachineOptions, context: Context): Promise<Machine> {
  const store = await openBubblewrapStore(dataDir, context);
  const engine = createBubblewrapEngine({ store });
  const { policyHash } = await engine.probe(context);
  return {
    engine,
    policyHash,
    async hasImage(digest) {
      const isHere = store.images.find(digest) !== undefined;
      if (isHere) store.images.noteUse(digest);
      return isHere;
    },
    importImage: (layoutDir, digest, own, maxBytes) => store.images.take(layoutDir, digest, own, limitsOf(maxBytes)),
    evictImages: (maxBytes) => store.images.evict(maxBytes, new Set(imagesOf(join(store.folder, "attempts")))),
  };
}

/** What compute nodes can do is not asked here: a full cluster must not keep the node from its running jobs. */
async function openSlurm(options: MachineOptions & { slurm: SlurmConfig }, context: Context): Promise<Machine> {
  const { dataDir, slurm, runId, nodeId } = options;
  const { engine, images, needed, unfit } = await openSlurmEngine({ dataDir, slurm, runId, nodeId }, context);
  return {
    engine,
    policyHash: policyHash(),
    hasImage: async (digest) => {
      const isHere = images.idOf(digest) !== undefined;
      if (isHere) images.noteUse(digest);
      return isHere;
    },
    importImage: (layoutDir, digest, own, maxBytes) => images.add(layoutDir, digest, limitsOf(maxBytes), own),
    evictImages: (maxBytes) => images.evict(maxBytes, needed()),
    unfit,
  };
}

function limitsOf(maxBytes: number) {
  return { maxBytes, maxUnpackedBytes: Math.min(DEFAULT_IMAGE_LIMITS.maxUnpackedBytes, UNPACKED_FACTOR * maxBytes) };
}
