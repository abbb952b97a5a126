import { type MarketError, parseSpec, resultJsonSchema, specJsonSchema } from "@berth/protocol";
import { expect } from "chai";
import { aSpec } from "../support/specs.ts";

function refusal(change: Record<string, unknown>): string {
  try {
    parseSpec({ ...aSpec(), ...change });
  } catch (error) {
    expect((error as MarketError).code).to.equal("SPEC_INVALID");
    return (error as Error).message;
  }
  throw new Error("the spec was taken");
}

describe("parseSpec", () => {
  it("takes a whole spec as it is", () => expect(parseSpec(aSpec())).to.deep.equal(aSpec()));

  it("names an unknown field", () => expect(refusal({ memroy: 5 })).to.contain('"memroy"'));
  it("refuses a tag where a digest belongs", () =>
    expect(refusal({ image: { digest: "alpine:3", cid: aSpec().image.cid } })).to.contain("tags are refused"));
  it("refuses a path that climbs", () =>
    expect(refusal({ inputs: [{ cid: aSpec().image.cid, path: "/in/../etc" }] })).to.contain(
      "must not contain . or ..",
    ));
  it("refuses to mount over the system's folders", () =>
    expect(refusal({ inputs: [{ cid: aSpec().image.cid, path: "/proc/x" }] })).to.contain("/proc"));
  it("refuses two things in one place", () =>
    expect(refusal({ inputs: [{ cid: aSpec().image.cid, path: "/out/in" }] })).to.contain("at or below /out"));
  it("refuses another version", () => expect(refusal({ version: 2 })).to.contain("version"));

  it("has a JSON Schema that forbids unknown fields", () => {
    const schema = specJsonSchema() as { additionalProperties: boolean; required: string[] };
    expect(schema.additionalProperties).to.equal(false);
    expect(schema.required).to.include("image");
  });

  it("stands beside the JSON Schema of a result record", () => {
    const schema = resultJsonSchema() as { additionalProperties: boolean; properties: Record<string, unknown> };
    expect(schema.additionalProperties).to.equal(false);
    expect(schema.properties).to.include.keys("outcome", "usage", "signature");
  });
});
