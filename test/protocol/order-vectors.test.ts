import { readFileSync } from "node:fs";
import {
  type Address,
  type Claim,
  claimHash,
  type Hex,
  jobIdOf,
  offerHashOf,
  offerSchema,
  replicaCommitment,
  requestSchema,
  termsHash,
  termsOf,
  termsSchema,
} from "@berth/protocol";
import { expect } from "chai";
import { concatHex, keccak256 } from "viem";

interface Vector {
  name: string;
  value: Record<string, unknown>;
  hash: Hex;
}
interface TermsVector extends Vector {
  commitment: Hex;
  claimed: (Vector & { value: { resultHash: Hex; resultBytes: string; charge: string } })[];
}

/** Written by the contracts' own test from what Solidity answers. */
const vectors = JSON.parse(readFileSync(new URL("vectors/orders.json", import.meta.url), "utf8")) as {
  chainId: number;
  market: Address;
  requests: Vector[];
  offers: Vector[];
  terms: TermsVector[];
};
const domain = { chainId: vectors.chainId, market: vectors.market };

describe("order hashes, equal to Solidity's", () => {
  for (const { name, value, hash } of vectors.requests) {
    it(`request: ${name}`, () => expect(jobIdOf(domain, requestSchema.parse(value))).to.equal(hash));
  }
  for (const { name, value, hash } of vectors.offers) {
    it(`offer: ${name}`, () => expect(offerHashOf(domain, offerSchema.parse(value))).to.equal(hash));
  }

  it("change with the chain and with the market", () => {
    const [first] = vectors.requests;
    const request = requestSchema.parse(first?.value);
    expect(jobIdOf({ ...domain, chainId: 1 }, request)).to.not.equal(first?.hash);
    expect(jobIdOf({ ...domain, market: `0x${"1".repeat(40)}` }, request)).to.not.equal(first?.hash);
  });

  it("change with every member of an order", () => {
    const hashesOf = <T extends object>(order: T, hash: (order: T) => Hex) =>
      [order, ...Object.keys(order).map((name) => ({ ...order, [name]: zeroLike(order[name as keyof T]) }))].map(hash);
    const request = requestSchema.parse(vectors.requests[2]?.value);
    expect(new Set(hashesOf(request, (order) => jobIdOf(domain, order))).size).to.equal(35 + 1);
    const offer = offerSchema.parse(vectors.offers[2]?.value);
    expect(new Set(hashesOf(offer, (order) => offerHashOf(domain, order))).size).to.equal(29 + 1);
  });
});

describe("terms, equal to Solidity's", () => {
  for (const { name, value, hash, commitment, claimed } of vectors.terms) {
    const terms = termsSchema.parse(value);

    it(`hash and commitment: ${name}`, () => {
      expect(termsHash(terms)).to.equal(hash);
      expect(replicaCommitment(terms)).to.equal(commitment);
      expect(commitment).to.equal(hash.slice(0, 44));
    });

    for (const { name: what, value: json, hash: claimedHash } of claimed) {
      it(`hash and commitment: ${name}, claimed: ${what}`, () => {
        const { resultHash, resultBytes, charge } = json;
        const claim: Claim = { resultHash, resultBytes: BigInt(resultBytes), charge: BigInt(charge) };
        expect(keccak256(concatHex([hash, claimHash(claim)]))).to.equal(claimedHash);
        expect(replicaCommitment(terms, claim)).to.equal(claimedHash.slice(0, 44));
      });
    }
  }

  for (const { name, value } of vectors.terms.filter((terms) =>
    vectors.requests.some((one) => one.name === terms.name),
  )) {
    it(`are what the two orders come to: ${name}`, () => {
      const [request, offer] = [vectors.requests, vectors.offers].map((all) => all.find((one) => one.name === name));
      const terms = termsSchema.parse(value);
      const { replica } = terms.assignment;
      expect(
        termsOf(domain, requestSchema.parse(request?.value), offerSchema.parse(offer?.value), replica),
      ).to.deep.equal(terms);
    });
  }

  it("change with every member", () => {
    const { job, assignment } = termsSchema.parse(vectors.terms.at(-1)?.value);
    const hashes = [
      termsHash({ job, assignment }),
      ...Object.entries(job).map(([name, value]) =>
        termsHash({ job: { ...job, [name]: zeroLike(value) }, assignment }),
      ),
      ...Object.entries(assignment).map(([name, value]) =>
        termsHash({ job, assignment: { ...assignment, [name]: zeroLike(value) } }),
      ),
    ];
    expect(new Set(hashes).size).to.equal(26 + 6 + 1);
  });
});

function zeroLike(value: unknown): unknown {
  if (typeof value === "bigint") return 0n;
  return typeof value === "number" ? 0 : `0x${"0".repeat(String(value).length - 2)}`;
}
