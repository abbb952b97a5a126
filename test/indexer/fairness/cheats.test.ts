import {
  type Address,
  type Hex,
  jobIdOf,
  jobMarketAbi,
  MarketError,
  offerHashOf,
  operatorTree,
  orderToJson,
  type Request,
} from "@berth/protocol";
import { expect } from "chai";
import { encodeFunctionData } from "viem";
import { type BookOffer, createBook } from "../../../indexer/src/book/book.ts";
import type { HoldJson } from "../../../indexer/src/book/holds.ts";
import { audit } from "../../../indexer/src/fairness/audit.ts";
import { sentencesOf } from "../../../indexer/src/fairness/audit-transaction.ts";
import { withRoot } from "../../../indexer/src/fairness/published.ts";
import { type Leaf, leafText, type Round, rootOfLeaves, standingOf } from "../../../indexer/src/fairness/snapshot.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

const account = (digit: string) => `0x${digit.repeat(40)}` as Address;
const DOMAIN = { chainId: 31337, market: account("c") };
const MATCHER = account("b");
const CHEAP = account("2");
const DEAR = account("d");
const NOW = 1_900_000_000;

const cheap = offerOf(CHEAP, 5n, 1);
const dear = offerOf(DEAR, 900n, 2);

/** What a round and its offers are made to say. */
interface Lies {
  request?: Partial<Request>;
  round?: (round: Round) => void;
  leaf?: (leaf: Leaf) => void;
}

describe("audit of a matcher that cheats", () => {
  it("finds nothing where nothing is wrong", () => {
    const verdict = decided(cheap);
    expect(verdict).to.deep.include({ findings: [], others: [], holds: [], matcher: MATCHER, decidedFor: NOW });
  });

  it("says nothing of a matcher whose root somebody else copied", () => {
    expectError(() => decided(dear, {}, account("e")), "NOT_THE_MATCHER", `snapshot is of matcher ${MATCHER}`);
  });

  it("refuses a request in the round that is not the job's", () => {
    const round = ({ orders: [order] }: Round) => Object.assign(order?.request ?? {}, { minStake: "5000" });
    expectError(() => decided(dear, { round }), "SNAPSHOT_WRONG", "is not the job of its request");
  });

  it("refuses a list of operators that the request does not commit to", () => {
    const listing = (operators: Address[]) => ({
      round: ({ orders: [order] }: Round) => Object.assign(order ?? {}, { operators }),
    });
    const committed = { request: { operators: operatorTree([CHEAP, DEAR]).root } };
    const why = "does not allow the operators that it lists";
    expectError(() => decided(dear, listing([DEAR])), "SNAPSHOT_WRONG", why);
    expectError(() => decided(dear, { ...committed, ...listing([DEAR]) }), "SNAPSHOT_WRONG", why);
    expectError(() => decided(dear, { ...committed, ...listing([]) }), "SNAPSHOT_WRONG", why);
    const shouted = `0x${CHEAP.slice(2).toUpperCase()}` as Address;
    const [finding] = decided(dear, { ...committed, ...listing([shouted, DEAR]) }).findings;
    expect(finding?.skipped.map(({ offerHash }) => offerHash)).to.deep.equal([cheap.offerHash]);
  });

  it("refuses a job that is named twice, as two orders or as under way", () => {
    const twice = (round: Round) => round.orders.push(...round.orders.map((order) => ({ ...order, posted: true })));
    expectError(() => decided(cheap, { round: twice }), "SNAPSHOT_WRONG", "twice");
    const underWay = (round: Round) => round.holds.push(holdOf(round.orders[0]?.jobId as Hex));
    expectError(() => decided(dear, { round: underWay }), "SNAPSHOT_WRONG", "twice");
  });

  it("refuses an offer with another node behind it than its own", () => {
    const leaf = (one: Leaf) => Object.assign(one.node ?? {}, { operator: DEAR });
    expectError(() => decided(dear, { leaf }), "SNAPSHOT_WRONG", "puts another node behind offer");
  });

  it("lists what an order that was never sent took, and what is said to be under way", () => {
    const invented = aRequest({ nonce: `0x${"9".repeat(64)}` });
    const other = jobIdOf(DOMAIN, invented);
    const held: Hex = `0x${"8".repeat(64)}`;
    const round = (one: Round) => {
      one.orders.unshift({ ...orderOf(invented), receivedAtMs: 0 });
      one.holds.push(holdOf(held));
    };
    const verdict = decided(dear, { round });
    expect(verdict.others).to.deep.equal([{ jobId: other, offers: [cheap.offerHash] }]);
    expect(verdict.holds).to.deep.equal([holdOf(held)]);
    const said = sentencesOf({ ...verdict, minedAt: NOW + 7 }).join("\n");
    expect(said).to.contain(`not in this transaction: job ${other}, which takes ${cheap.offerHash}`);
    expect(said).to.contain(`job ${held}, which takes node 9 of ${CHEAP}`);
    expect(said).to.contain(`Decided for the time ${NOW} (unix seconds); its block is of ${NOW + 7}.`);
  });
});

/** The audit of a transaction that gives `taken` to the job, over a snapshot with these lies. */
function decided(taken: BookOffer, { request: replaced = {}, ...lies }: Lies = {}, from = MATCHER) {
  const request = aRequest(replaced);
  const round: Round = {
    now: NOW,
    block: 1,
    matcher: MATCHER,
    paused: false,
    orders: [orderOf(request)],
    holds: [],
  };
  lies.round?.(round);
  const roundText = JSON.stringify(round);
  const leaves = leavesOfBook().map((text) => {
    const leaf = JSON.parse(text) as Leaf;
    if (leaf.offerHash === cheap.offerHash) lies.leaf?.(leaf);
    return JSON.stringify(leaf);
  });
  const call = encodeFunctionData({
    abi: jobMarketAbi,
    functionName: "matchJob",
    args: [request, "0x", "0x", [taken.offer], ["0x"], []],
  });
  const input = withRoot(call, rootOfLeaves(roundText, leaves));
  return audit({ from, input }, DOMAIN, { roundText, leaves });
}

/** Both offers, each of a node that has room for one job. */
function leavesOfBook(): string[] {
  const book = createBook();
  for (const { offer, signer } of [cheap, dear]) {
    const { operator, index, token } = offer;
    const use = { epoch: 0, active: 0, cpuMilli: 0, memoryMiB: 0, diskMiB: 0, gpus: 0 };
    const limits = { maxBond: 1_000_000n, maxActive: 1, cpuMilli: 8000, memoryMiB: 8192, diskMiB: 4096, gpus: 0 };
    book.putNode({ operator, index, key: signer, validTo: 2_000_000_000, limits, use });
    book.setStake(operator, token, { free: 1_000_000n, locked: 0n });
    book.setAccepted(operator, token, true);
  }
  const offers = [cheap, dear].sort((a, b) => (a.offerHash < b.offerHash ? -1 : 1));
  return offers.map((one) => leafText(one, standingOf(book, one.offer)));
}

function offerOf(operator: Address, baseCharge: bigint, seq: number): BookOffer {
  const offer = anOffer({ operator, baseCharge });
  return { offerHash: offerHashOf(DOMAIN, offer), offer, signature: "0x", signer: account("f"), seq };
}

function orderOf(request: Request): Round["orders"][number] {
  return {
    jobId: jobIdOf(DOMAIN, request),
    request: orderToJson(request) as Round["orders"][number]["request"],
    posted: false,
    receivedAtMs: 1,
    operators: null,
    balance: "100000000",
    barred: [],
  };
}

/** Something under way on a node that nobody asks for. */
function holdOf(jobId: Hex): HoldJson {
  const { token, payer, cpuMilli, memoryMiB, diskMiB, gpus } = aRequest();
  const resources = { cpuMilli, memoryMiB, diskMiB, gpus };
  return { jobId, nodes: [{ operator: CHEAP, index: 9 }], resources, token, payer, bond: "0", spent: "0" };
}

function expectError(act: () => unknown, code: string, message: string): void {
  expect(act).to.throw(MarketError, message).with.property("code", code);
}
