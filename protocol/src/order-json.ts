import { z } from "zod";
import { MarketError } from "./errors.ts";
import type { Offer, Request } from "./orders.ts";
import type { Assignment, Job, Terms } from "./terms.ts";
import type { Address, Hex, JobId, RateX18 } from "./units.ts";

/** An address in any letter case, turned to lower case. */
export const addressSchema = z
  .string()
  .regex(/^0x[0-9a-fA-F]{40}$/, "must be 0x and 40 hexadecimal digits")
  .transform((text) => text.toLowerCase() as Address);
/** 32 bytes as 0x and 64 lower-case hexadecimal digits. */
export const bytes32Schema = z
  .string()
  .regex(/^0x[0-9a-fA-F]{64}$/, "must be 0x and 64 hexadecimal digits")
  .transform((text) => text.toLowerCase() as Hex);
/** Any bytes as 0x and hexadecimal digits. */
export const bytesSchema = z
  .string()
  .regex(/^0x([0-9a-fA-F]{2})*$/, "must be 0x and an even number of hexadecimal digits")
  .transform((text) => text.toLowerCase() as Hex);

/** An unsigned integer below 2^bits, as a decimal string. */
export const uintSchema = (bits: number) =>
  z
    .string()
    .regex(/^(0|[1-9][0-9]{0,77})$/, "must be a whole number as a decimal string")
    .transform(BigInt)
    .refine((value) => value < 1n << BigInt(bits), `must be below 2^${bits}`);

const whole = (bits: number) =>
  z
    .int()
    .min(0)
    .max(2 ** bits - 1);

/** JSON form of a request: whole numbers above 32 bits are decimal strings, everything else as in the contract. */
export const requestSchema = z.strictObject({
  requester: addressSchema,
  payer: addressSchema,
  matcher: addressSchema,
  token: addressSchema,
  maxPrice: uintSchema(128),
  matcherTip: uintSchema(128),
  specHash: bytes32Schema,
  mode: z.int().min(0).max(1),
  replicas: whole(16),
  cpuMilli: whole(32),
  memoryMiB: whole(32),
  diskMiB: whole(32),
  gpus: whole(16),
  traits: uintSchema(256),
  gpuModel: bytes32Schema,
  region: bytes32Schema,
  maxSeconds: whole(32),
  openUntil: whole(40),
  acceptWindow: whole(32),
  submitWindow: whole(32),
  challengeWindow: whole(32),
  heartbeatSeconds: whole(32),
  noticeSeconds: whole(32),
  verifier: addressSchema,
  verifierData: bytes32Schema,
  arbiter: addressSchema,
  arbiterData: bytes32Schema,
  arbiterFee: uintSchema(128),
  arbiterWindow: whole(32),
  bond: uintSchema(128),
  bounty: uintSchema(128),
  compensationBps: whole(16),
  minStake: uintSchema(128),
  operators: bytes32Schema,
  nonce: bytes32Schema,
}) satisfies z.ZodType<Request, unknown>;

/** JSON form of an offer. */
export const offerSchema = z.strictObject({
  operator: addressSchema,
  index: whole(32),
  epoch: whole(32),
  requester: addressSchema,
  token: addressSchema,
  cpuRateX18: uintSchema(128),
  memoryRateX18: uintSchema(128),
  diskRateX18: uintSchema(128),
  gpuRateX18: uintSchema(128),
  baseCharge: uintSchema(128),
  cpuMilli: whole(32),
  memoryMiB: whole(32),
  diskMiB: whole(32),
  gpus: whole(16),
  traits: uintSchema(256),
  gpuModel: bytes32Schema,
  region: bytes32Schema,
  maxSeconds: whole(32),
  minSubmitMargin: whole(32),
  minHeartbeatSeconds: whole(32),
  maxSettleSeconds: whole(32),
  maxBond: uintSchema(128),
  maxCompensationBps: whole(16),
  verifier: addressSchema,
  verifierData: bytes32Schema,
  arbiter: addressSchema,
  arbiterData: bytes32Schema,
  arbiterFee: uintSchema(128),
  expiresAt: whole(40),
}) satisfies z.ZodType<Offer, unknown>;

/** JSON form of what goes on to matter of a request. */
export const jobSchema = z.strictObject({
  jobId: bytes32Schema.transform((id) => id as JobId),
  requester: addressSchema,
  payer: addressSchema,
  token: addressSchema,
  specHash: bytes32Schema,
  mode: z.int().min(0).max(1),
  replicas: whole(16),
  cpuMilli: whole(32),
  memoryMiB: whole(32),
  diskMiB: whole(32),
  gpus: whole(16),
  maxSeconds: whole(32),
  acceptWindow: whole(32),
  submitWindow: whole(32),
  challengeWindow: whole(32),
  heartbeatSeconds: whole(32),
  noticeSeconds: whole(32),
  verifier: addressSchema,
  verifierData: bytes32Schema,
  arbiter: addressSchema,
  arbiterData: bytes32Schema,
  arbiterFee: uintSchema(128),
  arbiterWindow: whole(32),
  bond: uintSchema(128),
  bounty: uintSchema(128),
  compensationBps: whole(16),
}) satisfies z.ZodType<Job, unknown>;

/** JSON form of who does a replica at what price. */
export const assignmentSchema = z.strictObject({
  replica: whole(16),
  operator: addressSchema,
  index: whole(32),
  offerHash: bytes32Schema,
  rateX18: uintSchema(256).transform((rate) => rate as RateX18),
  baseCharge: uintSchema(128),
}) satisfies z.ZodType<Assignment, unknown>;

/** JSON form of the full terms of a replica. */
export const termsSchema = z.strictObject({ job: jobSchema, assignment: assignmentSchema }) satisfies z.ZodType<
  Terms,
  unknown
>;

/** An order in JSON: a bigint becomes its decimal string. The inverse of the schemas above. */
export function orderToJson(order: Request | Offer | Job | Assignment): Record<string, string | number> {
  const lower = (value: string | number | bigint) =>
    typeof value === "bigint" ? String(value) : typeof value === "string" ? value.toLowerCase() : value;
  return Object.fromEntries(Object.entries(order).map(([name, value]) => [name, lower(value)]));
}

/** `JSON.stringify` replacer's work in one call: any value, with every bigint as a decimal string. */
export function toJson(value: unknown, space?: number): string {
  return JSON.stringify(value, (_, item) => (typeof item === "bigint" ? String(item) : item), space);
}

/** Parses with `schema`, or throws one sentence that names every wrong field. */
export function parseWith<T>(
  schema: z.ZodType<T, unknown>,
  value: unknown,
  { code, what }: { code: string; what: string },
): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new MarketError(code, `${what} is not valid:\n${z.prettifyError(parsed.error)}`, {
    hint: "Correct the fields above; unknown fields are refused so that a typing error cannot pass unseen.",
  });
}
