import {
  canonicalBytes,
  cidToDigest,
  digestToCid,
  documentHash,
  type Hex,
  MAX_DOCUMENT_BYTES,
  type MarketError,
} from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";

describe("canonical documents", () => {
  it("have one form whatever the order of their members (RFC 8785)", () => {
    expect(new TextDecoder().decode(canonicalBytes({ b: [1e21, "é\u0000"], a: { y: null, x: true } }))).to.equal(
      '{"a":{"x":true,"y":null},"b":[1e+21,"é\\u0000"]}',
    );
  });

  it("refuse what is too large to be one block", () => {
    const large = { text: "x".repeat(MAX_DOCUMENT_BYTES) };
    expect(() => canonicalBytes(large)).to.throw("at most 262144 are allowed");
  });

  it("hash equal exactly when they are equal", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        const equal = JSON.stringify(a) === JSON.stringify(b);
        if (equal) expect(documentHash(a)).to.equal(documentHash(b));
        expect(documentHash(JSON.parse(JSON.stringify(a)))).to.equal(documentHash(a));
      }),
    );
  });

  it("have the CID of their one raw block", () => {
    // `printf 'hello world' | ipfs add --cid-version=1 --raw-leaves`
    const digest: Hex = "0xb94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
    expect(digestToCid(digest)).to.equal("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
    expect(cidToDigest(digestToCid(digest))).to.equal(digest);
  });

  it("refuse the CID of anything else", () => {
    const folder = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";
    expect(() => cidToDigest(folder))
      .to.throw()
      .with.property("code", "CID_INVALID" satisfies MarketError["code"]);
  });
});
