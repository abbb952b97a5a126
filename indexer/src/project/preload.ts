import type { Hex } from "@berth/protocol";
import type { MarketEvent } from "../decode/events.ts";
import type { ProjectionName } from "../store/tables.ts";
import type { ProjectionKey, ProjectionRow, State } from "./state.ts";

/** A state that can read many rows at once. */
export interface LoadableState extends State {
  /** Reads the rows with these keys in one statement, those that exist and are not there yet. */
  load<N extends ProjectionName>(name: N, keys: readonly ProjectionKey<N>[]): Promise<void>;
  /** Takes the row for one that does not exist yet, without reading. */
  begin<N extends ProjectionName>(name: N, key: ProjectionKey<N>): void;
}

/** What an event may name, whichever it is. */
interface Names {
  jobId?: Hex;
  replica?: number;
  operator?: Hex;
  index?: number;
  token?: Hex;
  account?: Hex;
  identity?: Hex;
  what?: Hex;
  matcher?: Hex;
  arbiter?: Hex;
  requester?: Hex;
  from?: Hex;
  assignment?: { replica: number; operator: Hex; index: number };
  job?: Parties;
  request?: Parties;
}
type Parties = Pick<ProjectionRow<"jobs">, "requester" | "payer" | "token">;
type Keys = { [N in ProjectionName]?: ProjectionKey<N>[] };

/**
 * Reads the rows that `events` will touch, a statement for each table instead of one for each row. What it forgets is
 * read when it is asked for; what it reads in vain costs little.
 */
export async function preload(events: readonly MarketEvent[], state: LoadableState): Promise<void> {
  const named = events.map(({ contract, event }) => ({ contract, name: event.eventName, args: event.args as Names }));
  for (const { name, args } of named) beginWith(name, args, state);
  const direct: Required<Pick<Keys, "jobs" | "replicas" | "leases" | "nodes" | "stakes" | "owed" | "balances">> &
    Required<Pick<Keys, "identities" | "acceptances">> = {
    ...{ jobs: [], replicas: [], leases: [], nodes: [], stakes: [], owed: [], balances: [] },
    ...{ identities: [], acceptances: [] },
  };
  for (const { contract, name, args } of named) {
    const { jobId, operator, index, token, account, identity, what } = args;
    const replica = args.replica ?? args.assignment?.replica;
    if (jobId !== undefined) direct.jobs.push({ jobId });
    if (jobId !== undefined && replica !== undefined) {
      direct.replicas.push({ jobId, replica });
      if (NEED_LEASE.has(name)) direct.leases.push({ jobId, replica });
    }
    if (args.assignment !== undefined) direct.nodes.push(args.assignment);
    else if (operator !== undefined && index !== undefined) direct.nodes.push({ operator, index });
    if (operator !== undefined && token !== undefined) direct.stakes.push({ operator, token });
    if (operator !== undefined && what !== undefined) direct.acceptances.push({ operator, what });
    if (account !== undefined && token !== undefined) {
      direct[contract === "staking" ? "owed" : "balances"].push({ account, token });
    }
    if (identity !== undefined) direct.identities.push({ identity });
  }
  for (const [name, keys] of Object.entries(direct)) await state.load(name as ProjectionName, keys as never);

  // Whose money moves, and whose capacity, is for many events only in the rows of the job and the replica.
  const parties = new Map<Hex, Parties>();
  for (const { args } of named) {
    const order = args.job ?? args.request;
    if (args.jobId !== undefined && order !== undefined) parties.set(args.jobId, order);
  }
  const balances: ProjectionKey<"balances">[] = [];
  const nodes: ProjectionKey<"nodes">[] = [];
  for (const { args } of named) {
    const { jobId, replica } = args;
    if (jobId === undefined) continue;
    const job = parties.get(jobId) ?? (await state.get("jobs", { jobId }));
    const token = job?.token ?? null;
    if (job === undefined || token === null) continue;
    const { operator, matcher, arbiter, requester, from } = args;
    for (const account of [job.payer, job.requester, operator, matcher, arbiter, requester, from]) {
      if (account !== undefined && account !== null) balances.push({ account, token });
    }
    const part = replica === undefined ? undefined : await state.get("replicas", { jobId, replica });
    if (part !== undefined) nodes.push(part);
  }
  await state.load("balances", balances);
  await state.load("nodes", nodes);
}

/** What asks for the row of a lease. */
const NEED_LEASE: ReadonlySet<string> = new Set(["LeaseClaimed", "LeaseToppedUp", "LeaseClosing", "ReplicaSettled"]);

/** The market posts a job once and matches a replica once, and nothing is known of either before. */
function beginWith(name: string, { jobId, assignment }: Names, state: LoadableState): void {
  if (jobId === undefined) return;
  if (name === "RequestPosted") state.begin("jobs", { jobId });
  if (name !== "ReplicaMatched" || assignment === undefined) return;
  state.begin("replicas", { jobId, replica: assignment.replica });
  state.begin("leases", { jobId, replica: assignment.replica });
}
