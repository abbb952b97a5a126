import { type Hex, type JobId, MarketError, type Offer, type Request, type UnixSeconds } from "@berth/protocol";
import type { Client, Context } from "../client.ts";
import { getJob } from "./get-job.ts";

/** What both sides signed, and when it was bound. */
export interface JobTerms {
  request: Request;
  replicas: { replica: number; offer: Offer; offerHash: Hex; matchedAt: UnixSeconds }[];
}

/** The terms of a matched job, from the market's events. Throws JOB_UNKNOWN, JOB_NOT_MATCHED. */
export async function getTerms(client: Client, jobId: JobId, context: Context = {}): Promise<JobTerms> {
  const job = await getJob(client, jobId, context);
  if (job.replicas.length === 0) throw new MarketError("JOB_NOT_MATCHED", `The job is ${job.state}: nobody took it.`);
  const replicas = job.replicas.map(({ replica, offer, offerHash, matchedAt }) => ({
    replica,
    offer,
    offerHash,
    matchedAt,
  }));
  return { request: job.request, replicas };
}
