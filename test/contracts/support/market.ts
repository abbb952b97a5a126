import type {
  Claim,
  Hex,
  identityRegistryAbi,
  NodeLimits,
  Offer,
  providerStakingAbi,
  Request,
  Terms,
  testTokenAbi,
} from "@berth/protocol";
import {
  type Address,
  depositUp,
  jobIdOf,
  jobMarketAbi,
  nodeKeyTypedData,
  offerHashOf,
  orderDomain,
  orderTypes,
  termsOf,
} from "@berth/protocol";
import type { TypedDataDomain, TypedDataField } from "ethers";
import { anOffer, aRequest } from "../../support/orders.ts";
import { type Actor, ethers, namedActors, time } from "./actors.ts";
import { typed } from "./typed.ts";

export const CHAIN_ID = 31337;
export const DAY = 86_400;
export const DOLLAR = 1_000_000n;
export const NO_CLAIM: Claim = { resultHash: `0x${"0".repeat(64)}`, resultBytes: 0n, charge: 0n };
export const State = {
  None: 0n,
  Posted: 1n,
  Active: 2n,
  Submitted: 3n,
  Judging: 4n,
  Disputed: 5n,
  Settled: 6n,
  Refunded: 7n,
  Cancelled: 8n,
};
export const Reason = { Declined: 0n, TimedOut: 1n, Refused: 2n, Undecided: 3n, Left: 4n };

export const text32 = (text: string) => ethers.encodeBytes32String(text);
export const addressOf = (actor: { address: string }) => actor.address as Address;

/** The contracts on a fresh chain. */
export async function deployedMarket() {
  const actors = await namedActors();
  const registry = await ethers.deployContract("IdentityRegistry");
  const desk = await ethers.deployContract("MarketDesk", [registry]);
  const floor = await ethers.deployContract("JobMarket", [registry, desk, actors.sink, actors.guardian]);
  // Both halves answer at the floor's address, so the contract is spoken to with the ABI of both.
  const marketContract = new ethers.Contract(await floor.getAddress(), jobMarketAbi, actors.deployer);
  const identity = typed<typeof identityRegistryAbi>(registry);
  const market = typed<typeof jobMarketAbi>(marketContract);
  const token = typed<typeof testTokenAbi>(await ethers.deployContract("TestToken"));
  const stakingAddress = await market.staking();
  const staking = typed<typeof providerStakingAbi>(await ethers.getContractAt("ProviderStaking", stakingAddress));
  const addresses = {
    identity: (await identity.getAddress()) as Address,
    market: (await market.getAddress()) as Address,
    staking: stakingAddress as Address,
    token: (await token.getAddress()) as Address,
  };
  return { ...actors, identity, market, staking, token, addresses };
}
export type Deployed = Awaited<ReturnType<typeof deployedMarket>>;

/** The EIP-712 proof by which `key` agrees to serve as a node. */
export async function keyProof(on: Deployed, key: Actor, node: { operator: Address; index: number; wgKey: Address }) {
  const data = nodeKeyTypedData({ chainId: CHAIN_ID, registry: on.addresses.identity }, node);
  return key.signTypedData(data.domain, { NodeKey: [...data.types.NodeKey] }, node);
}

/** A node's profile as an operator publishes it. */
export async function aProfile(key: { address: string }, replaced: Record<string, unknown> = {}) {
  const validTo = (await time.latest()) + 90 * DAY;
  const wgKey = ethers.id(`wg ${key.address}`) as Address;
  const services = { wgEndpoint: "203.0.113.7:51820", contentUrl: "https://node.example/ipfs", profileCid: "" };
  return { index: 0, key: addressOf(key), wgKey, salt: 0n, validTo, ...services, ...replaced };
}

/** Publishes node `replaced.index ?? 0` of `operator` with `key`. */
export async function publishNode(on: Deployed, operator: Actor, key: Actor, replaced: Record<string, unknown> = {}) {
  const profile = await aProfile(key, replaced);
  const proof = await keyProof(on, key, { operator: addressOf(operator), index: profile.index, wgKey: profile.wgKey });
  return on.identity.connect(operator).publishNode(operator, profile, proof);
}

/** Limits that never bind. */
export function limitsFor(replaced: Partial<NodeLimits> = {}): NodeLimits {
  return {
    maxBond: 1_000_000n,
    maxActive: 1000,
    cpuMilli: 64_000,
    memoryMiB: 65_536,
    diskMiB: 65_536,
    gpus: 8,
    ...replaced,
  };
}

/** Puts money of `owner` into the market, on the balance of `owner`. */
export async function fund(on: Deployed, owner: Actor, amount: bigint) {
  await on.token.mint(owner, amount);
  await on.token.connect(owner).approve(on.market, amount);
  await on.market.connect(owner).deposit(owner, on.token, amount);
}

/** Puts stake behind `operator`. */
export async function stake(on: Deployed, operator: Actor, amount: bigint) {
  await on.token.mint(operator, amount);
  await on.token.connect(operator).approve(on.staking, amount);
  await on.staking.connect(operator).stake(operator, on.token, amount);
}

/** Two operators with a node each, published, staked and limited; a requester and a payer with money. */
export async function readyMarket() {
  const on = await deployedMarket();
  const limits = limitsFor();
  for (const [operator, key] of [
    [on.operator, on.nodeKey],
    [on.otherOperator, on.otherNodeKey],
  ] as const) {
    await publishNode(on, operator, key);
    await on.market.connect(operator).setNodeLimits(operator, 0, limits);
    await on.market.connect(operator).setAccepted(operator, [on.token], true);
    await stake(on, operator, 10n * DOLLAR);
  }
  await fund(on, on.requester, 100n * DOLLAR);
  await fund(on, on.payer, 100n * DOLLAR);
  const now = await time.latest();
  const request = (replaced: Partial<Request> = {}): Request =>
    aRequest({
      requester: addressOf(on.requester),
      payer: addressOf(on.requester),
      token: on.addresses.token,
      openUntil: now + DAY,
      ...replaced,
    });
  const offer = (replaced: Partial<Offer> = {}): Offer =>
    anOffer({ operator: addressOf(on.operator), token: on.addresses.token, expiresAt: now + DAY, ...replaced });
  return { ...on, limits, request, offer };
}
export type Ready = Awaited<ReturnType<typeof readyMarket>>;

/** The job that `request` becomes. */
export const jobId = (on: Deployed, request: Request) =>
  jobIdOf({ chainId: CHAIN_ID, market: on.addresses.market }, request);
/** The hash under which the market knows `offer`. */
export const offerHash = (on: Deployed, offer: Offer) =>
  offerHashOf({ chainId: CHAIN_ID, market: on.addresses.market }, offer);

/** The terms that a match of the two gives replica number `replica`. */
export const termsFor = (on: Deployed, request: Request, offer: Offer, replica = 0) =>
  termsOf({ chainId: CHAIN_ID, market: on.addresses.market }, request, offer, replica);

function sign(on: Deployed, signer: Actor, name: "Request" | "Offer", message: object) {
  const domain = orderDomain({ chainId: CHAIN_ID, market: on.addresses.market }) as TypedDataDomain;
  const types: Record<string, TypedDataField[]> = { [name]: [...orderTypes[name]] };
  return signer.signTypedData(domain, types, message);
}
export const signRequest = (on: Deployed, signer: Actor, request: Request) => sign(on, signer, "Request", request);
export const signOffer = (on: Deployed, signer: Actor, offer: Offer) => sign(on, signer, "Offer", offer);

interface MatchOptions {
  request?: Request;
  offers?: Offer[];
  by?: Actor;
  operatorProofs?: string[][];
  requesterSignature?: string;
  payerSignature?: string;
  offerSignatures?: string[];
}

/** Sends `matchJob` by `by` with everything that is not given signed by its rightful signer. */
export async function matchJob(on: Ready, options: MatchOptions = {}) {
  const { request = on.request(), offers = [on.offer()], by = on.matcher } = options;
  const keyOf = (offer: Offer) => (offer.operator === on.operator.address ? on.nodeKey : on.otherNodeKey);
  const {
    requesterSignature = await signRequest(on, on.requester, request),
    payerSignature = "0x",
    offerSignatures = await Promise.all(offers.map((offer) => signOffer(on, keyOf(offer), offer))),
    operatorProofs = [],
  } = options;
  return on.market
    .connect(by)
    .matchJob(request, requesterSignature, payerSignature, offers, offerSignatures, operatorProofs);
}

/** A replica in Active, with the terms that name it. */
export async function runningJob() {
  const on = await readyMarket();
  const [matchedRequest, matchedOffer] = [on.request(), on.offer()];
  await matchJob(on, { request: matchedRequest, offers: [matchedOffer] });
  const matchedAt = await time.latest();
  const terms: Terms = termsFor(on, matchedRequest, matchedOffer);
  const held = depositUp(matchedRequest, matchedOffer);
  return { ...on, matchedRequest, matchedOffer, terms, job: jobId(on, matchedRequest), matchedAt, held };
}

/** A replica in Submitted, claimed at 40 of 69 token units. */
export async function submittedResult() {
  const running = await runningJob();
  const claim: Claim = { resultHash: ethers.id("result") as Address, resultBytes: 512n, charge: 40n };
  await time.setNextBlockTimestamp(running.matchedAt + 50);
  await running.market.connect(running.nodeKey).submit(running.terms, claim, "0x");
  return { ...running, claim, submittedAt: running.matchedAt + 50 };
}

/**
 * The tree of two operators that `request.operators` commits to, as OpenZeppelin's `StandardMerkleTree` of ["address"]: leaves
 * are hashed twice, pairs in the order of their hashes.
 */
export function operatorsTree(first: { address: string }, second: { address: string }) {
  const leaf = ({ address }: { address: string }) =>
    ethers.keccak256(ethers.keccak256(ethers.AbiCoder.defaultAbiCoder().encode(["address"], [address]))) as Hex;
  const [one, two] = [leaf(first), leaf(second)];
  const root = ethers.keccak256(ethers.concat(one < two ? [one, two] : [two, one])) as Hex;
  return { root, leafOfFirst: one, proofOfFirst: [two], proofOfSecond: [one] };
}
