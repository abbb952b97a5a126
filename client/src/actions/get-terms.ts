import { type JobId, MarketError, type Terms, type UnixSeconds } from "@berth/protocol";
import type { Client, Context } from "../client.ts";
import { getJob } from "./get-job.ts";

/** What both sides agreed on for one replica, and when it was bound. */
export interface MatchedTerms {
  terms: Terms;
  matchedAt: UnixSeconds;
}

/** The terms of each replica of a matched job, from the market's events. Throws JOB_UNKNOWN, JOB_NOT_MATCHED. */
export async function getTerms(client: Client, jobId: JobId, context: Context = {}): Promise<MatchedTerms[]> {
  const job = await getJob(client, jobId, context);
  if (job.replicas.length === 0) throw new MarketError("JOB_NOT_MATCHED", `The job is ${job.state}: nobody took it.`);
  return job.replicas.map(({ terms, matchedAt }) => ({ terms, matchedAt }));
}
