import {
  type Address,
  depositUp,
  type Hex,
  jobIdOf,
  jobMarketAbi,
  type MarketDomain,
  MarketError,
  type Offer,
  offerHashOf,
  type Request,
} from "@berth/protocol";
import { decodeFunctionData, getAbiItem, toFunctionSelector } from "viem";
import { type HoldJson, holdFromJson } from "../book/holds.ts";
import { matchAll } from "../match/match.ts";
import { leafHash, type Proof, proofOf, treeOf } from "./merkle.ts";
import { rootIn } from "./published.ts";
import { readSnapshot, type Snapshot } from "./read-snapshot.ts";
import type { Leaf } from "./snapshot.ts";

/** A transaction as the chain has it. */
export interface SentCall {
  from: Address;
  /** The call data with what follows it. */
  input: Hex;
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

/** An order of the round that the transaction does not match. */
export interface OtherOrder {
  jobId: Hex;
  /** Offers that the decision takes for it, so that the jobs here did not get them. */
  offers: Hex[];
}

export interface Verdict {
  root: Hex;
  matcher: Address;
  jobs: Hex[];
  /** Empty: every job got what the decision gives over the snapshot. */
  findings: Finding[];
  /** Offers that were left out because the market had refused them, by the matcher's word. */
  barred: { jobId: Hex; offerHash: Hex }[];
  /** By the matcher's word, too: orders it decided in the same round and sent elsewhere, or not at all. */
  others: OtherOrder[];
  /** By the matcher's word: what matches under way had taken. */
  holds: HoldJson[];
  /** By the matcher's word: unix seconds for which it decided. */
  decidedFor: number;
}

const MATCH_JOB = toFunctionSelector(getAbiItem({ abi: jobMarketAbi, name: "matchJob" }));

interface Sent {
  jobId: Hex;
  request: Request;
  offers: { offerHash: Hex; offer: Offer }[];
}

/**
 * Decides again over what the matcher says that it saw, and compares with what it sent. Pure.
 * Throws NO_SNAPSHOT when the call carries no root, SNAPSHOT_WRONG when the snapshot is not the one that was published or
 * does not hold together, NOT_THE_MATCHER when somebody else sent the call.
 */
export function audit({ from, input }: SentCall, domain: MarketDomain, snapshot: Snapshot): Verdict {
  const root = rootIn(input);
  if (root === undefined) throw noSnapshot();
  const { leaves } = snapshot;
  const { round, book, orders } = readSnapshot(snapshot, root, domain);
  if (from.toLowerCase() !== round.matcher.toLowerCase()) throw notTheMatcher(from, round.matcher);
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
  const sent = sentIn(input, domain);
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
  const jobs = sent.map(({ jobId }) => jobId);
  const others = orders
    .filter(({ jobId }) => !jobs.includes(jobId))
    .map(({ jobId }) => ({ jobId, offers: (fair.get(jobId)?.offers ?? []).map(({ offerHash }) => offerHash) }));
  const { matcher, holds, now } = round;
  return { root, matcher, jobs, findings, barred: left, others, holds, decidedFor: now };
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

function priceOf(request: Request, offers: readonly { offer: Offer }[]): bigint {
  return offers.reduce((sum, { offer }) => sum + depositUp(request, offer), request.matcherTip);
}

function noSnapshot(): MarketError {
  return new MarketError("NO_SNAPSHOT", "The transaction is no match that carries the root of a snapshot.", {
    hint: "Matches of other programs, and of indexers with more offers than they take snapshots of, carry none.",
  });
}

function notTheMatcher(from: Address, matcher: Address): MarketError {
  return new MarketError(
    "NOT_THE_MATCHER",
    `${from} sent the transaction, and its snapshot is of matcher ${matcher}.`,
    {
      hint: "Anybody can copy the root of another's transaction behind a call: this says nothing about that matcher.",
    },
  );
}
