export type { LogsEnd } from "@berth/protocol";
export { addInputs, type InputSource, parseInput } from "./actions/add-inputs.ts";
export { buildRequest, type RequestOptions } from "./actions/build-request.ts";
export { buildSpec, type SpecOptions, traitsOf } from "./actions/build-spec.ts";
export { type Agreement, compareResults } from "./actions/compare-results.ts";
export { blindTerms, type Estimate, estimate, type Wishes } from "./actions/estimate.ts";
export { type FetchedResult, fetchResult } from "./actions/fetch-result.ts";
export { type FollowOptions, followLogs, type LogPlace } from "./actions/follow-logs.ts";
export { deposit, type FundOptions, fund, withdraw } from "./actions/fund.ts";
export { getJob, type Job, type JobReplica, type Order } from "./actions/get-job.ts";
export { getTerms, type MatchedTerms } from "./actions/get-terms.ts";
export { type JobLine, listJobs } from "./actions/list-jobs.ts";
export { listOffers } from "./actions/list-offers.ts";
export { parseImageReference, type ResolvedImage, resolveImage } from "./actions/resolve-image.ts";
export {
  type FinishOptions,
  type RunOptions,
  type RunReport,
  resumeJob,
  runJob,
  type ServeOptions,
  serveContent,
} from "./actions/run-job.ts";
export { type Enclosed, postRequest, signRequest } from "./actions/send-request.ts";
export { approve, cancel, finalize } from "./actions/settle.ts";
export type { OnOutput, OutputSource } from "./actions/tail-run.ts";
export { type Verification, type VerifyOptions, verifyJob } from "./actions/verify-job.ts";
export { type Ordered, type WatchTimes, watchJob } from "./actions/watch-job.ts";
export type { ReplicaState } from "./chain-reads.ts";
export { type Client, type ClientOptions, type Context, createClient } from "./client.ts";
export type { Check } from "./evidence/checks.ts";
export {
  type EvidenceContext,
  type EvidenceResult,
  type TrustAnchors,
  verifyEvidence,
} from "./evidence/verify-evidence.ts";
export { formatMoney, parseMoney, type TokenInfo } from "./format.ts";
export { type PackedImage, type PackOptions, packImage } from "./image/pack.ts";
export type { Explanation, Indexer, JobSummary, ListedOffer } from "./indexer.ts";
export type { Phase, PhaseTime, ProgressEvent } from "./progress.ts";
export { type Keyring, type KeyringOptions, keyringOf } from "./sealed/keyring.ts";
export type { Sent } from "./send.ts";
export {
  type EthersSigner,
  type TypedDocument,
  type Wallet,
  type WalletMaker,
  type WalletTransaction,
  walletFromEthers,
  walletFromKeyFile,
  walletFromPrivateKey,
  walletFromViem,
} from "./wallet.ts";
