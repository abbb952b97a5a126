import type { Config } from "../config.ts";
import { startDaemon } from "../jobs/daemon.ts";
import type { Context } from "../log.ts";

/** How long a polite stop may take before the process ends anyway. */
const STOP_MS = 30_000;

/** Runs the node until `signal` aborts. `onReady` gets one JSON-ready object when everything runs. */
export async function start(config: Config, onReady: (facts: object) => void, context: Context): Promise<void> {
  const { signal, log } = context;
  const daemon = await startDaemon(config, context);
  const stopped = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => stopped.resolve(), { once: true });
  if (signal.aborted) stopped.resolve();
  try {
    const announce = daemon.ready.then(() => {
      const facts = daemon.facts();
      log.info(facts, "node ready");
      onReady(facts);
    });
    await Promise.race([Promise.all([announce, stopped.promise]), daemon.failed, stopped.promise]);
  } finally {
    log.info({}, "node stopping");
    const force = setTimeout(() => {
      log.error({ afterMs: STOP_MS }, "parts did not stop in time; the journal is safe");
      process.exit(1);
    }, STOP_MS).unref();
    await daemon.stop();
    clearTimeout(force);
    log.info({}, "node stopped");
  }
}
