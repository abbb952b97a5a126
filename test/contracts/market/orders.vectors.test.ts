import { readFileSync, writeFileSync } from "node:fs";
import {
  type Claim,
  MODE,
  type Offer,
  type RateX18,
  type Request,
  replicaCommitment,
  type Terms,
  termsOf,
  toJson,
} from "@berth/protocol";
import { expect } from "chai";
import { anOffer, aRequest } from "../../support/orders.ts";
import { ethers, loadFixture, networkHelpers } from "../support/actors.ts";
import { CHAIN_ID, deployedMarket, text32 } from "../support/market.ts";

/** Where the market is in the vectors: any fixed address does, since the hash takes it from where the code runs. */
const MARKET = "0x00000000000000000000000000000000000000be";
const domain = { chainId: CHAIN_ID, market: MARKET } as const;
const file = new URL("../../protocol/vectors/orders.json", import.meta.url);
const account = (digit: string) => `0x${digit.repeat(40)}` as const;
const bytes32 = (digit: string) => `0x${digit.repeat(64)}` as const;
const top = (bits: bigint) => (1n << bits) - 1n;
const [most16, most32, most40] = [2 ** 16 - 1, 2 ** 32 - 1, 2 ** 40 - 1];
const named = (text: string) => text32(text) as `0x${string}`;

const requests: Record<string, Request> = {
  plain: aRequest(),
  // Two members that change places, in a hash or in a copy, show here.
  "every member different": aRequest({
    ...{ requester: account("1"), payer: account("2"), matcher: account("3"), token: account("4") },
    ...{ maxPrice: 101n, matcherTip: 102n, specHash: bytes32("5"), mode: MODE.lease, replicas: 103 },
    ...{ cpuMilli: 104, memoryMiB: 105, diskMiB: 106, gpus: 107, traits: 108n },
    ...{ gpuModel: named("NVIDIA H200 NVL 141 GB HBM3e"), region: named("eu-central") },
    ...{ maxSeconds: 109, openUntil: 110, acceptWindow: 111, submitWindow: 112, challengeWindow: 113 },
    ...{ heartbeatSeconds: 114, noticeSeconds: 115, verifier: account("6"), verifierData: bytes32("7") },
    ...{ arbiter: account("8"), arbiterData: bytes32("9"), arbiterFee: 116n, arbiterWindow: 117, bond: 118n },
    ...{ bounty: 119n, compensationBps: 120, minStake: 121n, operators: bytes32("a"), nonce: bytes32("b") },
  }),
  "every member its largest": {
    ...{ requester: account("f"), payer: account("f"), matcher: account("f"), token: account("f") },
    ...{ maxPrice: top(128n), matcherTip: top(128n), specHash: bytes32("f"), mode: MODE.lease, replicas: most16 },
    ...{ cpuMilli: most32, memoryMiB: most32, diskMiB: most32, gpus: most16, traits: top(256n) },
    ...{ gpuModel: bytes32("f"), region: bytes32("f"), maxSeconds: most32, openUntil: most40 },
    ...{ acceptWindow: most32, submitWindow: most32, challengeWindow: most32 },
    ...{ heartbeatSeconds: most32, noticeSeconds: most32, verifier: account("f"), verifierData: bytes32("f") },
    ...{ arbiter: account("f"), arbiterData: bytes32("f"), arbiterFee: top(128n), arbiterWindow: most32 },
    ...{ bond: top(128n), bounty: top(128n), compensationBps: most16, minStake: top(128n) },
    ...{ operators: bytes32("f"), nonce: bytes32("f") },
  },
};
const offers: Record<string, Offer> = {
  plain: anOffer(),
  "every member different": anOffer({
    ...{ operator: account("1"), index: 101, epoch: 102, requester: account("2"), token: account("3") },
    ...{ cpuRateX18: 103n, memoryRateX18: 104n, diskRateX18: 105n, gpuRateX18: 106n, baseCharge: 107n },
    ...{ cpuMilli: 108, memoryMiB: 109, diskMiB: 110, gpus: 111, traits: 112n },
    ...{ gpuModel: named("NVIDIA H200 NVL 141 GB HBM3e"), region: named("eu-central"), maxSeconds: 113 },
    ...{ minSubmitMargin: 114, minHeartbeatSeconds: 115, maxSettleSeconds: 116, maxBond: 117n },
    ...{ maxCompensationBps: 118, verifier: account("4"), verifierData: bytes32("5") },
    ...{ arbiter: account("6"), arbiterData: bytes32("7"), arbiterFee: 119n, expiresAt: 120 },
  }),
  "every member its largest": {
    ...{ operator: account("f"), index: most32, epoch: most32, requester: account("f"), token: account("f") },
    ...{ cpuRateX18: top(128n), memoryRateX18: top(128n), diskRateX18: top(128n), gpuRateX18: top(128n) },
    ...{ baseCharge: top(128n), cpuMilli: most32, memoryMiB: most32, diskMiB: most32, gpus: most16 },
    ...{ traits: top(256n), gpuModel: bytes32("f"), region: bytes32("f"), maxSeconds: most32 },
    ...{ minSubmitMargin: most32, minHeartbeatSeconds: most32, maxSettleSeconds: most32, maxBond: top(128n) },
    ...{ maxCompensationBps: most16, verifier: account("f"), verifierData: bytes32("f") },
    ...{ arbiter: account("f"), arbiterData: bytes32("f"), arbiterFee: top(128n), expiresAt: most40 },
  },
};
const claims: Record<string, Claim> = {
  empty: { resultHash: bytes32("0"), resultBytes: 0n, charge: 0n },
  plain: { resultHash: bytes32("5"), resultBytes: 1234n, charge: 40n },
  "every member its largest": { resultHash: bytes32("f"), resultBytes: top(64n), charge: top(128n) },
};
/** For each pair of orders of one name, the terms that they come to. */
const matches = Object.keys(requests).map((name, i) => {
  const [request, offer] = [requests[name], offers[name]];
  if (request === undefined || offer === undefined) throw new Error(`There is no pair of orders named ${name}.`);
  return { name, request, terms: termsOf(domain, request, offer, [0, 1, most16][i] ?? 0) };
});

/** The hashes that Solidity gives. Set BERTH_WRITE_VECTORS=1 to write them to the file. */
async function solidityVectors() {
  const on = await deployedMarket();
  // The code of the market at the fixed address; its immutables only name the other contracts.
  await networkHelpers.setCode(MARKET, await ethers.provider.getCode(on.addresses.market));
  const market = on.market.attach(MARKET) as typeof on.market;
  const harness = await ethers.deployContract("OrderHashHarness");
  const ask = (name: string, ...args: unknown[]): Promise<string> => harness.getFunction(name)(...args);
  const each = async <T extends object>(table: Record<string, T>, hash: (value: T) => Promise<unknown>) =>
    Promise.all(Object.entries(table).map(async ([name, value]) => ({ name, value, hash: await hash(value) })));

  const hashTerms = async (name: string, terms: Terms) => {
    const hash = await ask("ofTerms", terms);
    const claimed = await each(claims, (claim) => ask("ofClaimed", hash, claim));
    return { name, value: terms, hash, commitment: await ask("commitment", hash), claimed };
  };
  const widest: Terms = {
    job: { ...(matches[2]?.terms.job as Terms["job"]), jobId: bytes32("f") as Terms["job"]["jobId"] },
    assignment: {
      ...{ replica: most16, operator: account("f"), index: most32, offerHash: bytes32("f") },
      ...{ rateX18: top(256n) as RateX18, baseCharge: top(128n) },
    },
  };
  const named = [...matches, { name: "every word its largest", terms: widest }];
  const vectors = {
    chainId: CHAIN_ID,
    market: MARKET,
    requests: await each(requests, (value) => market.hashRequest(value)),
    offers: await each(offers, (value) => market.hashOffer(value)),
    terms: await Promise.all(named.map(({ name, terms }) => hashTerms(name, terms))),
  };
  return { vectors, ask };
}

describe("order hashes", () => {
  it("are those of the shared vectors", async () => {
    const { vectors } = await loadFixture(solidityVectors);
    const text = `${toJson(vectors, 2)}\n`;
    if (process.env["BERTH_WRITE_VECTORS"] === "1") writeFileSync(file, text);
    expect(JSON.parse(text)).to.deep.equal(JSON.parse(readFileSync(file, "utf8")));
  });

  it("of terms are the same from calldata, from memory and from the words of the request", async () => {
    const { vectors, ask } = await loadFixture(solidityVectors);
    for (const { value, hash } of vectors.terms) {
      expect(await ask("ofTermsInMemory", value)).to.equal(hash);
    }
    for (const [i, { request, terms }] of matches.entries()) {
      const hash = await ask("ofRequestInMemory", request, terms.job.jobId, terms.assignment);
      expect(hash).to.equal(vectors.terms[i]?.hash);
    }
  });

  it("of terms are what the market stores of a match", async () => {
    const { vectors } = await loadFixture(solidityVectors);
    for (const { value, commitment } of vectors.terms) expect(replicaCommitment(value)).to.equal(commitment);
  });
});

describe("JobWords#ofRequest", () => {
  for (const { name, request, terms } of matches) {
    it(`moves every member to its place: ${name}`, async () => {
      const { ask } = await loadFixture(solidityVectors);
      const words = (await ask("jobOf", request, terms.job.jobId)) as unknown as unknown[];
      const plain = (value: unknown) => String(value).toLowerCase();
      expect([...words].map(plain)).to.deep.equal(Object.values(terms.job).map(plain));
    });
  }
});
