import type { DecodedLog, FollowedBlock, RawLog } from "@berth/chain";
import { type Deployment, identityRegistryAbi, jobMarketAbi, providerStakingAbi } from "@berth/protocol";
import { compileEvents, type DecodeLog } from "./compile.ts";

/** Where and when an event happened. */
export interface Occurrence {
  blockNumber: number;
  /** unix seconds */
  timestamp: number;
  log: RawLog;
}
export type IdentityEvent = DecodedLog<typeof identityRegistryAbi> & Occurrence;
export type StakingEvent = DecodedLog<typeof providerStakingAbi> & Occurrence;
export type JobEvent = DecodedLog<typeof jobMarketAbi> & Occurrence;
export type MarketEvent =
  | { contract: "identity"; event: IdentityEvent }
  | { contract: "staking"; event: StakingEvent }
  | { contract: "market"; event: JobEvent };

/** What the three contracts said in a block, typed, in the order in which it happened. Addresses are lower case. */
export type DecodeBlock = (block: FollowedBlock) => MarketEvent[];

export function blockDecoder({ identity, staking, market }: Deployment): DecodeBlock {
  const contracts = new Map<string, { contract: MarketEvent["contract"]; decode: DecodeLog }>([
    [identity.toLowerCase(), { contract: "identity", decode: compileEvents(identityRegistryAbi) }],
    [staking.toLowerCase(), { contract: "staking", decode: compileEvents(providerStakingAbi) }],
    [market.toLowerCase(), { contract: "market", decode: compileEvents(jobMarketAbi) }],
  ]);
  return ({ number: blockNumber, timestamp, logs }) => {
    const events: MarketEvent[] = [];
    for (const log of logs) {
      const by = contracts.get(log.address);
      const decoded = by?.decode(log);
      if (by === undefined || decoded === undefined) continue;
      const { eventName, args } = decoded;
      // The compiler of decoders knows the ABI, and the oracle in the tests that it keeps to it.
      events.push({ contract: by.contract, event: { eventName, args, log, blockNumber, timestamp } } as never);
    }
    return events;
  };
}
