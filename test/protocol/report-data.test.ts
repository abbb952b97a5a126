import { readFileSync } from "node:fs";
import { expect } from "chai";
import type { JobNonceFields, ReportDataFields } from "../../protocol/src/report-data.ts";
import { jobNonce, REPORT_DATA_DOMAIN, reportData } from "../../protocol/src/report-data.ts";
import type { Hex } from "../../protocol/src/units.ts";

interface Vectors {
  domain: Hex;
  reportData: { name: string; fields: Omit<ReportDataFields, "chainId"> & { chainId: string }; hash: Hex }[];
  jobNonce: { name: string; fields: JobNonceFields; hash: Hex }[];
}
const vectors = JSON.parse(
  readFileSync(new URL("./vectors/report-data.json", import.meta.url), "utf8"),
) as unknown as Vectors;

describe("reportData", () => {
  it("has the domain of the shared vectors", () => expect(REPORT_DATA_DOMAIN).to.equal(vectors.domain));

  for (const { name, fields, hash } of vectors.reportData) {
    it(`equals the shared vector: ${name}`, () => {
      expect(reportData({ ...fields, chainId: BigInt(fields.chainId) })).to.equal(hash);
    });
  }

  it("changes with every field", () => {
    const [base, other] = [vectors.reportData[0], vectors.reportData[2]].map((vector) => {
      if (vector === undefined) throw new Error("vector missing");
      return { ...vector.fields, chainId: BigInt(vector.fields.chainId) };
    }) as [ReportDataFields, ReportDataFields];
    const names = Object.keys(base) as (keyof ReportDataFields)[];
    const hashes = names.map((name) => reportData({ ...base, [name]: other[name] }));
    expect(new Set([reportData(base), ...hashes]).size).to.equal(names.length + 1);
  });

  it("refuses a value that does not fit its type", () => {
    const fields = vectors.reportData[0]?.fields as unknown as ReportDataFields;
    expect(() => reportData({ ...fields, chainId: 1n, replica: 65536 })).to.throw(/not in safe 16-bit|out of|range/i);
    expect(() => reportData({ ...fields, chainId: 1n, jobId: "0x12" })).to.throw(/bytes32/);
  });
});

describe("jobNonce", () => {
  for (const { name, fields, hash } of vectors.jobNonce) {
    it(`equals the shared vector: ${name}`, () => expect(jobNonce(fields)).to.equal(hash));
  }
});
