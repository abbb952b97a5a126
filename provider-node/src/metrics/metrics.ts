import { readFileSync } from "node:fs";
import type { FollowerStatus } from "@berth/chain";
import type { ContentStore } from "@berth/content";
import { MIB } from "@berth/protocol";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { Capacity } from "../core/offer.ts";
import type { Hindrance } from "../core/readiness.ts";
import { freeBytesOf } from "../disk.ts";
import type { OfferingState } from "../store/offering-state.ts";
import type { FigureReader } from "./figures.ts";
import type { Held } from "./held.ts";
import { createPhaseClock, type Transition } from "./phases.ts";

/** What a scrape looks at. */
export interface MetricsSources {
  dataDir: string;
  /** `none` where this machine runs no jobs. */
  engine(): string;
  capacity: Capacity;
  figures: FigureReader;
  content: Pick<ContentStore, "pins">;
  /** What lies on the disk, counted now and then. */
  held(): Held;
  chain(): FollowerStatus;
  /** Unix seconds of the newest applied block; undefined before the first. */
  blockTime(): number | undefined;
  offering(): OfferingState | undefined;
  hindrances(): Hindrance[];
  /** Unix seconds by the chain's clock. */
  now(): number;
}

/** What is counted as it happens, and what is looked up when Prometheus asks. */
export interface Metrics {
  /** For the runner: called after every change of an attempt's state. */
  observe(transition: Transition): void;
  rpcFailed(host: string): void;
  /** Attempts that an earlier process left unfinished. */
  recovered(count: number): void;
  /** From now on `text` says everything. */
  watch(sources: MetricsSources): void;
  /** In the text format of Prometheus. */
  text(): Promise<string>;
  readonly contentType: string;
}

const PREFIX = "berth_node_";
const BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400];

export function createMetrics(): Metrics {
  const registry = new Registry();
  const make = { registers: [registry] };
  const durations = new Histogram({
    ...make,
    name: `${PREFIX}phase_duration_seconds`,
    help: "How long the phases of attempts took",
    labelNames: ["phase"],
    buckets: BUCKETS,
  });
  const ended = new Counter({
    ...make,
    name: `${PREFIX}attempts_total`,
    help: "Attempts that came to an outcome since this process started",
    labelNames: ["outcome"],
  });
  const rpcFailures = new Counter({
    ...make,
    name: `${PREFIX}rpc_failures_total`,
    help: "Calls that an RPC did not answer, or not sensibly",
    labelNames: ["host"],
  });
  const recovered = new Counter({
    ...make,
    name: `${PREFIX}recovered_attempts_total`,
    help: "Unfinished attempts of an earlier process that this one took up",
  });
  const clock = createPhaseClock((phase, seconds) => durations.observe({ phase }, seconds));
  return {
    observe(transition) {
      const { from, to } = transition;
      clock(transition);
      if (to.outcome !== null && from.outcome === null) ended.inc({ outcome: to.outcome });
    },
    rpcFailed: (host) => rpcFailures.inc({ host }),
    recovered: (count) => recovered.inc(count),
    watch(sources) {
      collectDefaultMetrics({ register: registry });
      addGauges(registry, sources);
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

interface Sample {
  labels?: Record<string, string>;
  value: number;
}

function addGauges(registry: Registry, sources: MetricsSources): void {
  const { figures, capacity, content, held, chain } = sources;
  /** One look at the journal for all gauges of one scrape: they are collected in one turn. */
  let seen: ReturnType<FigureReader["read"]> | undefined;
  const read = () => {
    if (seen !== undefined) return seen;
    queueMicrotask(() => {
      seen = undefined;
    });
    seen = figures.read();
    return seen;
  };
  const gauge = (name: string, help: string, labelNames: string[], look: () => Sample[] | Promise<Sample[]>) => {
    new Gauge({
      registers: [registry],
      name: `${PREFIX}${name}`,
      help,
      labelNames,
      async collect() {
        const samples = await look();
        this.reset();
        for (const { labels, value } of samples) labels === undefined ? this.set(value) : this.set(labels, value);
      },
    });
  };
  const one = (name: string, help: string, look: () => number | undefined) =>
    gauge(name, help, [], () => {
      const value = look();
      return value === undefined ? [] : [{ value }];
    });

  gauge("build_info", "What runs; always 1", ["version", "node_version", "engine"], () => [
    { labels: { version, node_version: process.version, engine: sources.engine() }, value: 1 },
  ]);
  gauge("jobs", "Replicas in the journal, by the state and outcome of their newest attempt", ["state", "outcome"], () =>
    read().jobs.map(({ state, outcome, count }) => ({ labels: { state, outcome }, value: count })),
  );
  one("active_jobs", "Replicas that a result is owed for", () => read().reserved.jobs);
  one("reserved_cores", "Processors reserved for active jobs", () => read().reserved.cpuMilli / 1000);
  one("offered_cores", "Processors that all jobs together may have", () => capacity.cpuMilli / 1000);
  one("reserved_memory_bytes", "Memory reserved for active jobs", () => read().reserved.memoryMiB * MIB);
  one("offered_memory_bytes", "Memory that all jobs together may have", () => capacity.memoryMiB * MIB);
  one("reserved_disk_bytes", "Output volumes reserved for active jobs", () => read().reserved.diskMiB * MIB);
  one("offered_disk_bytes", "Output volumes that all jobs together may have", () => capacity.diskMiB * MIB);
  gauge("transactions", "Transactions of this node by state", ["state"], () =>
    read().transactions.map(({ state, count }) => ({ labels: { state }, value: count })),
  );
  one("gas_spent_wei", "wei that this node's mined transactions cost, ever", () => Number(read().gasWei));
  one("oldest_transaction_age_seconds", "Age of the oldest transaction that is not mined; 0 when there is none", () => {
    const since = read().oldestTransactionAtMs;
    return since === null ? 0 : Math.max(0, (Date.now() - since) / 1000);
  });
  one("chain_head_block", "Highest block that the RPC knows", () => chain().head ?? undefined);
  one("chain_applied_block", "Highest block that the journal has applied", () => chain().cursor?.number);
  one("chain_lag_seconds", "Age of the newest applied block", () => {
    const time = sources.blockTime();
    return time === undefined ? undefined : Math.max(0, sources.now() - time);
  });
  gauge("content_pins", "Pins in the content store", [], async () => [{ value: (await content.pins()).length }]);
  one("content_bytes", "Bytes of the content store on disk", () => held().contentBytes);
  one("images", "Images in the engine's store", () => held().images);
  one("image_bytes", "Bytes of those images", () => held().imageBytes);
  one("disk_free_bytes", "Free bytes of the disk with the data folder", () => freeBytesOf(sources.dataDir));
  one("offers", "Offers that indexers have of this node", () => liveOffers(sources).length);
  gauge("offers_withheld", "Profiles that are not offered, with the reason; 1 each", ["profile", "reason"], () =>
    (sources.offering()?.withheld ?? []).map(({ profile, reason }) => ({
      labels: { profile: profile ?? "", reason },
      value: 1,
    })),
  );
  one("ready", "1 when nothing keeps the node from taking jobs", () => (sources.hindrances().length === 0 ? 1 : 0));
  gauge("not_ready", "What keeps the node from taking jobs; 1 each", ["reason"], () =>
    sources.hindrances().map(({ code }) => ({ labels: { reason: code }, value: 1 })),
  );
  const notTaken = new Counter({
    registers: [registry],
    name: `${PREFIX}jobs_not_taken_total`,
    help: "Posted requests left alone and matches given back since this process started, by reason",
    labelNames: ["what", "reason"],
    collect: () => {
      for (const { what, code, count } of figures.newDecisions()) notTaken.inc({ what, reason: code }, count);
    },
  });
}

function liveOffers({ offering, now }: MetricsSources): OfferingState["offers"] {
  return (offering()?.offers ?? []).filter(({ expiresAt }) => expiresAt >= now());
}

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  version: string;
};
