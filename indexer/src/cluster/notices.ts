import pg from "pg";
import type { Logger } from "pino";
import { pause } from "./pause.ts";

/** What the triggers of the tables notify. */
const CHANNEL = "berth";
const RETRY_MS = 200;

/**
 * Calls `onNews` when somebody committed something to the shared tables, until `signal` aborts. A notice may get lost with
 * its connection, so `onNews` is called after each new connection too.
 */
export async function hearNotices(
  url: string,
  { onNews, signal, log }: { onNews: () => void; signal: AbortSignal; log: Logger },
): Promise<void> {
  while (!signal.aborted) {
    const client = new pg.Client({
      connectionString: url,
      application_name: "berth-indexer notices",
      keepAlive: true,
      keepAliveInitialDelayMillis: 1_000,
      connectionTimeoutMillis: 5_000,
    });
    const { promise: over, resolve: end } = Promise.withResolvers<void>();
    client.on("notification", onNews).on("end", end);
    client.on("error", (err) => {
      log.warn({ err }, "notices of the database are lost, connecting again");
      end();
    });
    const stop = () => end();
    signal.addEventListener("abort", stop, { once: true });
    try {
      await client.connect();
      await client.query(`LISTEN ${CHANNEL}`);
      onNews();
      await over;
    } catch (err) {
      if (!signal.aborted) log.debug({ err }, "no notices of the database");
    }
    signal.removeEventListener("abort", stop);
    await client.end().catch(() => {});
    await pause(RETRY_MS, signal);
  }
}
