import { MarketError } from "@berth/protocol";

/** What the exit codes of `berth` mean, as its help says. */
export const exitCodes = {
  ok: 0,
  jobFailed: 1,
  usage: 2,
  noMatch: 3,
  funds: 4,
  chain: 5,
  content: 6,
  verification: 7,
  internal: 70,
  interrupted: 130,
} as const;

export const exitCodesHelp = `
Exit codes:
  0    done
  1    the job failed: it ended with another code than 0 (which --json carries as exitCode), was stopped, or the node
       never delivered
  2    wrong usage or input
  3    nobody takes the job
  4    not enough money
  5    the chain or the indexer does not answer, or refused
  6    content cannot be fetched
  7    the result does not verify: nothing was approved
  70   a fault in berth itself
  130  interrupted: a job that was ordered goes on`;

const byCode: Record<string, number> = {
  JOB_NOT_DELIVERED: exitCodes.jobFailed,
  JOB_CANCELLED: exitCodes.jobFailed,
  NO_OFFER_FITS: exitCodes.noMatch,
  JOB_NOT_MATCHED: exitCodes.noMatch,
  JOB_DECLINED: exitCodes.noMatch,
  FUNDS_TOO_LOW: exitCodes.funds,
  INSUFFICIENT_GAS_FUNDS: exitCodes.funds,
  RPC_URL_INVALID: exitCodes.usage,
  RPC_MISSING: exitCodes.usage,
  WRONG_CHAIN: exitCodes.chain,
  NOT_DEPLOYED: exitCodes.chain,
  REVERTED: exitCodes.chain,
  NOT_MINED: exitCodes.chain,
  EVENT_MALFORMED: exitCodes.chain,
  INDEXER_MISSING: exitCodes.usage,
  INDEXER_URL_INVALID: exitCodes.usage,
  CONTENT_URL_MISSING: exitCodes.usage,
  IMAGE_UNAVAILABLE: exitCodes.content,
  NO_RESULT: exitCodes.content,
  RESULT_INVALID: exitCodes.verification,
  NOT_VERIFIED: exitCodes.verification,
};
const byPrefix: [string, number][] = [
  ["RPC_", exitCodes.chain],
  ["INDEXER_", exitCodes.chain],
  ["CONTENT_", exitCodes.content],
  ["LOGS_", exitCodes.content],
  ["KUBO_", exitCodes.content],
  ["EVIDENCE_", exitCodes.verification],
];

/** The exit code for anything thrown. A deliberate error that is nothing of the above is about what was asked for. */
export function exitCodeOf(error: unknown): number {
  if (isAbort(error)) return exitCodes.interrupted;
  if (!(error instanceof MarketError)) return exitCodes.internal;
  const { code } = error;
  if (code === "REVERTED" && error.message.includes("BalanceTooLow")) return exitCodes.funds;
  return byCode[code] ?? byPrefix.find(([prefix]) => code.startsWith(prefix))?.[1] ?? exitCodes.usage;
}

export function isAbort(error: unknown): boolean {
  return error instanceof Error && (error.name === "AbortError" || error.name === "Interrupted");
}
