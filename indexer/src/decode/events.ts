import { type DecodedLog, decodeLogs, type FollowedBlock, type RawLog } from "@berth/chain";
import { type Deployment, identityRegistryAbi, jobMarketAbi, providerStakingAbi } from "@berth/protocol";

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

/** What the three contracts said in `block`, typed, in the order in which it happened. Addresses are lower case. */
export function decodeBlock(deployment: Deployment, block: FollowedBlock): MarketEvent[] {
  const of = (address: string) => block.logs.filter((log) => log.address === address.toLowerCase());
  const at = { blockNumber: block.number, timestamp: block.timestamp };
  const lowered = <E extends { args: unknown }>(event: E): E => ({ ...event, args: lower(event.args) });
  const events: MarketEvent[] = [
    ...decodeLogs(identityRegistryAbi, of(deployment.identity)).map(
      (event): MarketEvent => ({ contract: "identity", event: { ...lowered(event), ...at } }),
    ),
    ...decodeLogs(providerStakingAbi, of(deployment.staking)).map(
      (event): MarketEvent => ({ contract: "staking", event: { ...lowered(event), ...at } }),
    ),
    ...decodeLogs(jobMarketAbi, of(deployment.market)).map(
      (event): MarketEvent => ({ contract: "market", event: { ...lowered(event), ...at } }),
    ),
  ];
  return events.sort((a, b) => a.event.log.logIndex - b.event.log.logIndex);
}

/** viem writes addresses in mixed case; tables compare bytes, so one case everywhere. */
function lower(value: unknown): unknown {
  if (typeof value === "string") return /^0x[0-9a-fA-F]{40}$/.test(value) ? value.toLowerCase() : value;
  if (Array.isArray(value)) return value.map(lower);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, lower(item)]));
  }
  return value;
}
