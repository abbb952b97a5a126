import type { Address, Hex, JobId } from "@berth/protocol";
import { requesterEvents, storedReplica } from "../chain-reads.ts";
import type { Client, Context } from "../client.ts";

/** One line of a list of jobs. */
export interface JobLine {
  jobId: Hex;
  state: string;
  requester: Address;
  replicas: { operator: Address | null; index: number | null; state: string; charge: string | null }[];
}

/** A requester's jobs, newest first: from the indexer where there is one, else from the chain's events. */
export async function listJobs(
  client: Client,
  { requester }: { requester: Address },
  context: Context = {},
): Promise<JobLine[]> {
  if (client.indexer !== undefined) {
    const jobs = await client.indexer.jobs({ requester }, context);
    return jobs.map(({ jobId, state, requester: owner, replicas }) => ({
      jobId,
      state,
      requester: owner ?? requester,
      replicas: replicas.map(({ operator, index, state: own, charge }) => ({
        operator,
        index,
        state: own,
        charge: charge ?? null,
      })),
    }));
  }
  const events = await requesterEvents(client, requester, context.signal);
  const jobs = new Map(
    events.flatMap(({ eventName, args }) => {
      if (eventName === "RequestPosted") return [[args.jobId, args.request.replicas] as const];
      return eventName === "JobMatched" ? [[args.jobId, args.job.replicas] as const] : [];
    }),
  );
  const lines = [...jobs].reverse().map(async ([jobId, count]): Promise<JobLine> => {
    const stored = await Promise.all(
      Array.from({ length: count }, (_, replica) => storedReplica(client, jobId as JobId, replica)),
    );
    return {
      jobId,
      state: stored[0]?.state ?? "none",
      requester,
      replicas: stored.map(({ state }) => ({ operator: null, index: null, state, charge: null })),
    };
  });
  return await Promise.all(lines);
}
