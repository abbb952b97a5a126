import {
  type Address,
  type Hex,
  jobIdOf,
  type MarketDomain,
  MarketError,
  offerHashOf,
  offerSchema,
  operatorTree,
  requestSchema,
} from "@berth/protocol";
import { type Book, type BookNode, createBook, type OpenRequest } from "../book/book.ts";
import { type Leaf, type Round, rootOfLeaves } from "./snapshot.ts";

/** What a matcher published: the text of the round, and the leaves in their order. */
export interface Snapshot {
  roundText: string;
  leaves: readonly string[];
}

/** What a decision saw, to decide again. */
export interface Seen {
  round: Round;
  book: Book;
  orders: OpenRequest[];
}

/**
 * Reads a snapshot that was published as `root`. Throws SNAPSHOT_WRONG when it does not come to it, says two things about
 * one, or names offers, jobs or lists of operators otherwise than what they hash to.
 */
export function readSnapshot({ roundText, leaves }: Snapshot, root: Hex, domain: MarketDomain): Seen {
  if (rootOfLeaves(roundText, leaves) !== root) throw wrong(`it does not come to the published root ${root}`);
  const round = JSON.parse(roundText) as Round;
  const jobs = new Set<Hex>();
  for (const { jobId } of [...round.orders, ...round.holds]) {
    const lower = jobId.toLowerCase() as Hex;
    if (jobs.has(lower)) throw wrong(`it names job ${lower} twice`);
    jobs.add(lower);
  }
  const orders = round.orders.map((order) => toOrder(order, domain));
  return { round, book: bookOf(round, orders, leaves, domain), orders };
}

/** The book that the leaves describe. */
function bookOf(round: Round, orders: OpenRequest[], leaves: readonly string[], domain: MarketDomain): Book {
  const book = createBook();
  const said = new Map<string, string>();
  const once = (about: string, fact: unknown) => {
    const text = JSON.stringify(fact);
    if (said.has(about) && said.get(about) !== text) throw wrong(`it says two things about ${about}`);
    said.set(about, text);
  };
  book.setPaused(round.paused);
  for (const [i, { request }] of orders.entries()) {
    const balance = round.orders[i]?.balance ?? "0";
    once(`the balance of ${request.payer} in ${request.token}`, balance);
    book.setBalance(request.payer, request.token, BigInt(balance));
  }
  let last: Hex = "0x";
  for (const text of leaves) {
    const leaf = JSON.parse(text) as Leaf;
    const offer = offerSchema.parse(leaf.offer);
    const { operator, index, token } = offer;
    if (offerHashOf(domain, offer) !== leaf.offerHash) throw wrong(`${leaf.offerHash} is not the hash of its offer`);
    if (leaf.offerHash <= last) throw wrong("its offers are not in order");
    last = leaf.offerHash;
    once(`node ${index} of ${operator}`, leaf.node);
    if (leaf.node !== null && (leaf.node.operator !== operator || leaf.node.index !== index)) {
      throw wrong(`it puts another node behind offer ${leaf.offerHash}`);
    }
    once(`the stake of ${operator} in ${token}`, leaf.stake);
    once(`what ${operator} accepts`, [leaf.accepts, leaf.deactivated]);
    if (leaf.node !== null) book.putNode(nodeFrom(leaf.node));
    book.setStake(operator, token, { free: BigInt(leaf.stake.free), locked: BigInt(leaf.stake.locked) });
    for (const what of leaf.accepts) book.setAccepted(operator, what, true);
    book.setDeactivated(operator, leaf.deactivated);
    book.putOffer({ offerHash: leaf.offerHash, offer, signature: "0x", signer: leaf.signer, seq: leaf.seq });
  }
  return book;
}

function nodeFrom(node: NonNullable<Leaf["node"]>): BookNode {
  const limits = node.limits === null ? null : { ...node.limits, maxBond: BigInt(node.limits["maxBond"] ?? 0) };
  return { ...node, limits: limits as BookNode["limits"] };
}

function toOrder(order: Round["orders"][number], domain: MarketDomain): OpenRequest {
  const { posted, receivedAtMs } = order;
  const operators = order.operators?.map((operator) => operator.toLowerCase() as Address) ?? null;
  const request = requestSchema.parse(order.request);
  const jobId = jobIdOf(domain, request);
  if (jobId !== order.jobId) throw wrong(`${order.jobId} is not the job of its request`);
  if (operators !== null && (operators.length === 0 || operatorTree(operators).root !== request.operators)) {
    throw wrong(`job ${jobId} does not allow the operators that it lists`);
  }
  return { jobId, request, signature: "0x", payerSignature: "0x", posted, receivedAtMs, operators };
}

function wrong(why: string): MarketError {
  return new MarketError("SNAPSHOT_WRONG", `The snapshot is not what was published: ${why}.`, {
    hint: "A matcher that serves another snapshot than it published, or none that holds together, has no proof of fairness.",
  });
}
