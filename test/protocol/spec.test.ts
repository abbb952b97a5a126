import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  canonicalBytes,
  documentHash,
  type MarketError,
  parseSpec,
  resultJsonSchema,
  specJsonSchema,
} from "@berth/protocol";
import { expect } from "chai";
import { aSpec } from "../support/specs.ts";

const vectors: { what: string; spec: unknown; canonical: string; specHash: string }[] = JSON.parse(
  readFileSync(join(import.meta.dirname, "vectors/spec.json"), "utf8"),
);

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

  for (const { what, spec, canonical, specHash } of vectors) {
    it(`gives ${what} the hash that every implementation gives it`, () => {
      expect(new TextDecoder().decode(canonicalBytes(parseSpec(spec)))).to.equal(canonical);
      expect(documentHash(parseSpec(spec))).to.equal(specHash);
    });
  }

  const { digest, cid } = aSpec().image;
  const withSources = (...sources: string[]) => ({ image: { digest, cid, sources } });
  for (const source of [
    "oci://registry.example/app:latest",
    `oci://registry.example/app@${digest}`,
    "oci://user:secret@registry.example/app",
    "oci://registry.example/Team/app",
    "oci://registry.example/../app",
    "oci://registry.example",
    "docker://registry.example/app",
    "https://user:secret@files.example/app.tar",
    "https://files.example/app.tar?token=1",
    "https://files.example/app.zip",
    "file:///srv/app.tar",
    "ftp://files.example/app.tar",
  ]) {
    it(`refuses ${source.slice(0, 45)} as a place of an image`, () =>
      expect(refusal(withSources(source))).to.contain("must be oci://HOST/REPOSITORY without a tag"));
  }
  it("wants to know at least one place of the image, and at most eight beside IPFS", () => {
    expect(refusal({ image: { digest } })).to.contain("must have a cid, sources, or both");
    expect(refusal({ image: { digest, cid, sources: [] } })).to.contain("sources");
    const many = Array.from({ length: 9 }, (_, at) => `oci://registry.example/app${at}`);
    expect(refusal(withSources(...many))).to.contain("sources");
    expect(parseSpec({ ...aSpec(), ...withSources(...many.slice(1)) }).image.sources).to.have.length(8);
  });

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

  const recipient = `age1${"q".repeat(58)}`;
  const encrypted = (...encryptTo: string[]) => ({ outputs: { ...aSpec().outputs, encryptTo } });
  it("takes recipients to encrypt to, at most eight", () => {
    expect(parseSpec({ ...aSpec(), ...encrypted(recipient) }).outputs.encryptTo).to.deep.equal([recipient]);
    expect(refusal(encrypted())).to.contain("encryptTo");
    expect(refusal(encrypted(...Array.from({ length: 9 }, () => recipient)))).to.contain("encryptTo");
  });
  for (const wrong of [
    `${recipient}q`,
    recipient.toUpperCase(),
    `age1pq1${"q".repeat(55)}`,
    `AGE-SECRET-KEY-1${"Q".repeat(58)}`,
  ])
    it(`refuses ${wrong.slice(0, 18)} as a recipient`, () =>
      expect(refusal(encrypted(wrong))).to.contain("must be an X25519 recipient of age"));
  it("refuses a quorum on what nobody can compare", () =>
    expect(refusal({ ...encrypted(recipient), verification: "quorum" })).to.contain(
      "quorum on outputs that are encrypted",
    ));

  it("has a JSON Schema that forbids unknown fields", () => {
    const schema = specJsonSchema() as { additionalProperties: boolean; required: string[] };
    expect(schema.additionalProperties).to.equal(false);
    expect(schema.required).to.include("image");
  });

  it("has a JSON Schema that wants a place for the image", () => {
    const { image } = (specJsonSchema() as { properties: { image: { required: string[]; anyOf: object[] } } })
      .properties;
    expect(image.required).to.deep.equal(["digest"]);
    expect(image.anyOf).to.deep.equal([{ required: ["cid"] }, { required: ["sources"] }]);
  });

  it("stands beside the JSON Schema of a result record", () => {
    const schema = resultJsonSchema() as { additionalProperties: boolean; properties: Record<string, unknown> };
    expect(schema.additionalProperties).to.equal(false);
    expect(schema.properties).to.include.keys("outcome", "usage", "signature");
  });
});
