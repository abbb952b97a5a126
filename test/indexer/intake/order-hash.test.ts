import { readFileSync } from "node:fs";
import { type Address, type Hex, jobIdOf, offerHashOf, offerSchema, orderTypes, requestSchema } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { orderHashes } from "../../../indexer/src/intake/order-hash.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

interface Vector {
  name: string;
  value: unknown;
  hash: Hex;
}
/** Written by the contracts' own test from what Solidity answers. */
const vectors = JSON.parse(readFileSync(new URL("../../protocol/vectors/orders.json", import.meta.url), "utf8")) as {
  chainId: number;
  market: Address;
  requests: Vector[];
  offers: Vector[];
};
const domain = { chainId: vectors.chainId, market: vectors.market };

describe("orderHashes", () => {
  for (const { name, value, hash } of vectors.requests) {
    it(`equals Solidity's: request: ${name}`, () => {
      expect(orderHashes(domain).jobIdOf(requestSchema.parse(value))).to.equal(hash);
    });
  }
  for (const { name, value, hash } of vectors.offers) {
    it(`equals Solidity's: offer: ${name}`, () => {
      expect(orderHashes(domain).offerHashOf(offerSchema.parse(value))).to.equal(hash);
    });
  }

  it("equals viem's for any values of any members, on any market, whatever was hashed before", () => {
    const anyDomain = fc.record({ chainId: fc.nat(2 ** 31 - 1), market: anyHex(20) });
    fc.assert(
      fc.property(anyDomain, membersOf("Request"), membersOf("Offer"), (market, requestMembers, offerMembers) => {
        const [request, offer] = [aRequest(requestMembers), anOffer(offerMembers)];
        const hashes = orderHashes(market);
        expect(hashes.jobIdOf(request)).to.equal(jobIdOf(market, request));
        expect(hashes.offerHashOf(offer)).to.equal(offerHashOf(market, offer));
      }),
      { numRuns: 60 },
    );
  });

  it("refuses what does not fit a member instead of cutting it, and hashes the next order right", () => {
    const { offerHashOf: hash } = orderHashes(domain);
    const misfits = [
      { index: 2 ** 32 },
      { index: -1 },
      { index: 0.5 },
      { gpus: 2 ** 16 },
      { expiresAt: 2 ** 40 },
      { maxBond: 2n ** 128n },
      { maxBond: -1n },
      { traits: 2n ** 256n },
      { operator: "0x12" as Address },
      { operator: `0x${"g".repeat(40)}` as Address },
      { region: `0x${"1".repeat(66)}` as Hex },
    ];
    for (const misfit of misfits) {
      const [name, value] = Object.entries(misfit)[0] ?? [];
      expect(() => hash(anOffer(misfit))).to.throw(RangeError, `${name} cannot be ${value}.`);
      expect(hash(anOffer())).to.equal(offerHashOf(domain, anOffer()));
    }
  });
});

/** Values of each member's whole range, its ends often. */
function membersOf(name: keyof typeof orderTypes): fc.Arbitrary<object> {
  const members: Record<string, fc.Arbitrary<unknown>> = {};
  for (const { name: member, type } of orderTypes[name]) members[member] = anyOf(type);
  return fc.record(members);
}

function anyOf(type: string): fc.Arbitrary<unknown> {
  if (type === "address") return anyHex(20);
  if (type === "bytes32") return anyHex(32);
  const bits = Number(type.slice(4));
  const most = (1n << BigInt(bits)) - 1n;
  const any = fc.oneof(fc.constantFrom(0n, most), fc.bigInt(0n, most));
  return bits <= 48 ? any.map(Number) : any;
}

function anyHex(size: number): fc.Arbitrary<Hex> {
  return fc
    .uint8Array({ minLength: size, maxLength: size })
    .map((bytes): Hex => `0x${Buffer.from(bytes).toString("hex")}`);
}
