import { readFileSync, writeFileSync } from "node:fs";
import { type Claim, type NodeLimits, type Offer, type Request, replicaCommitment, toJson } from "@berth/protocol";
import { expect } from "chai";
import { anOffer, aRequest } from "../../support/orders.ts";
import { ethers, loadFixture, networkHelpers } from "../support/actors.ts";
import { CHAIN_ID, deployedMarket, text32 } from "../support/market.ts";

/** Where the market is in the vectors: any fixed address does, since the hash takes it from where the code runs. */
const MARKET = "0x00000000000000000000000000000000000000be";
const file = new URL("../../protocol/vectors/orders.json", import.meta.url);
const account = (digit: string) => `0x${digit.repeat(40)}` as const;
const top = (bits: bigint) => (1n << bits) - 1n;
const named = (text: string) => text32(text) as `0x${string}`;

const widest: Partial<Record<keyof (Request & Offer), unknown>> = {
  ...{ maxPrice: top(128n), matcherTip: top(128n), arbiterFee: top(128n), bond: top(128n), traits: top(256n) },
  ...{ cpuMilli: 2 ** 32 - 1, memoryMiB: 2 ** 32 - 1, diskMiB: 2 ** 32 - 1, gpus: 65_535, maxSeconds: 2 ** 32 - 1 },
  ...{ gpuModel: named("NVIDIA H200 NVL 141 GB HBM3e"), region: named("eu-central") },
  ...{
    verifier: account("b"),
    verifierData: `0x${"c".repeat(64)}`,
    arbiter: account("d"),
    arbiterData: `0x${"e".repeat(64)}`,
  },
};
const requests: Record<string, Request> = {
  plain: aRequest(),
  "every member its largest": aRequest({
    ...(widest as Partial<Request>),
    ...{
      matcher: account("f"),
      payer: account("9"),
      replicas: 65_535,
      openUntil: 2 ** 40 - 1,
      compensationBps: 65_535,
    },
    ...{
      acceptWindow: 2 ** 32 - 1,
      submitWindow: 2 ** 32 - 1,
      challengeWindow: 2 ** 32 - 1,
      arbiterWindow: 2 ** 32 - 1,
    },
  }),
};
const { maxPrice, matcherTip, bond, ...shared } = widest;
const offers: Record<string, Offer> = {
  plain: anOffer(),
  "every member its largest": anOffer({
    ...(shared as Partial<Offer>),
    ...{ cpuRateX18: top(128n), memoryRateX18: top(128n), diskRateX18: top(128n), gpuRateX18: top(128n) },
    ...{ baseCharge: top(128n), maxBond: top(128n), maxCompensationBps: 65_535, expiresAt: 2 ** 40 - 1 },
    ...{ index: 2 ** 32 - 1, epoch: 2 ** 32 - 1, requester: account("8"), minSubmitMargin: 2 ** 32 - 1 },
    maxSettleSeconds: 2 ** 32 - 1,
  }),
};
const claims: Record<string, Claim> = {
  empty: { resultHash: `0x${"0".repeat(64)}`, resultBytes: 0n, charge: 0n },
  plain: { resultHash: `0x${"5".repeat(64)}`, resultBytes: 1234n, charge: 40n },
  "every member its largest": { resultHash: `0x${"f".repeat(64)}`, resultBytes: top(64n), charge: top(128n) },
};
const some = { maxBond: 1000n, maxActive: 4, cpuMilli: 8000, memoryMiB: 16_384, diskMiB: 65_536, gpus: 1 };
const limits: Record<string, NodeLimits> = {
  "no lists": { ...some, tokens: [], verifiers: [], arbiters: [] },
  "lists of several": {
    ...some,
    tokens: [account("a"), account("b")],
    verifiers: [account("0")],
    arbiters: [account("0"), account("d"), account("e")],
  },
};

/** The hashes that Solidity gives. Set BERTH_WRITE_VECTORS=1 to write them to the file. */
async function solidityVectors() {
  const on = await deployedMarket();
  // The code of the market at the fixed address; its immutables only name the other contracts.
  await networkHelpers.setCode(MARKET, await ethers.provider.getCode(on.addresses.market));
  const market = on.market.attach(MARKET) as typeof on.market;
  const harness = await ethers.deployContract("OrderHashHarness");
  const each = async <T extends object>(table: Record<string, T>, hash: (value: T) => Promise<unknown>) =>
    Promise.all(Object.entries(table).map(async ([name, value]) => ({ name, value, hash: await hash(value) })));
  return {
    chainId: CHAIN_ID,
    market: MARKET,
    requests: await each(requests, (value) => market.hashRequest(value)),
    offers: await each(offers, (value) => market.hashOffer(value)),
    claims: await each(claims, (value) => harness.getFunction("ofClaim")(value)),
    limits: await each(limits, (value) => harness.getFunction("ofLimits")(value)),
    commitments: await Promise.all(
      [0, 1, 65_535].map(async (replica) => {
        const [jobId, offerHash] = [`0x${"1".repeat(64)}`, `0x${"2".repeat(64)}`] as const;
        return {
          jobId,
          replica,
          offerHash,
          commitment: await harness.getFunction("commitment")(jobId, replica, offerHash),
        };
      }),
    ),
  };
}

describe("order hashes", () => {
  it("are those of the shared vectors", async () => {
    const vectors = await loadFixture(solidityVectors);
    const text = `${toJson(vectors, 2)}\n`;
    if (process.env["BERTH_WRITE_VECTORS"] === "1") writeFileSync(file, text);
    expect(JSON.parse(text)).to.deep.equal(JSON.parse(readFileSync(file, "utf8")));
    for (const { jobId, replica, offerHash, commitment } of vectors.commitments) {
      expect(commitment).to.equal(
        replicaCommitment(jobId as Parameters<typeof replicaCommitment>[0], replica, offerHash),
      );
    }
  });
});
