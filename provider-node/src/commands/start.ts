import { flushCompileCache } from "node:module";
import { toJson } from "@berth/protocol";
import type { Command } from "commander";
import type { Run } from "../cli/runner.ts";
import type { Config } from "../config.ts";
import type { Daemon } from "../jobs/daemon.ts";
import type { Context } from "../log.ts";
import { giveBackMemory } from "../memory.ts";
import { example } from "./print.ts";

/** How long a polite stop may take before the process ends anyway. */
const STOP_MS = 30_000;

/** `berth-node start` */
export function addStart(program: Command, run: Run): void {
  program
    .command("start")
    .description("run the node; one line of JSON on stdout says when it is ready, the log is on stderr")
    .addHelpText("after", example("berth-node start", "systemctl start berth-node"))
    .action((_flags: object, self: Command) =>
      run(
        self,
        async ({ config, context }) => {
          const onReady = (facts: object) => process.stdout.write(`${toJson({ ready: true, ...facts })}\n`);
          await start(config, onReady, context);
          return undefined;
        },
        { loud: true },
      ),
    );
}

/** Runs the node until `signal` aborts. `onReady` gets one JSON-ready object whenever everything runs. */
async function start(config: Config, onReady: (facts: object) => void, context: Context): Promise<void> {
  // Only here: every other command answers sooner without it.
  const { startDaemon } = await import("../jobs/daemon.ts");
  while (await runDaemon(await startDaemon(config, context), onReady, context));
}

/** Resolves when the daemon has stopped; with true when it has to start again, to put new keys into use. */
async function runDaemon(daemon: Daemon, onReady: (facts: object) => void, { signal, log }: Context): Promise<boolean> {
  const stopped = Promise.withResolvers<false>();
  signal.addEventListener("abort", () => stopped.resolve(false), { once: true });
  if (signal.aborted) stopped.resolve(false);
  try {
    const announce = daemon.ready.then(() => {
      const facts = daemon.facts();
      log.info(facts, "node ready");
      onReady(facts);
      flushCompileCache(); // a node that is killed leaves it too
      giveBackMemory();
    });
    const renewed = Promise.all([announce, daemon.keysDue]).then(() => true);
    const announced = Promise.all([announce, stopped.promise]).then(() => false);
    return await Promise.race([announced, renewed, daemon.failed, stopped.promise]);
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
