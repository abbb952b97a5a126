import { documentHash, type JobId, jobIdOf, type MarketDomain, type Request, type Spec } from "@berth/protocol";
import { bytesToHex } from "viem";
import type { Estimate } from "./estimate.ts";

/** How long a request may wait for a match when nobody says. */
const OPEN_SECONDS = 600;

export interface RequestOptions {
  domain: MarketDomain;
  spec: Spec;
  terms: Estimate["terms"];
  /** Unix seconds by the chain's clock. */
  now: number;
  openSeconds?: number | undefined;
  /** Absent: 32 random bytes, so that the same job can be ordered twice. */
  nonce?: Request["nonce"] | undefined;
}

/** The request for a spec under given terms, and the id of the job that it opens. */
export function buildRequest({ domain, spec, terms, now, openSeconds = OPEN_SECONDS, nonce }: RequestOptions): {
  request: Request;
  jobId: JobId;
} {
  const request: Request = {
    ...terms,
    specHash: documentHash(spec),
    openUntil: now + openSeconds,
    nonce: nonce ?? bytesToHex(crypto.getRandomValues(new Uint8Array(32))),
  };
  return { request, jobId: jobIdOf(domain, request) };
}
