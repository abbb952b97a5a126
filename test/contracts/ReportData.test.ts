import { readFileSync } from "node:fs";
import { expect } from "chai";
import { network } from "hardhat";

interface Vectors {
  reportData: { name: string; fields: Record<string, string | number>; hash: string }[];
  jobNonce: { name: string; fields: { offerHash: string; matchedAt: number; jobId: string }; hash: string }[];
}
const vectors = JSON.parse(
  readFileSync(new URL("../protocol/vectors/report-data.json", import.meta.url), "utf8"),
) as unknown as Vectors;

const { ethers } = await network.getOrCreate();

describe("ReportData", () => {
  for (const { name, fields, hash } of vectors.reportData) {
    it(`hashes as TypeScript does: ${name}`, async () => {
      const harness = await ethers.deployContract("ReportDataHarness");
      expect(await harness.getFunction("hash")(fields)).to.equal(hash);
    });
  }

  for (const { name, fields, hash } of vectors.jobNonce) {
    it(`gives the same job nonce: ${name}`, async () => {
      const harness = await ethers.deployContract("ReportDataHarness");
      const { offerHash, matchedAt, jobId } = fields;
      expect(await harness.getFunction("jobNonce")(offerHash, matchedAt, jobId)).to.equal(hash);
    });
  }
});
