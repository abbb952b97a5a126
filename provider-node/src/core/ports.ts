import type { Outbox } from "@berth/chain";
import type { ContentStore, Source } from "@berth/content";
import type { Address, Deployment, Hex, Trait } from "@berth/protocol";
import type { LocalAccount } from "viem";
import type { Attester } from "../attest/index.ts";
import type { Engine } from "../engine/types.ts";
import type { Images } from "../image/images.ts";
import type { Intake } from "../jobs/intake.ts";
import type { Context } from "../log.ts";
import type { VetoMatch } from "../policy/veto.ts";
import type { ChainStore } from "../store/chain-store.ts";
import type { JobRow, Journal } from "../store/journal.ts";
import type { Database } from "../store/open.ts";

/** Who this node is. */
export interface Self {
  operator: Address;
  index: number;
  /** The hot key: signs offers and results, sends transactions. */
  account: LocalAccount;
  /** WireGuard key that jobs are bound to; zero while the mesh is off. */
  wgKey: Hex;
  /** Part of every name this node gives to containers. */
  runId: string;
  /** Where others read this node's content. */
  publicUrl: string;
}

/** The container engine together with its images. */
export interface Machine {
  engine: Engine;
  /** Hash of the sandbox policy, as attestations and results carry it. */
  policyHash: Hex;
  hasImage(digest: string, context: Context): Promise<boolean>;
  /** Verifies an OCI layout folder of at most `maxBytes` against `digest` and brings it into the store. */
  importImage(layoutDir: string, digest: string, context: Context, maxBytes: number): Promise<void>;
  /** Absent: this engine does not tell. */
  listImages?(context: Context): Promise<{ digest: string; bytes: number }[]>;
  /** Drops images, least recently used first, until those left have at most `maxBytes`. Returns the digests dropped. */
  evictImages(maxBytes: number, context: Context): Promise<string[]>;
  /** Why it could never run this, though it is within the capacity; absent where all of that is one machine's. */
  unfit?(wanted: Wanted, context: Context): Promise<string | undefined>;
}

/** What a job asks of the machine that runs it. */
export interface Wanted {
  cpuMilli: number;
  memoryMiB: number;
  gpus: number;
  maxSeconds: number;
}

/** Everything that executing a job touches, so that a test can put its own things in. */
export interface JobTools {
  self: Self;
  deployment: Deployment;
  database: Database;
  journal: Journal;
  chain: ChainStore;
  outbox: Outbox;
  content: ContentStore;
  /** Undefined when this machine cannot run containers. */
  machine: Machine | undefined;
  /** Where images come from, and whose signatures they need. */
  images: Images;
  /** Undefined when this node attests nothing. */
  attester: Attester | undefined;
  /** Where a job's content may be had, best first. */
  sourcesOf(job: JobRow, context: Context): Promise<Source[]>;
  /** Folder for things on their way; `<dir>/<attempt name>` is removed with the attempt. */
  stagingDir: string;
  /** The most that the image and the inputs of one attempt may need, together. */
  maxContentBytes: number;
  /** Nothing is fetched while less of the disk than this is free. */
  minFreeBytes: number;
  /** The most output files that a spec may ask this node to collect. */
  maxOutputFiles: number;
  /** Can jobs be run in gVisor here? Undefined until the first checks have tried. Absent: never. */
  servesGvisor?(): boolean | undefined;
  /** Had this node an offer with `trait` that could be taken at `at`? Absent: never. */
  hadOffered?(trait: Trait, at: number): boolean;
  /** Why a match is not wanted. Absent: every match is. */
  vetoMatch?: VetoMatch;
  /** Counts content as it comes in. */
  intake?: Intake;
  /** Does the node see the end of its chain just now? Absent: always. */
  isFollowed?(): boolean;
  /** Unix seconds by the chain's clock, as well as it can be told. */
  now(): number;
}
