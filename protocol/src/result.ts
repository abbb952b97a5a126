import { recoverTypedDataAddress } from "viem";
import { z } from "zod";
import { documentHash } from "./canonical.ts";
import { addressSchema, bytes32Schema, bytesSchema, parseWith, uintSchema } from "./order-json.ts";
import { type MarketDomain, orderDomain } from "./orders.ts";
import { cidSchema, digestSchema } from "./spec.ts";
import type { Address } from "./units.ts";

/** How a replica's run ended. Only `exited` has an exit code. */
export const outcomes = [
  "exited",
  "timed-out",
  "out-of-memory",
  "output-too-large",
  "lost",
  "cancelled",
  "inputs-unavailable",
  "spec-invalid",
  "image-mismatch",
] as const;
export type Outcome = (typeof outcomes)[number];

const count = z.int().min(0);
const stream = z.strictObject({ cid: cidSchema, bytes: count, truncated: z.boolean() });
const decimal = uintSchema(128).transform(String);

/** What happened to one replica, version 1. Its sha2-256 goes on chain as `Claim.resultHash`. */
export const resultSchema = z.strictObject({
  version: z.literal(1),
  chainId: count,
  market: addressSchema,
  jobId: bytes32Schema,
  replica: count,
  operator: addressSchema,
  index: count,
  attempt: count,
  specHash: bytes32Schema,
  imageDigest: digestSchema.nullable(),
  outcome: z.enum(outcomes),
  exitCode: z.int().nullable(),
  /** One sentence when the outcome is not `exited`; empty otherwise. */
  message: z.string().max(4096),
  startedAt: z.iso.datetime().nullable(),
  finishedAt: z.iso.datetime(),
  usage: z.strictObject({
    /** From the command's start to its end, by the container's monitor; what is charged, in whole seconds. */
    wallMs: count,
    cpuNs: decimal,
    /** Highest memory of the run, page cache included. */
    peakBytes: count,
    /** For how long the run held its GPUs, times their number. */
    gpuMs: count,
    /** Content that came in for the attempt; what the node had already is not counted. */
    inBytes: count,
    /** Content of the outputs. */
    outBytes: count,
  }),
  outputs: z
    .strictObject({ cid: cidSchema, bytes: count, files: count, skipped: z.array(z.string()).max(100) })
    .nullable(),
  stdout: stream.nullable(),
  stderr: stream.nullable(),
  /** Evidence bundle of the attestation; null when the spec asked for none. */
  evidence: cidSchema.nullable(),
  /** Hash of the sandbox policy that the run was under. */
  policyHash: bytes32Schema,
  /** Token units claimed. */
  charge: decimal,
  signer: addressSchema,
  signature: bytesSchema,
});

export type Result = z.infer<typeof resultSchema>;
export type UnsignedResult = Omit<Result, "signature">;

/** Checks a result record from outside. Throws RESULT_INVALID. */
export function parseResult(value: unknown): Result {
  return parseWith(resultSchema, value, { code: "RESULT_INVALID", what: "The result record" });
}

/** What a node's key signs under a result record: the hash of the record without its signature. */
export function resultTypedData(domain: MarketDomain, result: UnsignedResult) {
  const { signature: _, ...unsigned } = { signature: undefined, ...result } as UnsignedResult & { signature?: unknown };
  return {
    domain: orderDomain(domain),
    types: {
      Result: [
        { name: "jobId", type: "bytes32" },
        { name: "replica", type: "uint16" },
        { name: "recordHash", type: "bytes32" },
      ],
    },
    primaryType: "Result",
    message: { jobId: result.jobId, replica: result.replica, recordHash: documentHash(unsigned) },
  } as const;
}

/** The account whose key signed `result`. */
export function recoverResultSigner(domain: MarketDomain, result: Result): Promise<Address> {
  return recoverTypedDataAddress({ ...resultTypedData(domain, result), signature: result.signature });
}

/** JSON Schema (draft 2020-12) of a result record. */
export function resultJsonSchema(): object {
  const schema = z.toJSONSchema(resultSchema, { io: "input" });
  return { $id: "urn:berth:result:1", title: "Berth result record", ...schema };
}
