// Gas of what people pay for, in steady state (the second job of the same parties), 21,000 and calldata included.
// The reference of a job is the cheapest peer with an escrow, measured on the same kind of chain: ERC-8183, 564,144.
// The other references are the figures that the market aims to stay below.

import { expect } from "chai";
import Table from "cli-table3";
import type { ContractTransactionReceipt, ContractTransactionResponse } from "ethers";
import { ethers, time } from "../test/contracts/support/actors.ts";
import {
  addressOf,
  aProfile,
  DOLLAR,
  deployedMarket,
  jobId,
  keyProof,
  matchJob,
  readyMarket,
  State,
  termsFor,
} from "../test/contracts/support/market.ts";

const PEER_JOB_WITH_ESCROW = 564_144;

interface Row {
  what: string;
  value: number;
  unit: "gas";
  reference: number;
  ratio: number;
}

const rows: Row[] = [];
const row = (what: string, value: number, reference: number) =>
  rows.push({ what, value, unit: "gas", reference, ratio: Number((value / reference).toFixed(3)) });

const signed = await runJob({ posted: false });
row("signed request: match + submit + finalize", signed.total, PEER_JOB_WITH_ESCROW);
row("signed request: match", signed.open, 100_000);
row("submit", signed.submit, 60_000);
row("finalize", signed.end, 60_000);
const posted = await runJob({ posted: true });
row("posted request: post + match + submit + finalize", posted.total, PEER_JOB_WITH_ESCROW);
row("publishNode (first time)", await publish(), 165_000);
row("stake (first time)", await stakeFirst(), 85_000);

const table = new Table({ head: ["what", "gas", "reference", "ratio"], style: { head: [], border: [] } });
table.push(...rows.map(({ what, value, reference, ratio }) => [what, value, reference, ratio.toFixed(2)]));
console.log(table.toString());
console.log(JSON.stringify({ bench: "gas", rows }));
process.exit(0);

/** Two jobs one after another; the second is measured. Asserts that it settled. */
async function runJob({ posted }: { posted: boolean }) {
  const on = await readyMarket();
  let measured = { open: 0, submit: 0, end: 0, total: 0 };
  for (const nonce of ["first", "second"]) {
    const request = on.request({ nonce: ethers.id(nonce) as `0x${string}` });
    const offer = on.offer();
    const post = posted ? await gasOf(on.market.connect(on.requester)["post"]?.(request, "0x", "0x")) : 0;
    const match = await gasOf(
      matchJob(on, { request, offers: [offer], ...(posted ? { requesterSignature: "0x" } : {}) }),
    );
    const terms = termsFor(on, request, offer);
    const claim = { resultHash: ethers.id("result") as `0x${string}`, resultBytes: 900n, charge: offer.baseCharge };
    const submit = await gasOf(on.market.connect(on.nodeKey)["submit"]?.(terms, claim, "0x"));
    await time.increase(request.challengeWindow + 1);
    const end = await gasOf(on.market.connect(on.stranger)["finalize"]?.(terms, claim));
    const replica = await on.market["replicaOf"]?.(jobId(on, request), 0);
    expect(replica.state).to.equal(State.Settled);
    measured = { open: post + match, submit, end, total: post + match + submit + end };
  }
  return measured;
}

async function publish(): Promise<number> {
  const on = await deployedMarket();
  const profile = await aProfile(on.nodeKey);
  const proof = await keyProof(on, on.nodeKey, { operator: addressOf(on.operator), index: 0, wgKey: profile.wgKey });
  return await gasOf(on.identity.connect(on.operator)["publishNode"]?.(on.operator, profile, proof));
}

async function stakeFirst(): Promise<number> {
  const on = await deployedMarket();
  await on.token["mint"]?.(on.operator, DOLLAR);
  await on.token.connect(on.operator)["approve"]?.(on.staking, DOLLAR);
  return await gasOf(on.staking.connect(on.operator)["stake"]?.(on.operator, on.token, DOLLAR));
}

async function gasOf(sent: Promise<ContractTransactionResponse> | undefined): Promise<number> {
  const receipt = (await (await sent)?.wait()) as ContractTransactionReceipt | null | undefined;
  if (!receipt) throw new Error("The transaction has no receipt.");
  return Number(receipt.gasUsed);
}
