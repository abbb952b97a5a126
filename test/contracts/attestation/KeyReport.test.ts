import { readFileSync } from "node:fs";
import { type Address, type Hex, type KeyReportFields, keyReport } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { ethers, loadFixture } from "../support/actors.ts";
import { type Named, named } from "./support.ts";

interface Vectors {
  keyReport: { name: string; fields: Record<string, string | number>; hash: string }[];
}
const vectors = JSON.parse(
  readFileSync(new URL("../../protocol/vectors/key-report.json", import.meta.url), "utf8"),
) as unknown as Vectors;

async function deployHarness() {
  return named<Named<"keyReport">>(await ethers.deployContract("AttestHarness"));
}

const bytes = (size: number) =>
  fc.uint8Array({ minLength: size, maxLength: size }).map((array) => ethers.hexlify(array) as Hex);
const account = bytes(20) as fc.Arbitrary<Address>;
const anyFields: fc.Arbitrary<KeyReportFields> = fc.record({
  chainId: fc.bigInt(0n, ethers.MaxUint256),
  registry: account,
  operator: account,
  nodeIndex: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  key: account,
  wgKey: bytes(32),
  nonce: bytes(32),
});

describe("KeyReport", () => {
  for (const { name, fields, hash } of vectors.keyReport) {
    it(`hashes to a fixed value, so that no change of the encoding goes unseen: ${name}`, async () => {
      const harness = await loadFixture(deployHarness);
      expect(await harness.keyReport(fields)).to.equal(hash);
    });
  }

  it("hashes any fields as TypeScript does", async () => {
    const harness = await loadFixture(deployHarness);
    await fc.assert(
      fc.asyncProperty(anyFields, async (fields) => {
        expect(await harness.keyReport(fields)).to.equal(keyReport(fields));
      }),
    );
  });
});
