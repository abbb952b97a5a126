import { readFileSync } from "node:fs";
import {
  type Address,
  claimHash,
  type Hex,
  type JobId,
  jobIdOf,
  offerHashOf,
  offerSchema,
  replicaCommitment,
  requestSchema,
} from "@berth/protocol";
import { expect } from "chai";

interface Vector {
  name: string;
  value: Record<string, string>;
  hash: Hex;
}

/** Written by the contracts' own test from what Solidity answers. */
const vectors = JSON.parse(readFileSync(new URL("vectors/orders.json", import.meta.url), "utf8")) as {
  chainId: number;
  market: Address;
  requests: Vector[];
  offers: Vector[];
  claims: Vector[];
  commitments: { jobId: JobId; replica: number; offerHash: Hex; commitment: Hex }[];
};
const domain = { chainId: vectors.chainId, market: vectors.market };

describe("order hashes, equal to Solidity's", () => {
  for (const { name, value, hash } of vectors.requests) {
    it(`request: ${name}`, () => expect(jobIdOf(domain, requestSchema.parse(value))).to.equal(hash));
  }
  for (const { name, value, hash } of vectors.offers) {
    it(`offer: ${name}`, () => expect(offerHashOf(domain, offerSchema.parse(value))).to.equal(hash));
  }
  for (const { name, value, hash } of vectors.claims) {
    it(`claim: ${name}`, () => {
      const { resultHash, resultBytes, charge } = value as { resultHash: Hex; resultBytes: string; charge: string };
      expect(claimHash({ resultHash, resultBytes: BigInt(resultBytes), charge: BigInt(charge) })).to.equal(hash);
    });
  }
  for (const { jobId, replica, offerHash, commitment } of vectors.commitments) {
    it(`commitment of replica ${replica}`, () =>
      expect(replicaCommitment(jobId, replica, offerHash)).to.equal(commitment));
  }
  it("change with the chain and with the market", () => {
    const [first] = vectors.requests;
    const request = requestSchema.parse(first?.value);
    expect(jobIdOf({ ...domain, chainId: 1 }, request)).to.not.equal(first?.hash);
    expect(jobIdOf({ ...domain, market: `0x${"1".repeat(40)}` }, request)).to.not.equal(first?.hash);
  });
});
