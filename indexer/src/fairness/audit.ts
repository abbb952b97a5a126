import {
  depositUp,
  type Hex,
  type JobId,
  jobIdOf,
  jobMarketAbi,
  type MarketDomain,
  MarketError,
  type Offer,
  offerHashOf,
  offerSchema,
  type Request,
  requestSchema,
} from "@berth/protocol";
import { decodeFunctionData, getAbiItem, toFunctionSelector } from "viem";
import { type Book, type BookNode, createBook, type OpenRequest } from "../book/book.ts";
import { holdFromJson } from "../book/holds.ts";
import { matchAll } from "../match/match.ts";
import { leafHash, type Proof, proofOf, treeOf } from "./merkle.ts";
import { rootIn } from "./published.ts";
import { type Leaf, type Round, rootOfLeaves } from "./snapshot.ts";

/** What a matcher published: the text of the round, and the leaves in their order. */
export interface Snapshot {
  roundText: string;
  leaves: readonly string[];
}

/** An offer that should have been taken and was not, with the proof that the matcher saw it. */
export interface Skipped {
  offerHash: Hex;
  /** Token units that it would have cost. */
  deposit: bigint;
  leaf: string;
  proof: Proof;
}

export interface Finding {
  jobId: Hex;
  sentence: string;
  /** Token units that the matcher took for the job, and that it should have taken; undefined: it should not have matched. */
  price: bigint;
  fairPrice: bigint | undefined;
  skipped: Skipped[];
}

export interface Verdict {
  root: Hex;
  jobs: Hex[];
  /** Empty: every job got what the decision gives over the snapshot. */
  findings: Finding[];
  /** Offers that were left out because the market had refused them, by the matcher's word. */
  barred: { jobId: Hex; offerHash: Hex }[];
}

const MATCH_JOB = toFunctionSelector(getAbiItem({ abi: jobMarketAbi, name: "matchJob" }));

interface Sent {
  jobId: Hex;
  request: Request;
  offers: { offerHash: Hex; offer: Offer }[];
}

/**
 * Decides again over what the matcher says that it saw, and compares with what it sent. Pure.
 * Throws NO_SNAPSHOT when the call carries no root, SNAPSHOT_WRONG when the snapshot is not the one that was published.
 */
export function audit(callData: Hex, domain: MarketDomain, { roundText, leaves }: Snapshot): Verdict {
  const root = rootIn(callData);
  if (root === undefined) throw noSnapshot();
  if (rootOfLeaves(roundText, leaves) !== root) throw wrong(`it does not come to the published root ${root}`);
  const round = JSON.parse(roundText) as Round;
  const book = bookOf(round, leaves, domain);
  const orders = round.orders.map(toOrder);
  const barred = new Map<Hex, Set<Hex>>(round.orders.map((order) => [order.jobId, new Set(order.barred)]));
  const fair = new Map(
    matchAll(book, orders, round.holds.map(holdFromJson), {
      now: round.now,
      matcher: round.matcher,
      barred: (jobId, { offerHash }) => barred.get(jobId)?.has(offerHash) === true,
    }).map((match) => [match.order.jobId as Hex, match]),
  );
  const places = new Map(leaves.map((leaf, place) => [(JSON.parse(leaf) as Leaf).offerHash, place]));
  const tree = treeOf(leaves.map(leafHash));
  const sent = sentIn(callData, domain);
  const findings = sent.flatMap(({ jobId, request, offers }): Finding[] => {
    const expected = fair.get(jobId);
    const price = priceOf(request, offers);
    if (expected === undefined) {
      const sentence = `Job ${jobId} was matched, which the decision over the snapshot does not do.`;
      return [{ jobId, sentence, price, fairPrice: undefined, skipped: [] }];
    }
    const taken = new Set(offers.map(({ offerHash }) => offerHash));
    const skipped = expected.offers
      .filter(({ offerHash }) => !taken.has(offerHash))
      .map(({ offerHash, offer }): Skipped => {
        const place = places.get(offerHash) as number;
        return {
          offerHash,
          deposit: depositUp(request, offer),
          leaf: leaves[place] as string,
          proof: proofOf(tree, place),
        };
      });
    if (skipped.length === 0) return [];
    const names = skipped.map(({ offerHash, deposit }) => `${offerHash} for ${deposit}`).join(", ");
    const sentence = `Job ${jobId} was matched for ${price} token units, and could have been for ${expected.price}: skipped ${names}.`;
    return [{ jobId, sentence, price, fairPrice: expected.price, skipped }];
  });
  const left = [...barred].flatMap(([jobId, hashes]) => [...hashes].map((offerHash) => ({ jobId, offerHash })));
  return { root, jobs: sent.map(({ jobId }) => jobId), findings, barred: left };
}

/** The matches that a call makes, alone or as a batch. */
function sentIn(callData: Hex, domain: MarketDomain): Sent[] {
  const { functionName, args } = decodeFunctionData({ abi: jobMarketAbi, data: callData });
  if (functionName === "matchMany") {
    return args[0].flatMap((item) => sentIn(`${MATCH_JOB}${item.slice(2)}`, domain));
  }
  if (functionName !== "matchJob") throw noSnapshot();
  const request = args[0] as Request;
  const offers = (args[3] as readonly Offer[]).map((offer) => ({ offer, offerHash: offerHashOf(domain, offer) }));
  return [{ jobId: jobIdOf(domain, request), request, offers }];
}

/** The book that the leaves describe. Throws SNAPSHOT_WRONG when they contradict each other, or name offers by wrong hashes. */
function bookOf(round: Round, leaves: readonly string[], domain: MarketDomain): Book {
  const book = createBook();
  const said = new Map<string, string>();
  const once = (about: string, fact: unknown) => {
    const text = JSON.stringify(fact);
    if (said.has(about) && said.get(about) !== text) throw wrong(`it says two things about ${about}`);
    said.set(about, text);
  };
  book.setPaused(round.paused);
  for (const { request, balance } of round.orders) {
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

function toOrder(order: Round["orders"][number]): OpenRequest {
  const { jobId, request, posted, receivedAtMs, operators } = order;
  const parsed = requestSchema.parse(request);
  return {
    jobId: jobId as JobId,
    request: parsed,
    signature: "0x",
    payerSignature: "0x",
    posted,
    receivedAtMs,
    operators,
  };
}

function priceOf(request: Request, offers: readonly { offer: Offer }[]): bigint {
  return offers.reduce((sum, { offer }) => sum + depositUp(request, offer), request.matcherTip);
}

function wrong(why: string): MarketError {
  return new MarketError("SNAPSHOT_WRONG", `The snapshot is not what was published: ${why}.`, {
    hint: "A matcher that serves another snapshot than it published, or none that holds together, has no proof of fairness.",
  });
}

function noSnapshot(): MarketError {
  return new MarketError("NO_SNAPSHOT", "The transaction is no match that carries the root of a snapshot.", {
    hint: "Matches of other programs, and of indexers with more offers than they take snapshots of, carry none.",
  });
}
