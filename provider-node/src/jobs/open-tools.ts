import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Rpc } from "@berth/chain";
import { createAttester } from "../attest/index.ts";
import type { Config } from "../config.ts";
import { sourcesOf } from "../content/sources.ts";
import type { JobTools } from "../core/ports.ts";
import { peersFor } from "../image/fetch/peer.ts";
import { openImages } from "../image/images.ts";
import type { Context } from "../log.ts";
import { createVeto } from "../policy/veto.ts";
import { createPromises } from "../store/promises.ts";
import { fetchSpec } from "./prepare.ts";

/** What a node has before it can run a job. */
export type NodeParts = Required<
  Pick<
    JobTools,
    | "self"
    | "deployment"
    | "database"
    | "journal"
    | "chain"
    | "outbox"
    | "content"
    | "intake"
    | "servesGvisor"
    | "isFollowed"
    | "now"
  >
> &
  Pick<JobTools, "machine">;

/** Adds to the parts of a node what jobs are run with as its configuration says: images, sources, attester, veto. */
export async function openTools(
  parts: NodeParts,
  { config, rpc }: { config: Config; rpc: Rpc },
  { log }: Context,
): Promise<JobTools> {
  const { self, deployment, database, journal, chain, now } = parts;
  const stagingDir = join(config.dataDir, "staging");
  await mkdir(stagingDir, { recursive: true, mode: 0o711 });
  const allowPrivate = config.content.allowPrivateSources;
  const minFreeBytes = config.minFreeMiB * 2 ** 20;
  const images = openImages({
    dir: join(config.dataDir, "images"),
    settings: config.images,
    allowPrivate,
    minFreeBytes,
    peersFor: (digest) => peersFor(digest, chain.nodes(), self, { now: now(), allowPrivate }),
    now,
  });
  const sourceOptions = { indexers: config.indexers, gateways: config.contentGateways, allowPrivate, chain, now };
  const { had: hadOffered } = createPromises(database);
  const tools: JobTools = {
    ...parts,
    get machine() {
      return parts.machine; // it may open later
    },
    images,
    attester: config.attestation.type === "none" ? undefined : createAttester(config.attestation, { log }),
    sourcesOf: (job, own) => sourcesOf(job, sourceOptions, own),
    stagingDir,
    maxContentBytes: config.maxContentMiB * 2 ** 20,
    minFreeBytes,
    maxOutputFiles: config.maxOutputFiles,
    hadOffered,
    vetoMatch: createVeto({
      lacksGvisor: (matchedAt) => hadOffered("isolation-gvisor", matchedAt) && not(parts.servesGvisor()),
      ...{ self, rpc, deployment, database, journal, now },
      ...{ deny: config.offers.deny, declineAtCost: config.offers.declineAtCost, hook: config.hook },
      isUnsigned: config.images.policy.length === 0 ? undefined : images.isUnsigned,
      unfit: async (wanted, own) => await parts.machine?.unfit?.(wanted, own),
      fetchSpec: (job, own) => fetchSpec(job, tools, own),
    }),
  };
  return tools;
}

function not(known: boolean | undefined): boolean | undefined {
  return known === undefined ? undefined : !known;
}
