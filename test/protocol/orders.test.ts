import {
  type MarketError,
  offerSchema,
  orderToJson,
  parseWith,
  requestSchema,
  termsOf,
  termsSchema,
  toJson,
} from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { anOffer, anyOffer, anyRequest, aRequest } from "../support/orders.ts";

const what = { code: "REQUEST_INVALID", what: "The request" };

describe("orders in JSON", () => {
  it("come back as they were", () => {
    fc.assert(
      fc.property(anyRequest, anyOffer, (request, offer) => {
        expect(requestSchema.parse(JSON.parse(toJson(orderToJson(request))))).to.deep.equal(request);
        expect(offerSchema.parse(JSON.parse(toJson(orderToJson(offer))))).to.deep.equal(offer);
      }),
    );
  });

  it("come back as they were, what they came to as well", () => {
    const domain = { chainId: 1, market: `0x${"b".repeat(40)}` } as const;
    fc.assert(
      fc.property(anyRequest, anyOffer, fc.nat(65_535), (request, offer, replica) => {
        const { job, assignment } = termsOf(domain, request, offer, replica);
        const json = { job: orderToJson(job), assignment: orderToJson(assignment) };
        expect(termsSchema.parse(JSON.parse(toJson(json)))).to.deep.equal({ job, assignment });
      }),
    );
  });

  it("refuse a mode that there is not", () => {
    const json = { ...orderToJson(aRequest()), mode: 2 };
    expect(() => parseWith(requestSchema, json, what)).to.throw("mode");
  });

  it("name an unknown field", () => {
    const json = { ...orderToJson(aRequest()), prize: "1" };
    expect(() => parseWith(requestSchema, json, what))
      .to.throw('"prize"')
      .with.property("code", "REQUEST_INVALID" satisfies MarketError["code"]);
  });

  it("refuse amounts that do not fit the contract's type", () => {
    const json = { ...orderToJson(anOffer()), baseCharge: String(1n << 128n) };
    expect(() => parseWith(offerSchema, json, what)).to.throw("must be below 2^128");
  });
});
