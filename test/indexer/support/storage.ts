import {
  type Address,
  type Hex,
  identityRegistryAbi,
  jobIdOf,
  jobMarketAbi,
  providerStakingAbi,
  type Request,
  replicaCommitment,
  termsSchema,
  ZERO_ADDRESS,
  ZERO_BYTES32,
} from "@berth/protocol";
import { expect } from "chai";
import { decodeAbiParameters, encodeAbiParameters, keccak256, stringToHex, toEventSelector } from "viem";
import type { Query } from "../../../indexer/src/store/database.ts";
import { selectRows } from "../../../indexer/src/store/rows.ts";
import {
  acceptances,
  balances,
  identities,
  type JobRow,
  jobs,
  leases,
  markets,
  type NodeRow,
  nodes,
  owed,
  type ReplicaRow,
  replicas,
  stakes,
} from "../../../indexer/src/store/tables.ts";
import type { TestMarket } from "./market.ts";

/** Whom and what to ask the contracts about, beside everything that the tables name. */
export interface Universe {
  accounts: readonly Address[];
  operators: readonly Address[];
  acceptable: readonly Address[];
  everyRequest: readonly Request[];
}

/** Fails unless the tables hold, number for number, what the contracts' storage holds. */
export async function expectEqualStorage(query: Query, market: TestMarket, universe: Universe): Promise<void> {
  await expectEqualMarket(query, market);
  await expectEqualMoney(query, market, universe);
  await expectEqualOperators(query, market, universe);
  await expectEqualNodes(query, market);
  await expectEqualJobs(query, market, universe);
  await expectEqualSums(query, market);
}

async function expectEqualMarket(query: Query, { chain, deployment }: TestMarket): Promise<void> {
  const read = { address: deployment.market, abi: jobMarketAbi } as const;
  const guardian = await chain.readContract({ ...read, functionName: "guardian" });
  const paused = await chain.readContract({ ...read, functionName: "paused" });
  const expected = { market: deployment.market, guardian: guardian.toLowerCase(), paused };
  expect(await selectRows(query, markets)).to.deep.equal([expected]);
}

async function expectEqualMoney(query: Query, { chain, deployment, token }: TestMarket, { accounts }: Universe) {
  const held = await selectRows(query, balances);
  const left = await selectRows(query, owed);
  for (const account of new Set([...accounts, ...held.map((row) => row.account), ...left.map((row) => row.account)])) {
    const amountIn = (rows: typeof held) => rows.find((row) => row.account === account)?.amount ?? 0n;
    const args = [account, token] as const;
    const at = { address: deployment.market, abi: jobMarketAbi, functionName: "balanceOf", args } as const;
    expect(amountIn(held), `balance of ${account}`).to.equal(await chain.readContract(at));
    const from = { address: deployment.staking, abi: providerStakingAbi, functionName: "owedTo", args } as const;
    expect(amountIn(left), `owed to ${account}`).to.equal(await chain.readContract(from));
  }
}

async function expectEqualOperators(query: Query, { chain, deployment, token }: TestMarket, universe: Universe) {
  const staked = await selectRows(query, stakes);
  const listed = await selectRows(query, acceptances);
  for (const operator of universe.operators) {
    const row = staked.find((stake) => stake.operator === operator);
    const at = { address: deployment.staking, abi: providerStakingAbi, args: [operator, token] } as const;
    const { free, locked } = await chain.readContract({ ...at, functionName: "stakeOf" });
    const exit = await chain.readContract({ ...at, functionName: "exitOf" });
    const { amount: exiting, readyAt: exitReadyAt } = exit;
    expect(row).to.deep.equal({ operator, token, free, locked, exiting, exitReadyAt });
    for (const what of universe.acceptable) {
      const args = [operator, what] as const;
      const found = listed.find((one) => one.operator === operator && one.what === what)?.accepted ?? false;
      const of = { address: deployment.market, abi: jobMarketAbi, functionName: "accepts", args } as const;
      expect(found, `${operator} accepts ${what}`).to.equal(await chain.readContract(of));
    }
  }
  for (const row of await selectRows(query, identities)) {
    const of = { address: deployment.identity, abi: identityRegistryAbi, args: [row.identity] } as const;
    const controller = await chain.readContract({ ...of, functionName: "controllerOf" });
    expect(row.lastOwner ?? row.identity).to.equal(controller.toLowerCase());
    expect(row.deactivated).to.equal(await chain.readContract({ ...of, functionName: "deactivated" }));
  }
}

async function expectEqualNodes(query: Query, { chain, deployment }: TestMarket): Promise<void> {
  for (const row of await selectRows(query, nodes)) {
    const args = [row.operator, row.index] as const;
    const read = { address: deployment.market, abi: jobMarketAbi, args } as const;
    const { epoch, active, cpuMilli, memoryMiB, diskMiB, gpus, declinedAt, touched } = row;
    const use = await chain.readContract({ ...read, functionName: "useOf" });
    expect({ epoch, active, cpuMilli, memoryMiB, diskMiB, gpus, declinedAt, touched }).to.deep.equal(use);
    const limits = await chain.readContract({ ...read, functionName: "limitsOf" });
    const kept = { ...(row.limits ?? NO_LIMITS), maxBond: BigInt(row.limits?.maxBond ?? 0) };
    expect(kept).to.deep.equal(limits);
    const at = { address: deployment.identity, abi: identityRegistryAbi, args } as const;
    const node = await chain.readContract({ ...at, functionName: "nodeOf" });
    expect({
      key: row.key ?? ZERO_ADDRESS,
      validTo: row.validTo,
      prefix: row.prefix ?? 0n,
      wgKey: row.wgKey ?? ZERO_BYTES32,
      keyVersion: row.revoked ? 0 : row.keyVersion,
      servicesHash: servicesHashOf(row),
    }).to.deep.equal({ ...node, key: node.key.toLowerCase() });
  }
}

async function expectEqualJobs(query: Query, { chain, deployment }: TestMarket, { everyRequest }: Universe) {
  const known = new Map((await selectRows(query, jobs)).map((row) => [row.jobId, row]));
  const parts = new Map((await selectRows(query, replicas)).map((row) => [`${row.jobId}|${row.replica}`, row]));
  const kept = new Map((await selectRows(query, leases)).map((row) => [`${row.jobId}|${row.replica}`, row]));
  const one = async (request: Request, replica: number) => {
    const jobId = jobIdOf(deployment, request);
    const job = known.get(jobId);
    const part = parts.get(`${jobId}|${replica}`);
    const read = { address: deployment.market, abi: jobMarketAbi, args: [jobId, replica] } as const;
    const { state, ...slot } = await chain.readContract({ ...read, functionName: "replicaOf" });
    const what = `${jobId}|${replica}`;
    // Posted and Cancelled live in replica 0, which then commits to the job alone.
    const posted = replica === 0 && job !== undefined && job.postedAt !== null;
    expect(part?.state ?? (replica === 0 ? (job?.state ?? "none") : "none"), what).to.equal(STATES[state]);
    expect(slot, what).to.deep.equal({
      matchedAt: part?.matchedAt ?? 0,
      lastAt: part?.lastAt ?? 0,
      commitment: part === undefined ? (posted ? jobId : ZERO_BYTES32).slice(0, 2 + 42) : commitmentOf(job, part),
    });
    const { chargedSeconds = 0, addedSeconds = 0, closingAt = 0 } = kept.get(what) ?? {};
    const lease = await chain.readContract({ ...read, functionName: "leaseOf" });
    expect({ chargedSeconds, addedSeconds, closingAt }, what).to.deep.equal(lease);
  };
  await Promise.all(
    everyRequest.flatMap((request) => Array.from({ length: request.replicas }, (_, replica) => one(request, replica))),
  );
}

/** What the slot commits to, from what the tables hold alone. */
function commitmentOf(row: JobRow | undefined, part: ReplicaRow) {
  const terms = termsSchema.parse({ job: row?.job, assignment: assignmentOf(part) });
  const { resultHash, resultBytes, claimed } = part;
  if (resultHash === null) return replicaCommitment(terms);
  return replicaCommitment(terms, { resultHash, resultBytes: resultBytes ?? 0n, charge: claimed ?? 0n });
}

function assignmentOf({ replica, operator, index, offerHash, rateX18, baseCharge }: ReplicaRow) {
  return { replica, operator, index, offerHash, rateX18: String(rateX18), baseCharge: String(baseCharge) };
}

/** Money that a replica took in comes out of it again, and slashes of replicas are those that the stake was cut by. */
async function expectEqualSums(query: Query, { deployment }: TestMarket): Promise<void> {
  const parts = await selectRows(query, replicas);
  for (const { jobId, replica, state, deposit, charge, refund } of parts) {
    const ended = state === "settled" || state === "refunded";
    if (ended) expect(charge + refund, `what ${jobId}|${replica} paid out`).to.equal(deposit);
  }
  const logs = await query<RawLog>(
    "SELECT hex(address) AS address, hex(substr(topics, 1, 32)) AS topic, hex(data) AS data FROM logs",
  );
  const slashes = logs.filter(({ address, topic }) => address === deployment.staking && topic === SLASHED);
  const slashed = slashes.map(({ data }) => decodeAbiParameters([{ type: "uint128" }, { type: "uint128" }], data)[1]);
  const sum = (amounts: readonly bigint[]) => amounts.reduce((total, one) => total + one, 0n);
  expect(sum(parts.map((part) => part.slashed)), "slashed altogether").to.equal(sum(slashed));
}

interface RawLog {
  address: string;
  topic: string;
  data: Hex;
}
const SLASHED = toEventSelector("Slashed(address,address,uint128,uint128)");
const STATES = ["none", "posted", "active", "submitted", "judging", "disputed", "settled", "refunded", "cancelled"];
const NO_LIMITS = { maxActive: 0, cpuMilli: 0, memoryMiB: 0, diskMiB: 0, gpus: 0 };

/** As `Node.servicesHash` is made of the three texts of a profile. */
function servicesHashOf({ revoked, wgEndpoint, contentUrl, profileCid }: NodeRow) {
  if (revoked) return `0x${"0".repeat(48)}`;
  const hashes = [wgEndpoint, contentUrl, profileCid].map((text) => keccak256(stringToHex(text)));
  const words = [{ type: "bytes32" }, { type: "bytes32" }, { type: "bytes32" }] as const;
  return keccak256(encodeAbiParameters(words, hashes as never)).slice(0, 2 + 48);
}
