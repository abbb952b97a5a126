import {
  type Address,
  type Assignment,
  type Claim,
  identityRegistryAbi,
  type Job,
  type JobId,
  jobMarketAbi,
  providerStakingAbi,
  type Request,
  testTokenAbi,
} from "@berth/protocol";
import { decodeEventLog, type Hex } from "viem";
import { replayIdentity } from "./replay-identity.ts";
import { replayMarket } from "./replay-market.ts";
import { replayStaking } from "./replay-staking.ts";
import { replayToken } from "./replay-token.ts";
import { empty, type Storage } from "./storage.ts";

/** One event of a receipt, with the time of its block. */
export interface Log {
  address: Address;
  topics: [Hex, ...Hex[]];
  data: Hex;
  timestamp: number;
}

/** What somebody knows who has seen nothing but events. */
export interface Replayed {
  storage: Storage;
  /** When each node's key stops counting, by operator. */
  nodes: Readonly<Record<string, { key: Address; validTo: number }>>;
  requests: Readonly<Record<JobId, Request>>;
  jobs: Readonly<Record<JobId, Job>>;
  /** By `jobId/replica`, like the two below. */
  assignments: Readonly<Record<string, Assignment>>;
  claims: Readonly<Record<string, Claim>>;
  ruled: ReadonlySet<string>;
}

export interface Sources {
  market: Address;
  staking: Address;
  token: Address;
  identity: Address;
}

/** All that the contracts store, rebuilt from `logs` alone, in their order. */
export function replay(from: Sources, logs: readonly Log[]): Replayed {
  const nothing: Replayed = {
    storage: empty,
    nodes: {},
    requests: {},
    jobs: {},
    assignments: {},
    claims: {},
    ruled: new Set(),
  };
  return logs.reduce((known, log) => replayOne(from, known, log), nothing);
}

function replayOne(from: Sources, known: Replayed, log: Log): Replayed {
  const { topics, data } = log;
  const change = (storage: Storage): Replayed => ({ ...known, storage });
  switch (log.address.toLowerCase()) {
    case from.token.toLowerCase():
      return change(replayToken(known.storage, decodeEventLog({ abi: testTokenAbi, topics, data })));
    case from.staking.toLowerCase():
      return change(replayStaking(known.storage, decodeEventLog({ abi: providerStakingAbi, topics, data })));
    case from.identity.toLowerCase():
      return replayIdentity(known, decodeEventLog({ abi: identityRegistryAbi, topics, data }));
    case from.market.toLowerCase():
      return replayMarket(known, decodeEventLog({ abi: jobMarketAbi, topics, data }), log.timestamp);
    default:
      return known;
  }
}
