import { MarketError } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { exitCodeOf, exitCodesHelp } from "../../client/src/cli/exit-codes.ts";
import { errorText } from "../../client/src/cli/output.ts";
import { formatBytes, formatMoney, formatSeconds, parseMoney, printable } from "../../client/src/format.ts";

const token = { address: "0x" as const, symbol: "tUSD", decimals: 6 };

describe("money", () => {
  it("is shown in decimals and read back", () => {
    expect(formatMoney(1_250_000n, token)).to.equal("1.25 tUSD");
    fc.assert(
      fc.property(fc.bigInt(0n, 10n ** 24n), (units) => {
        expect(parseMoney(formatMoney(units, token).split(" ")[0] ?? "", token)).to.equal(units);
      }),
    );
  });

  it("is refused when it is no amount, or finer than the token", () => {
    for (const text of ["", "-1", "1e3", "1.0000001", "0x10", "1,5"]) {
      expect(() => parseMoney(text, token), text).to.throw(`"${text}" is not an amount of tUSD`);
    }
  });
});

describe("text for people", () => {
  it("keeps a stranger's control characters out of the terminal", () => {
    expect(printable("a\u001b[2Jb\u202ec\r\n")).to.equal("a\\x1b[2Jb\\x202ec\n");
  });

  it("has sizes and times in units that fit", () => {
    expect([0, 512, 1536, 5 * 2 ** 30].map(formatBytes)).to.deep.equal(["0 B", "512 B", "1.5 KiB", "5.0 GiB"]);
    expect([0.44, 75, 600, 7260].map(formatSeconds)).to.deep.equal(["0.4 s", "75 s", "10 min", "2 h 1 min"]);
  });

  it("says what happened and what to do, and never shows a stack unless asked", () => {
    const error = new MarketError("X", "It broke.", { hint: "Mend it." });
    expect(errorText(error, false)).to.match(/It broke\.\n.*Mend it\.$/);
    expect(errorText(new TypeError("x is undefined"), false)).to.not.include("at ");
    expect(errorText(error, true)).to.include("format.test.ts");
  });
});

describe("exit codes", () => {
  const cases: Record<string, number> = {
    JOB_NOT_DELIVERED: 1,
    SPEC_INVALID: 2,
    IMAGE_DIGEST_MISMATCH: 2,
    TARGET_EXISTS: 2,
    WALLET_MISSING: 2,
    NO_OFFER_FITS: 3,
    JOB_NOT_MATCHED: 3,
    FUNDS_TOO_LOW: 4,
    RPC_UNAVAILABLE: 5,
    WRONG_CHAIN: 5,
    NOT_DEPLOYED: 5,
    INDEXER_UNAVAILABLE: 5,
    CONTENT_UNAVAILABLE: 6,
    NOT_VERIFIED: 7,
  };
  for (const [code, expected] of Object.entries(cases)) {
    it(`${code} is ${expected}`, () => expect(exitCodeOf(new MarketError(code, ""))).to.equal(expected));
  }

  it("tell a fault of the program and an interruption from everything else", () => {
    expect(exitCodeOf(new TypeError("x"))).to.equal(70);
    expect(exitCodeOf(new DOMException("stopped", "AbortError"))).to.equal(130);
    expect(exitCodeOf(new MarketError("REVERTED", "BalanceTooLow(…)"))).to.equal(4);
  });

  it("are all in the help", () => {
    for (const code of [0, 1, 2, 3, 4, 5, 6, 7, 70, 130]) expect(exitCodesHelp).to.match(new RegExp(`\\n  ${code}\\s`));
  });
});
