import { MarketError } from "@berth/protocol";
import type { Progress } from "./devnet.ts";

/** Progress for people, on stderr: a line per step when it is done, with the seconds it took. */
export function stderrProgress(): Progress {
  const write = (text: string) => process.stderr.write(`${text}\n`);
  return {
    async step(what, work) {
      const startedAt = performance.now();
      const seconds = () => `${((performance.now() - startedAt) / 1000).toFixed(1)} s`.padStart(7);
      if (process.stderr.isTTY) write(`        … ${what}`);
      try {
        const result = await work();
        write(`${seconds()} ✔ ${what}`);
        return result;
      } catch (error) {
        write(`${seconds()} ✖ ${what}`);
        throw error;
      }
    },
    note: (text) => write(`          ${text}`),
  };
}

/** An abort signal that a person (Ctrl-C), a supervisor (SIGTERM) or a lost parent sets off. */
export function stopSignal(): AbortSignal {
  const stop = new AbortController();
  const abort = (why: string) => stop.abort(new MarketError("STOPPED", `Stopped: ${why}.`));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => abort(signal));
  process.on("disconnect", () => abort("the command that started this is gone"));
  return stop.signal;
}
