import { readFileSync } from "node:fs";
import { expect } from "chai";
import { type TypedDataDomain, TypedDataEncoder } from "ethers";
import fc from "fast-check";
import { hashTypedData, recoverTypedDataAddress } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import {
  assertLogAccess,
  encodeLogAccess,
  type LogAccess,
  logAccessTypedData,
  MAX_LOG_ACCESS_SECONDS,
  parseLogAccess,
  type SignedLogAccess,
} from "../../protocol/src/log-access.ts";
import type { MarketDomain } from "../../protocol/src/orders.ts";
import type { Hex } from "../../protocol/src/units.ts";

interface Vectors {
  cases: { name: string; privateKey: Hex; domain: MarketDomain; signed: SignedLogAccess; hash: Hex; header: string }[];
}
const { cases } = JSON.parse(
  readFileSync(new URL("./vectors/log-access.json", import.meta.url), "utf8"),
) as unknown as Vectors;

describe("log access", () => {
  for (const { name, privateKey, domain, signed, hash, header } of cases) {
    it(`equals the shared vector: ${name}`, async () => {
      const typedData = logAccessTypedData(domain, signed);
      expect(hashTypedData(typedData)).to.equal(hash);
      const types = { LogAccess: [...typedData.types.LogAccess] };
      expect(TypedDataEncoder.hash(typedData.domain as TypedDataDomain, types, typedData.message)).to.equal(hash);
      expect(await privateKeyToAccount(privateKey).signTypedData(typedData)).to.equal(signed.signature);
      expect(encodeLogAccess(signed)).to.equal(header);
      expect(parseLogAccess(header)).to.deep.equal(signed);
    });
  }

  const [first] = cases;
  if (first === undefined) throw new Error("vector missing");
  const { signed } = first;
  const { jobId, replica, operator, index, expiresAt } = signed;
  const here = { jobId, replica, operator, index };

  it("is another document for every other field, chain and market", async () => {
    const recover = async (domain: MarketDomain, access: LogAccess) =>
      recoverTypedDataAddress({ ...logAccessTypedData(domain, access), signature: signed.signature });
    const own = (await recover(first.domain, signed)).toLowerCase();
    expect(own).to.equal(signed.account);
    const others: [MarketDomain, LogAccess][] = [
      [{ ...first.domain, chainId: 5 }, signed],
      [{ ...first.domain, market: `0x${"9".repeat(40)}` }, signed],
      [first.domain, { ...signed, jobId: `0x${"9".repeat(64)}` as LogAccess["jobId"] }],
      [first.domain, { ...signed, replica: 7 }],
      [first.domain, { ...signed, operator: `0x${"9".repeat(40)}` }],
      [first.domain, { ...signed, index: 7 }],
      [first.domain, { ...signed, expiresAt: expiresAt + 1 }],
    ];
    for (const [domain, access] of others) expect((await recover(domain, access)).toLowerCase()).to.not.equal(own);
  });

  it("opens nothing but its own replica on its own node", () => {
    assertLogAccess(signed, here, expiresAt);
    const others = [
      { jobId: `0x${"9".repeat(64)}` as LogAccess["jobId"] },
      { replica: 7 },
      { operator: `0x${"9".repeat(40)}` as Hex },
      { index: 7 },
    ];
    for (const other of others)
      expect(() => assertLogAccess(signed, { ...here, ...other }, expiresAt)).to.throw(
        /something else: (jobId|replica|operator|index)\./,
      );
  });

  it("is good for ten minutes at most, with a minute for the clocks", () => {
    const codeAt = (now: number) => {
      try {
        assertLogAccess(signed, here, now);
        return "none";
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    expect(codeAt(expiresAt)).to.equal("none");
    expect(codeAt(expiresAt + 1)).to.equal("LOG_ACCESS_EXPIRED");
    expect(codeAt(expiresAt - MAX_LOG_ACCESS_SECONDS - 60)).to.equal("none");
    expect(codeAt(expiresAt - MAX_LOG_ACCESS_SECONDS - 61)).to.equal("LOG_ACCESS_TOO_LONG");
  });

  it("refuses every other header with one code, and never throws anything else", () => {
    const codeOf = (header: string) => {
      try {
        parseLogAccess(header);
        return "none";
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    const unknownField = `Berth ${btoa(JSON.stringify({ ...signed, role: "admin" })).replace(/=+$/, "")}`;
    const { account: _, ...anonymous } = signed;
    const nobody = `Berth ${btoa(JSON.stringify(anonymous)).replace(/=+$/, "")}`;
    const long = encodeLogAccess({ ...signed, signature: `0x${"ab".repeat(8192)}` });
    for (const header of ["", "Berth", "Bearer abc", "Berth !!", unknownField, nobody, long])
      expect(codeOf(header)).to.equal("LOG_ACCESS_INVALID");
    for (const text of [fc.string(), fc.base64String()])
      fc.assert(fc.property(text, (any) => codeOf(`Berth ${any}`) === "LOG_ACCESS_INVALID"));
  });
});
