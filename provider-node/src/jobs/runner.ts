import { rm } from "node:fs/promises";
import { type Alarm, createAlarm } from "@berth/chain";
import { MarketError, MODE } from "@berth/protocol";
import { attemptName } from "../core/attempt-name.ts";
import { deadlinesOf } from "../core/deadlines.ts";
import { decide } from "../core/decide.ts";
import type { JobTools } from "../core/ports.ts";
import { specFaultOf } from "../core/start-fault.ts";
import type { Action, AttemptView, EngineView, Situation, Veto } from "../core/states.ts";
import type { Context } from "../log.ts";
import type { Transition } from "../metrics/phases.ts";
import { blockTimeOf } from "../store/chain-store.ts";
import { createDecisions, type Reason } from "../store/decisions.ts";
import type { AttemptRow, Change, JobRow } from "../store/journal.ts";
import { attestAttempt } from "./attest.ts";
import { collectAttempt } from "./collect.ts";
import { boundedBy } from "./deadline.ts";
import { faultPoint } from "./fault.ts";
import { machineOf, prepareAttempt, remakeContainer, stagingOf } from "./prepare.ts";
import { publishAttempt } from "./publish.ts";
import { declineReplica, submitResult, transactionOf } from "./submit.ts";

/** Drives every open attempt, each by a worker of its own; the market never matches a node beyond its capacity. */
export interface Runner {
  /** There is news from the chain or this machine: take up new attempts, wake those that wait. */
  poke(): void;
  /** There is news about one replica. */
  wake(jobId: string, replica: number): void;
  /** The last error of a replica that is being tried again. */
  troubleOf(jobId: string, replica: number): string | undefined;
  /** Resolves when all workers have stopped, after the signal. */
  idle(): Promise<void>;
}

/** The first retry is fast: an indexer may hear of a job's sources just after the match. */
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 20_000;

/** @param observe called after every change of an attempt's state */
export function createRunner(
  tools: JobTools,
  context: Context,
  observe: (transition: Transition) => void = () => {},
): Runner {
  const { journal, database } = tools;
  const { signal } = context;
  const decisions = createDecisions(database);
  const workers = new Map<string, { alarm: Alarm; done: Promise<void> }>();
  const troubles = new Map<string, string>();

  return {
    poke() {
      for (const { jobId, replica } of journal.open()) {
        const key = keyOf(jobId, replica);
        const worker = workers.get(key);
        if (worker !== undefined) worker.alarm.ring();
        else if (!signal.aborted) begin(key, { jobId, replica });
      }
    },
    wake: (jobId, replica) => workers.get(keyOf(jobId, replica))?.alarm.ring(),
    troubleOf: (jobId, replica) => troubles.get(keyOf(jobId, replica)),
    idle: async () => {
      await Promise.all([...workers.values()].map(({ done }) => done));
    },
  };

  function begin(key: string, replica: Pick<JobRow, "jobId" | "replica">): void {
    const alarm = createAlarm();
    const log = context.log.child({ job: replica.jobId, replica: replica.replica });
    const done = work(replica, alarm, { signal, log }).finally(() => {
      workers.delete(key);
      troubles.delete(key);
    });
    workers.set(key, { alarm, done });
  }

  /** Decide, do, write, again; a failure is a reason to wait and look afresh, never to give up. */
  async function work(id: Pick<JobRow, "jobId" | "replica">, alarm: Alarm, own: Context): Promise<void> {
    let failures = 0;
    let trouble: unknown;
    while (!signal.aborted) {
      try {
        const job = journal.job(id.jobId, id.replica);
        const attempt = journal.attempt(id.jobId, id.replica);
        if (job === undefined || attempt === undefined) return;
        const action = decide(await look(job, attempt, tools, own));
        if (action.do === "nothing") return;
        await perform(action, job, attempt, alarm, own, trouble);
        failures = 0;
        trouble = undefined;
        troubles.delete(keyOf(id.jobId, id.replica));
      } catch (error) {
        if (signal.aborted) return;
        failures += 1;
        trouble = error;
        const { code, message, hint } = error as MarketError;
        own.log.warn(
          { code, reason: message, hint, failures, err: code === undefined ? error : undefined },
          "step failed, trying again",
        );
        // The world can read it: what a source or a program answered stays in the log.
        const what =
          code === "CONTENT_UNAVAILABLE" ? message : `A step failed and is tried again (${code ?? "INTERNAL"}).`;
        troubles.set(keyOf(id.jobId, id.replica), what);
        await alarm.wait(Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures - 1, 10)), signal);
      }
    }
  }

  /** @param trouble what the same action failed with the last time */
  async function perform(
    action: Action,
    job: JobRow,
    attempt: AttemptRow,
    alarm: Alarm,
    own: Context,
    trouble: unknown,
  ): Promise<void> {
    const name = attemptName(tools.self.runId, attempt);
    switch (action.do) {
      case "wait":
        return alarm.wait(action.seconds * 1000, signal);
      case "enter": {
        const facts = {
          ...(action.state === "running" && { ran: true as const }),
          ...(action.outcome !== undefined && { finishedAt: attempt.facts.finishedAt ?? Date.now() }),
        };
        const message = action.outcome === "cancelled" ? withCode(action.message, trouble) : action.message;
        return write(attempt, { ...action, ...(message !== undefined && { message }), facts }, own);
      }
      case "prepare":
        return write(attempt, await prepareAttempt(job, attempt, tools, own, trouble), own);
      case "remake":
        return remakeContainer(job, attempt, tools, own);
      case "attest":
        return write(attempt, await byStart(job, attempt, own, (o) => attestAttempt(job, attempt, tools, o)), own);
      case "start":
        return byStart(job, attempt, own, (bounded) => startContainer(name, attempt, bounded));
      case "await-exit":
        return awaitExit(name, alarm, own);
      case "collect":
        return write(attempt, await collectAttempt(job, attempt, tools, own), own);
      case "publish":
        return write(attempt, await publishAttempt(job, attempt, tools, own), own);
      case "submit":
        // The intent first: the claim is fixed, and the outbox knows its own by their key.
        if (attempt.state !== "submitting") write(attempt, { state: "submitting" }, own);
        return submitResult(job, attempt, tools);
      case "decline":
        if (attempt.state !== "declined") giveBack(job, attempt, action.reason, own);
        return declineReplica(job, attempt, tools);
      case "retry": {
        await takeAway(attempt, own);
        return database.atomically(() => {
          write(attempt, { state: "retried", message: "The run was lost; the spec allows another." }, own);
          const { spec } = attempt.facts;
          const next = { jobId: job.jobId, replica: job.replica, attempt: attempt.attempt + 1 };
          journal.begin(next, { state: "matched", facts: spec === undefined ? {} : { spec } }, tools.now());
        });
      }
      case "clean":
        await takeAway(attempt, own);
        return write(attempt, { state: "cleaned" }, own);
      case "nothing":
    }
  }

  /** The container and what was fetched for it. */
  async function takeAway(attempt: AttemptRow, own: Context): Promise<void> {
    await tools.machine?.engine.cleanup(attemptName(tools.self.runId, attempt), own);
    await rm(stagingOf(attempt, tools), { recursive: true, force: true });
  }

  /** The world reads that it was declined; why, only the operator. */
  function giveBack(job: JobRow, attempt: AttemptRow, reason: Reason | null, own: Context): void {
    const { jobId, replica } = job;
    const { requester } = job.terms.job;
    database.atomically(() => {
      write(attempt, { state: "declined", message: "This node declined the job." }, own);
      if (reason === null) return;
      decisions.record({ at: tools.now(), jobId, replica, what: "match", requester, ...reason });
    });
    own.log.info({ code: reason?.code, reason: reason?.text }, "match declined");
  }

  /** What overruns the time to start is ended; the next look then says that it is too late. */
  async function byStart<T>(job: JobRow, attempt: AttemptRow, own: Context, step: (own: Context) => Promise<T>) {
    const { startBy } = deadlinesOf(job, attempt.facts.spec);
    using bounded = boundedBy(startBy, tools, own);
    return await step(bounded.context);
  }

  /** What no node could start is a result; every other failure is this node's own, and it tries again while there is time. */
  async function startContainer(name: string, attempt: AttemptRow, own: Context): Promise<void> {
    try {
      await machineOf(tools).engine.start(name, own);
    } catch (error) {
      own.signal.throwIfAborted();
      if ((error as MarketError).code === "ENGINE_START_OVERDUE") {
        const message = "This node offered gVisor, and it did not start the job.";
        const facts = { finishedAt: Date.now(), unserved: true as const };
        return write(attempt, { state: "collected", outcome: "cancelled", message, facts }, own);
      }
      const message = specFaultOf(error);
      if (message === undefined) throw error;
      own.log.info({ err: error }, "the job cannot be started");
      write(attempt, { state: "collected", outcome: "spec-invalid", message, facts: { finishedAt: Date.now() } }, own);
    }
  }

  function write(attempt: AttemptRow, change: Change, { log }: Context): void {
    faultPoint(change.state, "before");
    const next = journal.change(attempt, change, tools.now());
    faultPoint(change.state, "after");
    observe({ from: attempt, to: next });
    const { outcome, message } = next;
    log.info({ attempt: next.attempt, from: attempt.state, state: next.state, outcome, message }, "attempt moved on");
  }

  /** Until the container ends, or there is news that may end it. */
  async function awaitExit(name: string, alarm: Alarm, own: Context): Promise<void> {
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal]);
    const exit = machineOf(tools).engine.wait(name, { ...own, signal: both });
    const ended = exit.then(() => undefined);
    try {
      await Promise.race([ended, alarm.wait(15_000, both)]);
    } finally {
      stop.abort();
      await exit.catch(() => undefined);
    }
  }
}

async function look(job: JobRow, attempt: AttemptRow, tools: JobTools, context: Context): Promise<Situation> {
  const { spec } = attempt.facts;
  const view: AttemptView = {
    state: attempt.state,
    attempt: attempt.attempt,
    since: attempt.since,
    outcome: attempt.outcome,
    idempotent: spec?.idempotent ?? false,
    attestation: spec?.attestation ?? "none",
    isLease: job.terms.job.mode === MODE.lease,
    maxSeconds: job.terms.job.maxSeconds,
    ...deadlinesOf(job, spec),
  };
  const veto = await vetoOf(view, job, attempt, tools, context);
  const asksEngine = attempt.state === "attested" || attempt.state === "running";
  return {
    attempt: view,
    chain: job.chain,
    droppedAt: job.droppedAt,
    now: tools.now(),
    blockTime: blockTimeOf(tools.database),
    followed: tools.isFollowed?.() ?? true,
    canServe: tools.machine !== undefined,
    veto,
    engine: asksEngine ? await engineView(attempt, tools, context) : "unknown",
    transaction: await transactionOf(attempt, tools),
  };
}

async function vetoOf(
  view: AttemptView,
  job: JobRow,
  attempt: AttemptRow,
  tools: JobTools,
  context: Context,
): Promise<Veto | null> {
  const isNew = view.state === "matched" && view.attempt === 0 && !view.isLease;
  const isAsked = isNew && job.chain === "active" && tools.now() <= view.acceptBy;
  return isAsked ? ((await tools.vetoMatch?.(job, attempt, context)) ?? null) : null;
}

async function engineView(attempt: AttemptRow, tools: JobTools, context: Context): Promise<EngineView> {
  if (tools.machine === undefined) return "unknown";
  return (await tools.machine.engine.inspect(attemptName(tools.self.runId, attempt), context)).phase;
}

/** With the code of what a step failed with before: the world reads no more of this machine than that. */
function withCode(message: string | undefined, trouble: unknown): string | undefined {
  if (trouble === undefined) return message;
  const code = trouble instanceof MarketError ? trouble.code : "INTERNAL";
  return message?.replace(/\.$/, ` (${code}).`);
}

function keyOf(jobId: string, replica: number): string {
  return `${jobId}/${replica}`;
}
