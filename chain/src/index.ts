export type { FollowedBlock } from "./block-reader.ts";
export { readHead, readHeader } from "./block-reader.ts";
export type { RpcCall, RpcOutcome } from "./endpoint.ts";
export { type ErrorContext, rpcInconsistent, rpcUnavailable, toMarketError } from "./errors.ts";
export { type DecodedLog, decodeLogs } from "./events.ts";
export { currentFees, DEFAULT_FEE_POLICY, type FeePolicy } from "./fees.ts";
export {
  type Follower,
  type FollowerStatus,
  type FollowerStore,
  type FollowOptions,
  type FollowStep,
  followChain,
} from "./follower.ts";
export { createOutbox, type Outbox, type OutboxOptions, type Transaction } from "./outbox.ts";
export {
  type Attempt,
  decodeEntry,
  encodeEntry,
  type Mined,
  memoryOutboxStore,
  type OutboxEntry,
  type OutboxState,
  type OutboxStore,
} from "./outbox-store.ts";
export { type BlockHeader, type BlockRef, parseLogs, type RawLog } from "./parse.ts";
export { type CallOptions, connectRpc, type Rpc, type RpcOptions } from "./rpc.ts";
export { sqliteOutboxStore } from "./sqlite-outbox-store.ts";
export { type Alarm, createAlarm } from "./wait.ts";
