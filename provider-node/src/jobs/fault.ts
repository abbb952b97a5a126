/**
 * For crash tests: with `BERTH_FAULT_AT=<state>:before` or `:after`, the process kills itself with SIGKILL just before or
 * just after that transition is written, as a power cut would. `settling` is that of results whose time has come.
 */
export function faultPoint(state: string, when: "before" | "after"): void {
  if (process.env["BERTH_FAULT_AT"] !== `${state}:${when}`) return;
  process.kill(process.pid, "SIGKILL");
  // The signal may arrive a moment later; nothing more may happen until then.
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
}
