// Gas of what people pay for, in steady state (the second job of the same parties), 21,000 and calldata included; optimiser 200
// runs, evm osaka, no IR pipeline. The reference of a job is the cheapest peer with an escrow, measured on the same kind of chain:
// ERC-8183, 564,144; the other references are the figures that the market aims to stay below.
// `--check` exits 1 when a figure is more than 1 % above bench/gas.snapshot.json; `--write` writes the snapshot.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import Table from "cli-table3";
import { registeredTpmQuote } from "../test/contracts/attestation/support.ts";
import { ethers, time } from "../test/contracts/support/actors.ts";
import { gangOfEight, gasOf, leaseOpenedAndClosed } from "../test/contracts/support/gas.ts";
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
import { attestedJob, quorumTwoOfThree } from "../test/contracts/verifiers/support.ts";

const PEER_JOB_WITH_ESCROW = 564_144;
const RISE = 1.01;
const snapshotFile = join(import.meta.dirname, "gas.snapshot.json");

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
const sum = (gas: Record<string, number>) => Object.values(gas).reduce((total, one) => total + one, 0);

const signed = await runJob({ posted: false });
row("signed request: match + submit + finalize", sum(signed), PEER_JOB_WITH_ESCROW);
for (const [name, gas] of Object.entries(signed)) row(`signed request: ${name}`, gas, PEER_JOB_WITH_ESCROW / 5);
row("attested request: match + submit, settled at once", sum(await attestedJob()), 215_000);
row("posted request: post + match + submit + finalize", sum(await runJob({ posted: true })), PEER_JOB_WITH_ESCROW);
row("gang of 8: match, per replica", Math.round((await gangOfEight()) / 8), 60_000);
row("quorum 2 of 3, all transactions", sum(await quorumTwoOfThree()), 600_000);
row("lease: match + close with settlement", sum(await leaseOpenedAndClosed()), 190_000);
row("publishNode (first time)", await publish(), 165_000);
row("stake (first time)", await stakeFirst(), 85_000);
row("TPM quote registered, with precompile", (await registeredTpmQuote({ again: false })).gasUsed, 120_000);

const table = new Table({ head: ["what", "gas", "reference", "ratio"], style: { head: [], border: [] } });
table.push(...rows.map(({ what, value, reference, ratio }) => [what, value, reference, ratio.toFixed(2)]));
console.log(table.toString());
const snapshot = Object.fromEntries(rows.map(({ what, value }) => [what, value]));
if (process.argv.includes("--write")) writeFileSync(snapshotFile, `${JSON.stringify(snapshot, null, 2)}\n`);
const risen = process.argv.includes("--check") ? compare(JSON.parse(readFileSync(snapshotFile, "utf8"))) : [];
for (const line of risen) console.log(line);
console.log(JSON.stringify({ bench: "gas", rows }));
process.exit(risen.length === 0 ? 0 : 1);

/** What costs more than it did, or is not in the snapshot. */
function compare(before: Record<string, number>): string[] {
  return rows.flatMap(({ what, value }) => {
    const was = before[what];
    if (was !== undefined && value <= was * RISE) return [];
    return [
      `${what}: ${value} gas, in the snapshot ${was ?? "nothing"}. If that is meant: npm run bench -- gas --write`,
    ];
  });
}

/** Two jobs one after another; the second is measured. Asserts that it settled. */
async function runJob({ posted }: { posted: boolean }): Promise<Record<string, number>> {
  const on = await readyMarket();
  let measured: Record<string, number> = {};
  for (const nonce of ["first", "second"]) {
    const request = on.request({ nonce: ethers.id(nonce) as `0x${string}` });
    const offer = on.offer();
    measured = {};
    if (posted) measured["post"] = await gasOf(await on.market.connect(on.requester).post(request, "0x", "0x"));
    const signature = posted ? { requesterSignature: "0x" } : {};
    measured["match"] = await gasOf(await matchJob(on, { request, offers: [offer], ...signature }));
    const terms = termsFor(on, request, offer);
    const claim = { resultHash: ethers.id("result") as `0x${string}`, resultBytes: 900n, charge: offer.baseCharge };
    measured["submit"] = await gasOf(await on.market.connect(on.nodeKey).submit(terms, claim, "0x"));
    await time.increase(request.challengeWindow + 1);
    measured["finalize"] = await gasOf(await on.market.connect(on.stranger).finalize(terms, claim));
    const replica = await on.market.replicaOf(jobId(on, request), 0);
    expect(replica.state).to.equal(State.Settled);
  }
  return measured;
}

async function publish(): Promise<number> {
  const on = await deployedMarket();
  const profile = await aProfile(on.nodeKey);
  const proof = await keyProof(on, on.nodeKey, { operator: addressOf(on.operator), index: 0, wgKey: profile.wgKey });
  return gasOf(await on.identity.connect(on.operator).publishNode(on.operator, profile, proof));
}

async function stakeFirst(): Promise<number> {
  const on = await deployedMarket();
  await on.token.mint(on.operator, DOLLAR);
  await on.token.connect(on.operator).approve(on.staking, DOLLAR);
  return gasOf(await on.staking.connect(on.operator).stake(on.operator, on.token, DOLLAR));
}
