import type { RequestHandler } from "express";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { openCountOf } from "./open-count.ts";
import type { ApiContext } from "./route.ts";

/** What Prometheus reads. */
export interface Metrics {
  /** Counts every answer and how long it took. */
  observe: RequestHandler;
  /** In the text format of Prometheus. */
  text(): Promise<string>;
}

const PREFIX = "berth_indexer_";
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

export function createMetrics(context: ApiContext): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: PREFIX });
  const labelNames = ["method", "route", "status"] as const;
  const durations = new Histogram({
    registers: [registry],
    name: `${PREFIX}http_request_duration_seconds`,
    help: "How long answers took; of streams, how long they were open",
    labelNames,
    buckets: BUCKETS,
  });
  const gauge = (name: string, help: string, read: () => number | null | undefined) =>
    new Gauge({
      registers: [registry],
      name: `${PREFIX}${name}`,
      help,
      collect() {
        this.set(read() ?? Number.NaN);
      },
    });
  gauge("head_block", "Highest block that the RPC knows", () => context.follower.status().head);
  gauge("indexed_block", "Highest block in the tables", () => context.follower.status().cursor?.number);
  gauge("lag_blocks", "Blocks that could be indexed already", () => context.follower.status().lagBlocks);
  gauge("ready", "1 while the tables are as new as the chain", () => Number(context.caughtUp()));
  gauge("leader", "1 while this indexer is the one that follows the chain", () => Number(context.role() === "leader"));
  gauge("book_offers", "Offers in the order book", () => context.live.book.size);
  gauge("open_requests", "Requests that wait for a match", () => openCountOf(context));
  gauge("intake_at_work", "Orders that are being verified and stored", () => context.intake.gate.atWork);
  gauge("intake_waiting", "Orders that wait to be verified", () => context.intake.gate.waiting);
  gauge("changes_sequence", "Number of the newest event of the change stream", () => context.changes.newest);
  gauge("streams_open", "Readers of the change stream", () => context.streams.open);
  new Gauge({
    registers: [registry],
    name: `${PREFIX}peers`,
    help: "Other indexers that orders are read from",
    labelNames: ["state"],
    collect() {
      const states = context.peers.status().map(({ state }) => state);
      for (const state of ["new", "following", "failing"] as const) {
        this.set({ state }, states.filter((other) => other === state).length);
      }
    },
  });
  new Gauge({
    registers: [registry],
    name: `${PREFIX}peer_orders`,
    help: "Orders of each peer since it was found",
    labelNames: ["peer", "result"],
    collect() {
      this.reset();
      for (const { url, taken, refused } of context.peers.status()) {
        this.set({ peer: url, result: "taken" }, taken);
        this.set({ peer: url, result: "refused" }, refused);
      }
    },
  });
  new Counter({
    registers: [registry],
    name: `${PREFIX}intake_busy_total`,
    help: "Orders that were turned away because too many waited",
    collect() {
      this.reset();
      this.inc(context.intake.gate.refused);
    },
  });
  new Counter({
    registers: [registry],
    name: `${PREFIX}streams_dropped_total`,
    help: "Readers of the change stream that were dropped because they were too slow",
    collect() {
      this.reset();
      this.inc(context.streams.slow);
    },
  });

  return {
    observe(request, response, next) {
      const end = durations.startTimer();
      response.once("close", () => {
        // A path that is not a route would make a label of its own for every typing error.
        const route = String(request.route?.path ?? "none");
        end({ method: request.method, route, status: String(response.statusCode) });
      });
      next();
    },
    text: () => registry.metrics(),
  };
}
