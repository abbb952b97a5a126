import { z } from "zod";
import { MarketError } from "./errors.ts";
import { addressSchema, bytes32Schema, bytesSchema, parseWith } from "./order-json.ts";
import { type MarketDomain, orderDomain } from "./orders.ts";
import { type Outcome, outcomes } from "./result.ts";
import type { Address, Hex, JobId, UnixSeconds } from "./units.ts";

/** The longest time that one signature lets its bearer read, in seconds. */
export const MAX_LOG_ACCESS_SECONDS = 600;
/** What two honest clocks may differ by, in seconds. */
const CLOCK_SLACK_SECONDS = 60;
/** `Authorization: Berth <base64url>`. */
const SCHEME = "Berth";
/** Contract wallets may have long signatures; a header may not. */
const MAX_HEADER_CHARS = 8192;

/** What a requester or payer signs to read a replica's live log at the node that runs it. */
export interface LogAccess {
  jobId: JobId;
  replica: number;
  /** The node: another one that is shown the signature has nothing of it. */
  operator: Address;
  index: number;
  /** Unix seconds: the last second in which it opens a stream, at most `MAX_LOG_ACCESS_SECONDS` away. */
  expiresAt: UnixSeconds;
}

/** A `LogAccess` with whose signature it bears. */
export interface SignedLogAccess extends LogAccess {
  /** Who signed: an account, or a contract wallet (ERC-1271). */
  account: Address;
  signature: Hex;
}

const whole = (most: number) => z.int().min(0).max(most);
const signedSchema = z.strictObject({
  account: addressSchema,
  jobId: bytes32Schema.transform((id) => id as JobId),
  replica: whole(0xffff),
  operator: addressSchema,
  index: whole(0xffff_ffff),
  expiresAt: whole(2 ** 40 - 1),
  signature: bytesSchema,
}) satisfies z.ZodType<SignedLogAccess, unknown>;

/** How a stream of a replica's log ended, in the node's words: the data of its last event, `end`. */
export interface LogsEnd {
  attempt: number;
  phase: string;
  /** Null while it is not known how the attempt ended: only where nobody follows, or where there is no result to come. */
  outcome: Outcome | null;
  exitCode: number | null;
  message: string;
  /** The stream's length so far. */
  bytes: number;
  /** The job wrote more than is kept. */
  truncated: boolean;
}

const count = z.int().min(0);
/** Other members are left out: a newer node may send more. */
export const logsEndSchema = z.object({
  attempt: count,
  phase: z.string().max(40),
  outcome: z.enum(outcomes).nullable(),
  exitCode: z.int().nullable(),
  message: z.string().max(4096),
  bytes: count,
  truncated: z.boolean(),
}) satisfies z.ZodType<LogsEnd, unknown>;

/** What a wallet is asked to sign: pass it to `signTypedData`. The market and its chain are in the domain, as with orders. */
export function logAccessTypedData(domain: MarketDomain, access: LogAccess) {
  const { jobId, replica, operator, index, expiresAt } = access;
  return {
    domain: orderDomain(domain),
    types: {
      LogAccess: [
        { name: "purpose", type: "string" },
        { name: "jobId", type: "bytes32" },
        { name: "replica", type: "uint16" },
        { name: "operator", type: "address" },
        { name: "index", type: "uint32" },
        { name: "expiresAt", type: "uint40" },
      ],
    },
    primaryType: "LogAccess",
    message: { purpose: "berth-logs", jobId, replica, operator, index, expiresAt },
  } as const;
}

/** The value of the `Authorization` header. */
export function encodeLogAccess(signed: SignedLogAccess): string {
  const { account, jobId, replica, operator, index, expiresAt, signature } = signed;
  const json = JSON.stringify({ account, jobId, replica, operator, index, expiresAt, signature });
  return `${SCHEME} ${btoa(json).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/** Reads an `Authorization` header; nothing of it is verified yet. Throws LOG_ACCESS_INVALID. */
export function parseLogAccess(header: string): SignedLogAccess {
  const [, text] = /^Berth +([A-Za-z0-9_-]+)$/i.exec(header) ?? [];
  const value = text === undefined || header.length > MAX_HEADER_CHARS ? undefined : fromBase64(text);
  if (value === undefined) {
    throw new MarketError("LOG_ACCESS_INVALID", "The Authorization header does not let anyone read logs.", {
      hint: `It is "${SCHEME} " and the base64url of a signed LogAccess as JSON; \`berth logs\` makes it.`,
    });
  }
  return parseWith(signedSchema, value, { code: "LOG_ACCESS_INVALID", what: "The LogAccess" });
}

/**
 * Throws unless `access` is for this very replica on this very node, and in time at `now`. The signature is the caller's to
 * verify. Pure. Throws LOG_ACCESS_ELSEWHERE, LOG_ACCESS_EXPIRED, LOG_ACCESS_TOO_LONG.
 */
export function assertLogAccess(access: LogAccess, expected: Omit<LogAccess, "expiresAt">, now: UnixSeconds): void {
  const names = ["jobId", "replica", "operator", "index"] as const;
  const wrong = names.filter((name) => access[name] !== expected[name]);
  if (wrong.length > 0) {
    throw new MarketError("LOG_ACCESS_ELSEWHERE", `The signature is for something else: ${wrong.join(", ")}.`, {
      hint: "Sign for the job, the replica and the node that are asked.",
    });
  }
  if (access.expiresAt < now) {
    throw new MarketError("LOG_ACCESS_EXPIRED", "The signature is no longer good.", { hint: "Sign anew." });
  }
  if (access.expiresAt > now + MAX_LOG_ACCESS_SECONDS + CLOCK_SLACK_SECONDS) {
    throw new MarketError("LOG_ACCESS_TOO_LONG", "The signature would be good for too long.", {
      hint: `Sign for at most ${MAX_LOG_ACCESS_SECONDS} s, and check your clock.`,
    });
  }
}

function fromBase64(text: string): unknown {
  try {
    return JSON.parse(atob(text.replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return undefined;
  }
}
