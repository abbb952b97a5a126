import { orderTypes } from "@berth/protocol";
import { z } from "zod";
import { jobStates, replicaStates } from "../store/tables.ts";

/** Shapes of answers, as they are on the wire: amounts are decimal strings, bytes lower-case hexadecimal text. */
export const address = z
  .string()
  .regex(/^0x[0-9a-f]{40}$/)
  .meta({ id: "Address", description: "An account or a contract, in lower case" });
export const bytes32 = z
  .string()
  .regex(/^0x[0-9a-f]{64}$/)
  .meta({ id: "Bytes32" });
const bytes = z
  .string()
  .regex(/^0x([0-9a-f]{2})*$/)
  .meta({ id: "Bytes" });
const amount = z
  .string()
  .regex(/^-?[0-9]+$/)
  .meta({ id: "Amount", description: "Token units, as a decimal string" });
const count = z.int().min(0);
const time = z.int().min(0).meta({ description: "Unix seconds" });
const orNull = <T extends z.ZodType>(schema: T) => schema.nullable();

/** The members of an order, as EIP-712 names them. */
function orderSchemaOf(members: readonly { name: string; type: string }[]) {
  const schemaOf = (type: string) => {
    if (type === "address") return address;
    if (type === "bytes32") return bytes32;
    return Number(type.replace("uint", "")) <= 48 ? count : amount;
  };
  return z.strictObject(Object.fromEntries(members.map(({ name, type }) => [name, schemaOf(type)])));
}
const requestJson = orderSchemaOf(orderTypes.Request).meta({ id: "Request" });
const offerJson = orderSchemaOf(orderTypes.Offer).meta({ id: "Offer" });

const errorJson = z.strictObject({
  code: z.string(),
  message: z.string(),
  hint: z.string().optional(),
  retryable: z.boolean(),
});

const resources = z.strictObject({ cpuMilli: count, memoryMiB: count, diskMiB: count, gpus: count });

export const offerItem = z
  .strictObject({
    offerHash: bytes32,
    offer: offerJson,
    signature: bytes,
    receivedAt: time,
    freeCapacity: orNull(resources).meta({ description: "What is left of it now; null while its node is unknown" }),
    contentUrl: orNull(z.string()),
  })
  .meta({ id: "OfferItem" });

const replicaItem = z
  .strictObject({
    replica: count,
    operator: address,
    index: count,
    state: z.enum(replicaStates),
    offerHash: bytes32,
    offer: offerJson,
    deposit: amount,
    matchedAt: time,
    submittedAt: orNull(time),
    claim: orNull(z.strictObject({ resultHash: bytes32, resultBytes: amount, charge: amount })),
    charge: amount,
    refund: amount,
    slashed: amount,
    compensation: amount,
    reason: orNull(z.enum(["declined", "timed-out"])),
    contentUrl: orNull(z.string()),
    transactions: z.strictObject({ matched: bytes32, submitted: orNull(bytes32), ended: orNull(bytes32) }),
  })
  .meta({ id: "Replica" });

export const jobItem = z
  .strictObject({
    jobId: bytes32,
    state: z.enum(jobStates),
    requester: orNull(address),
    payer: orNull(address),
    token: orNull(address),
    request: orNull(requestJson).meta({ description: "Null when it was cancelled before anyone posted it" }),
    sources: z.array(z.string()).meta({ description: "Gateways that are said to serve the requester's content" }),
    matcher: orNull(address),
    spent: amount,
    postedAt: orNull(time),
    matchedAt: orNull(time),
    postedTx: orNull(bytes32),
    matchedTx: orNull(bytes32),
    cancelledTx: orNull(bytes32),
    replicas: z.array(replicaItem),
  })
  .meta({ id: "Job" });

export const nodeItem = z
  .strictObject({
    operator: address,
    index: count,
    did: z.string(),
    key: orNull(address),
    validTo: time,
    wgKey: orNull(bytes32),
    prefix: orNull(z.string()).meta({ description: "The node's IPv6 /64 in the mesh" }),
    meshAddress: orNull(z.string()),
    wgEndpoint: orNull(z.string()),
    contentUrl: orNull(z.string()),
    keyVersion: count,
    epoch: count,
    use: resources.extend({ active: count }),
    limits: orNull(
      resources.extend({
        maxBond: amount,
        maxActive: count,
        tokens: z.array(address),
        verifiers: z.array(address),
        arbiters: z.array(address),
      }),
    ),
    freeStake: z.record(z.string(), amount).meta({ description: "Token units by token" }),
    revoked: z.boolean(),
  })
  .meta({ id: "Node" });

const requestStates = ["open", "matched", "expired", "cancelled", "posted"] as const;

export const requestItem = z
  .strictObject({
    jobId: bytes32,
    state: z.enum(requestStates),
    request: requestJson,
    sources: z.array(z.string()),
    receivedAt: time,
    lastTry: z
      .strictObject({
        attempt: count,
        at: time,
        state: z.enum(["sent", "done", "failed"]),
        offers: z.array(bytes32),
        transaction: orNull(bytes32),
        error: orNull(errorJson),
      })
      .optional(),
  })
  .meta({ id: "RequestStatus" });

export const explanation = z
  .strictObject({
    jobId: bytes32,
    offersSeen: count,
    fits: count,
    reasons: z.array(z.strictObject({ field: z.string(), offers: count, wanted: z.string(), best: z.string() })),
    sentence: z.string(),
  })
  .meta({ id: "Explanation" });

export const statusItem = z
  .strictObject({
    chainId: count,
    market: address,
    state: z.string(),
    head: orNull(count),
    indexed: orNull(count),
    lagBlocks: orNull(count),
    offers: count,
    requests: count,
    matcher: orNull(address),
    lastError: orNull(errorJson),
  })
  .meta({ id: "Status" });

export const accountItem = z
  .strictObject({
    account: address,
    balances: z.array(z.strictObject({ token: address, amount })),
    stakes: z.array(
      z.strictObject({ token: address, free: amount, locked: amount, exiting: amount, exitReadyAt: time }),
    ),
  })
  .meta({ id: "Account" });

export const problem = z
  .strictObject({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.string(),
    detail: z.string(),
    hint: z.string().optional(),
    retryable: z.boolean(),
  })
  .meta({ id: "Problem" });

export const pageSchema = <T extends z.ZodType>(item: T) =>
  z.strictObject({ items: z.array(item), nextCursor: orNull(z.string()) });
