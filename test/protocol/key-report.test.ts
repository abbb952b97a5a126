import { readFileSync } from "node:fs";
import { type Hex, KEY_REPORT_DOMAIN, type KeyReportFields, keyReport } from "@berth/protocol";
import { expect } from "chai";

interface Vectors {
  domain: Hex;
  keyReport: { name: string; fields: Omit<KeyReportFields, "chainId"> & { chainId: string }; hash: Hex }[];
}
const vectors = JSON.parse(
  readFileSync(new URL("./vectors/key-report.json", import.meta.url), "utf8"),
) as unknown as Vectors;
const [zero, largest] = vectors.keyReport.map(({ fields }) => ({ ...fields, chainId: BigInt(fields.chainId) })) as [
  KeyReportFields,
  KeyReportFields,
];

describe("keyReport", () => {
  it("has the domain of the shared vectors", () => expect(KEY_REPORT_DOMAIN).to.equal(vectors.domain));

  for (const { name, fields, hash } of vectors.keyReport) {
    it(`equals the shared vector: ${name}`, () => {
      expect(keyReport({ ...fields, chainId: BigInt(fields.chainId) })).to.equal(hash);
    });
  }

  it("changes with every field", () => {
    const names = Object.keys(zero) as (keyof KeyReportFields)[];
    const hashes = names.map((name) => keyReport({ ...zero, [name]: largest[name] }));
    expect(new Set([keyReport(zero), ...hashes]).size).to.equal(names.length + 1);
  });

  it("refuses a value that does not fit its type", () => {
    expect(() => keyReport({ ...zero, nodeIndex: 2 ** 32 })).to.throw(/range/i);
    expect(() => keyReport({ ...zero, wgKey: "0x12" })).to.throw(/bytes32/);
  });
});
