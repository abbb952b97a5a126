import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { MarketError } from "@berth/protocol";
import type { Command } from "commander";
import { z } from "zod";
import type { Run } from "../cli/runner.ts";
import type { Config } from "../config.ts";
import { attemptStates, isBusy } from "../core/states.ts";
import { askNode } from "../http/admin-client.ts";
import type { Context } from "../log.ts";
import { type Draining, isDraining, setDraining } from "../store/drain.ts";
import { viewJournal } from "../store/journal-view.ts";
import { isLocked, openDatabase } from "../store/open.ts";
import { type JobLine, jobLine } from "./jobs.ts";
import { example, facts, timeText } from "./print.ts";

export interface DrainAnswer {
  /** Null: the node takes jobs. Times are unix seconds. */
  draining: Draining | null;
  running: boolean;
  /** Replicas whose result is not on chain yet. */
  busy: Pick<JobLine, "jobId" | "replica" | "phase">[];
  /** Transactions on their way. */
  transactions: number;
  /** Until then an offer made before may still be matched; null when none can. */
  offersUntil: number | null;
}

interface DrainFlags {
  wait?: boolean;
  off?: boolean;
  revoke?: boolean;
  reason?: string;
}

/** How often `--wait` looks. */
const LOOK_MS = 500;
/** A running node stops offering within this. */
const NOTICE_SECONDS = 10;

/** `berth-node drain` */
export function addDrain(program: Command, run: Run): void {
  program
    .command("drain")
    .description("take no new jobs and finish what was taken; stays so until --off, also after a restart")
    .option("--wait", "return when nothing runs, nothing is to be sent and no offer is open")
    .option(
      "--revoke",
      "end the offers that are out now, by a transaction of the hot key; else they run out by themselves",
    )
    .option("--reason <text>", "what `status` and the log say of it")
    .option("--off", "take jobs again")
    .addHelpText("after", example('berth-node drain --wait --reason "new kernel" && reboot', "berth-node drain --off"))
    .action((flags: DrainFlags, self: Command) =>
      run(self, async ({ config, context }) => {
        assertSound(flags);
        await viewJournal(config.dataDir, () => undefined);
        if (flags.revoke === true && !isLocked(config.dataDir)) throw notRunning();
        write(config.dataDir, flags);
        await askNode(config.dataDir, { method: "POST", path: "/look", schema: z.object({}) }, context);
        const isRevoked = flags.revoke === true && (await revoke(config, context));
        const answer = flags.wait === true ? await drained(config, isRevoked, context) : await look(config, isRevoked);
        return { json: answer, text: describe(answer) };
      }),
    );
}

function assertSound({ off, wait, revoke }: DrainFlags): void {
  if (off !== true || (wait !== true && revoke !== true)) return;
  throw new MarketError("USAGE", "--off takes jobs again: there is nothing to wait for or to revoke.", {
    hint: "Give --off alone.",
  });
}

/** The journal takes a second process; its tables stay as the node has them. What was said before and is not said anew stays. */
function write(dataDir: string, { off, reason }: DrainFlags): void {
  const database = openDatabase(join(dataDir, "journal.db"), { asIs: true });
  try {
    const { since = Math.floor(Date.now() / 1000), reason: before = "" } = isDraining(database) ?? {};
    setDraining(database, off === true ? undefined : { since, reason: reason ?? before });
  } finally {
    database.close();
  }
}

/** Throws NODE_STOPPED: only the node itself may use its key. */
async function revoke({ dataDir }: Config, context: Context): Promise<boolean> {
  const done = await askNode(dataDir, { method: "POST", path: "/revoke", schema: z.object({}) }, context);
  if (done !== undefined) return true;
  throw notRunning();
}

function notRunning(): MarketError {
  return new MarketError("NODE_STOPPED", "The node does not run, so it cannot revoke its offers.", {
    hint: "Start it, or wait until they have run out.",
  });
}

/** Throws NODE_STOPPED when it ends with work left, DRAIN_ENDED when somebody called it off. */
async function drained(config: Config, isRevoked: boolean, { signal }: Context): Promise<DrainAnswer> {
  let said = "";
  for (;;) {
    const answer = await look(config, isRevoked);
    const { draining, running, busy, transactions, offersUntil } = answer;
    if (draining === null) {
      throw new MarketError("DRAIN_ENDED", "Somebody let the node take jobs again.", { hint: "Run drain once more." });
    }
    const isOver = busy.length === 0 && transactions === 0;
    if (isOver && offersUntil === null) return answer;
    if (!isOver && !running) {
      const message = `The node does not run, and owes ${busy.length} results and ${transactions} transactions.`;
      throw new MarketError("NODE_STOPPED", message, { hint: "Start it: it finishes them and takes nothing new." });
    }
    const now = progressOf(answer);
    if (now !== said) process.stderr.write(`${now}\n`);
    said = now;
    await pause(LOOK_MS, undefined, { signal });
  }
}

async function look({ dataDir, offers }: Config, isRevoked: boolean): Promise<DrainAnswer> {
  return await viewJournal(dataDir, (view) => {
    const draining = view.draining() ?? null;
    const open = view.jobs({ states: attemptStates.filter(isBusy), limit: 10_000 }).map(jobLine);
    // The newest offer was made before the node noticed.
    const last = draining === null ? null : draining.since + NOTICE_SECONDS + offers.ttlSeconds;
    const areOut = last !== null && !isRevoked && view.block() !== undefined && last * 1000 > Date.now();
    return {
      ...{ draining, running: isLocked(dataDir), transactions: view.openTransactions() },
      busy: open.map(({ jobId, replica, phase }) => ({ jobId, replica, phase })),
      offersUntil: areOut ? last : null,
    };
  });
}

function progressOf({ busy, transactions, offersUntil }: DrainAnswer): string {
  const jobs = busy.map(({ jobId, replica, phase }) => `${jobId.slice(0, 12)}…/${replica} ${phase}`);
  return [
    `${busy.length} jobs${jobs.length === 0 ? "" : ` (${jobs.join(", ")})`}`,
    `${transactions} transactions`,
    ...(offersUntil === null ? [] : [`offers until ${timeText(offersUntil)}`]),
  ].join(", ");
}

function describe(answer: DrainAnswer): string {
  const { draining, running, offersUntil } = answer;
  if (draining === null) return facts([["draining", "no: the node takes jobs"]]);
  return facts([
    ["draining", `since ${timeText(draining.since)}${draining.reason === "" ? "" : `: ${draining.reason}`}`],
    ["running", running ? "yes" : "no"],
    ["left", progressOf(answer)],
    ...(offersUntil === null ? [] : ([["hint", "--revoke ends the offers at once"]] as const)),
  ]);
}
