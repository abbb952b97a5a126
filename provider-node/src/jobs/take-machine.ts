import { createAlarm } from "@berth/chain";
import { errorToJson } from "@berth/protocol";
import type { Machine } from "../core/ports.ts";
import type { Context } from "../log.ts";

/** The engine of a running node. One that cannot be opened is tried again for as long as the node runs. */
export interface TakenMachine {
  /** Undefined until the engine is open. */
  current(): Machine | undefined;
  /** Code of what kept it from opening the last time; undefined once it is open. */
  trouble(): string | undefined;
  /** Resolves when it is open, or when the signal has ended the tries. */
  readonly done: Promise<void>;
}

export interface TakeOptions {
  open(): Promise<Machine>;
  /** Names of the attempts that go on: whatever else an earlier process made is taken away before jobs are run. */
  keep(): readonly string[];
  /** Called when it opens later than at the first try. */
  onOpen(): void;
  pause?(ms: number, signal: AbortSignal): Promise<void>;
}

const FIRST_PAUSE_MS = 5000;
const LONGEST_PAUSE_MS = 300_000;

/** Resolves after the first try, for the rest of the node runs without an engine too. */
export async function takeMachine(options: TakeOptions, own: Context): Promise<TakenMachine> {
  const { open, keep, onOpen, pause = createAlarm().wait } = options;
  const { signal, log } = own;
  let machine: Machine | undefined;
  let trouble: string | undefined;

  const tryToOpen = async (): Promise<void> => {
    try {
      const opened = await open();
      // Again until nothing is left: while it is not open, attempts end without it.
      for (let reaped = await opened.engine.reap(keep(), own); reaped.length > 0; ) {
        log.info({ reaped }, "left-over containers removed");
        reaped = await opened.engine.reap(keep(), own);
      }
      machine = opened;
      trouble = undefined;
    } catch (error) {
      signal.throwIfAborted();
      const { code, message, hint } = errorToJson(error);
      if (trouble !== code) {
        const what = "this machine cannot run jobs yet; the node serves content and follows the chain meanwhile";
        log.error({ code, reason: message, hint }, what);
      }
      trouble = code;
    }
  };
  const insist = async (): Promise<void> => {
    for (let pauseMs = FIRST_PAUSE_MS; machine === undefined; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      await pause(pauseMs, signal);
      if (signal.aborted) return;
      await tryToOpen();
    }
    log.info("this machine can run jobs now");
    onOpen();
  };

  await tryToOpen();
  const done =
    machine === undefined
      ? insist().catch((error: unknown) => {
          if (!signal.aborted) throw error;
        })
      : Promise.resolve();
  return { current: () => machine, trouble: () => trouble, done };
}

/** Leaves nothing on the machine, unless attempts go on without this process. */
export async function releaseMachine({ current, done }: TakenMachine, { log }: Context): Promise<void> {
  await done;
  const machine = current();
  if (machine === undefined || machine.engine.list().length > 0) return;
  await machine.engine.release({ log, signal: AbortSignal.timeout(15_000) });
}
