import { jobMarketAbi, orderTypes } from "@berth/protocol";
import { z } from "zod";
import { currentRoles } from "../cluster/role.ts";
import { jobStates, refundReasons, replicaStates } from "../store/tables.ts";

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
interface AbiItem {
  type: string;
  name?: string;
  inputs?: readonly { name: string; components?: readonly { name: string; type: string }[] }[];
}
const requestJson = orderSchemaOf(orderTypes.Request).meta({ id: "Request" });
const offerJson = orderSchemaOf(orderTypes.Offer).meta({ id: "Offer" });
const jobJson = orderSchemaOf(structOf("JobMatched", "job")).meta({ id: "JobTerms" });
const assignmentJson = orderSchemaOf(structOf("ReplicaMatched", "assignment")).meta({ id: "Assignment" });

/** The members of a struct that an event carries. */
function structOf(event: string, name: string): readonly { name: string; type: string }[] {
  const abi: readonly AbiItem[] = jobMarketAbi;
  const found = abi.find((item) => item.type === "event" && item.name === event);
  return found?.inputs?.find((input) => input.name === name)?.components ?? [];
}

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

const loggedOrder = z.discriminatedUnion("kind", [
  z.strictObject({ seq: count, kind: z.literal("offer"), offer: offerJson, signature: bytes }),
  z.strictObject({
    seq: count,
    kind: z.literal("request"),
    request: requestJson,
    signature: bytes,
    payerSignature: bytes,
    operators: orNull(z.array(address)),
    sources: z.array(z.string()),
  }),
]);

export const orderPage = z
  .strictObject({
    log: z.string().meta({ description: "Names this row of numbers: another name, another row" }),
    items: z.array(loggedOrder),
    next: count.meta({ description: "Ask after this one next time" }),
    more: z.boolean().meta({ description: "Is there more already?" }),
  })
  .meta({ id: "OrderPage" });

export const peerItem = z
  .strictObject({
    url: z.string(),
    from: z.enum(["configured", "registry", "peer"]).meta({ description: "Who named it" }),
    state: z.enum(["new", "following", "failing"]),
    after: count.meta({ description: "Number of its last order that was read" }),
    taken: count.meta({ description: "Its orders that were taken since the start, also those that were here already" }),
    refused: count,
    answeredAt: orNull(time),
    lastError: orNull(z.strictObject({ code: z.string(), message: z.string() })),
  })
  .meta({ id: "Peer" });

const replicaItem = z
  .strictObject({
    replica: count,
    operator: address,
    index: count,
    state: z.enum(replicaStates),
    assignment: assignmentJson.meta({ description: "With the job's terms, what every call about this replica takes" }),
    deposit: amount.meta({ description: "Token units paid in for it, top-ups included" }),
    matchedAt: time,
    submittedAt: orNull(time),
    lastAt: orNull(time).meta({ description: "Of the submission, the dispute, or a lease's last claim" }),
    claim: orNull(z.strictObject({ resultHash: bytes32, resultBytes: amount, charge: amount })),
    disputedAt: orNull(time),
    award: orNull(amount).meta({ description: "What the arbiter awarded of the claim; null without a ruling" }),
    charge: amount.meta({ description: "Token units paid to the operator so far" }),
    refund: amount,
    slashed: amount,
    reason: orNull(z.enum(refundReasons)),
    lease: orNull(
      z.strictObject({
        chargedSeconds: count,
        addedSeconds: count,
        closingAt: orNull(time),
        closingBy: orNull(address),
      }),
    ).meta({ description: "Null for a batch job" }),
    contentUrl: orNull(z.string()),
    transactions: z.strictObject({
      matched: bytes32,
      submitted: orNull(bytes32),
      disputed: orNull(bytes32),
      ended: orNull(bytes32),
    }),
  })
  .meta({ id: "Replica" });

export const jobItem = z
  .strictObject({
    jobId: bytes32,
    state: z.enum(jobStates),
    requester: orNull(address),
    payer: orNull(address),
    token: orNull(address),
    job: orNull(jobJson).meta({ description: "What of the request counts since the match; null before it" }),
    request: orNull(requestJson).meta({ description: "Null when it was neither posted nor handed in here" }),
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
    profileCid: orNull(z.string()),
    keyVersion: count,
    epoch: count,
    use: resources.extend({ active: count }),
    declinedAt: orNull(time).meta({ description: "Of the last decline that was free" }),
    limits: orNull(resources.extend({ maxBond: amount, maxActive: count })),
    accepts: z
      .array(address)
      .meta({ description: "Tokens, verifiers and arbiters that the operator's nodes may sign for" }),
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
    operators: orNull(z.array(address)).meta({
      description: "Whom it allows, where it commits to a list that is known",
    }),
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

export const role = z.enum(currentRoles).meta({
  description: "`leader` writes what follows from the chain, `standby` would when it is gone, `replica` never does",
});

export const statusItem = z
  .strictObject({
    chainId: count,
    market: address,
    role,
    state: z.string(),
    head: orNull(count),
    indexed: orNull(count),
    lagBlocks: orNull(count),
    offers: count,
    requests: count,
    paused: z.boolean().meta({ description: "Does the market take no new jobs?" }),
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
    owed: z
      .array(z.strictObject({ token: address, amount }))
      .meta({ description: "What slashes left for it, to be collected from the staking contract" }),
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
