import { MODE, type Offer } from "@berth/protocol";
import { expect } from "chai";
import type { ContractTransactionResponse, HDNodeWallet } from "ethers";
import { ethers, time } from "./actors.ts";
import {
  addressOf,
  DOLLAR,
  jobId,
  limitsFor,
  matchJob,
  publishNode,
  type Ready,
  readyMarket,
  State,
  signOffer,
  stake,
  termsFor,
} from "./market.ts";

/** Gas that a transaction took, 21,000 and calldata included. */
export async function gasOf(sent: ContractTransactionResponse): Promise<number> {
  const receipt = await sent.wait();
  if (!receipt) throw new Error("The transaction has no receipt.");
  return Number(receipt.gasUsed);
}

/** Gas of one match of eight replicas with eight operators; the second one is measured. */
export async function gangOfEight(): Promise<number> {
  const on = await readyMarket();
  const nodes = [];
  for (const operator of (await ethers.getSigners()).slice(-8)) {
    const key = ethers.Wallet.createRandom();
    await publishNode(on, operator, key as never);
    await on.market.connect(operator).setNodeLimits(operator, 0, limitsFor());
    await on.market.connect(operator).setAccepted(operator, [on.token], true);
    await stake(on, operator, DOLLAR);
    nodes.push({ operator, key });
  }
  let gas = 0;
  for (const nonce of ["first", "second"]) gas = await matchGang(on, nodes, nonce);
  return gas;
}

async function matchGang(
  on: Ready,
  nodes: readonly { operator: { address: string }; key: HDNodeWallet }[],
  nonce: string,
): Promise<number> {
  const request = on.request({ replicas: nodes.length, nonce: ethers.id(nonce) as `0x${string}` });
  const offers: Offer[] = nodes.map(({ operator }) => on.offer({ operator: addressOf(operator) }));
  const offerSignatures = await Promise.all(nodes.map(({ key }, i) => signOffer(on, key as never, offers[i] as Offer)));
  const gas = await gasOf(await matchJob(on, { request, offers, offerSignatures }));
  for (let i = 0; i < nodes.length; i++) {
    expect((await on.market.replicaOf(jobId(on, request), i)).state).to.equal(State.Active);
  }
  return gas;
}

/** Gas of a lease's match and of its close, with which it is settled; the second lease is measured. */
export async function leaseOpenedAndClosed(): Promise<Record<string, number>> {
  const on = await readyMarket();
  let gas: Record<string, number> = {};
  for (const nonce of ["first", "second"]) {
    const terms = { mode: MODE.lease, heartbeatSeconds: 60, nonce: ethers.id(nonce) as `0x${string}` };
    const [request, offer] = [on.request(terms), on.offer()];
    const match = await gasOf(await matchJob(on, { request, offers: [offer] }));
    await time.increase(30);
    const close = await gasOf(await on.market.connect(on.requester).close(termsFor(on, request, offer)));
    expect((await on.market.replicaOf(jobId(on, request), 0)).state).to.equal(State.Settled);
    gas = { match, close };
  }
  return gas;
}
