import { expect } from "chai";
import fc from "fast-check";
import { type Standing, whyNoGas, whyWithheld } from "../../../provider-node/src/policy/withhold.ts";

const MIB = 2 ** 20;
const fine: Standing = {
  draining: undefined,
  proven: { containers: true },
  freeDiskBytes: 1024 * MIB,
  minFreeBytes: 1024 * MIB,
  behindSince: null,
  nowMs: 1_000_000,
};

describe("whyWithheld", () => {
  it("finds nothing against a node that is well", () => {
    expect(whyWithheld(fine)).to.equal(undefined);
    expect(whyWithheld({ ...fine, behindSince: 1_000_000 - 59_999 })).to.equal(undefined);
  });

  for (const [change, reason] of [
    [{ draining: { reason: "", since: 1 } }, "The node is draining."],
    [{ draining: { reason: "new disk", since: 1 } }, "The node is draining: new disk."],
    [{ proven: { containers: false } }, "This machine did not prove that it can run jobs; see `berth-node doctor`."],
    [
      { proven: { containers: true, isPresent: false } },
      "The RPC is catching up, or the newest block is far from this machine's time; see `berth-node doctor`.",
    ],
    [{ freeDiskBytes: 1024 * MIB - 1 }, "Less than 1024 MiB of the disk are free (minFreeMiB)."],
    [{ behindSince: 940_000 }, "No RPC has shown the chain as it is for over 60 s; see `rpcUrls`."],
  ] as [Partial<Standing>, string][])
    it(`says: ${reason}`, () => {
      expect(whyWithheld({ ...fine, ...change })).to.equal(reason);
    });
});

describe("whyNoGas", () => {
  it("lets a node offer exactly while it can pay a result at twice the gas price", () => {
    const key = "0xe";
    fc.assert(
      fc.property(fc.bigInt(0n, 10n ** 12n), fc.integer({ min: 1, max: 10 ** 6 }), (weiPerGas, gasPerJob) => {
        const needed = weiPerGas * BigInt(gasPerJob) * 2n;
        const why = (balanceWei: bigint) => whyNoGas({ key, balanceWei, weiPerGas, gasPerJob });
        expect(why(needed + 1n)).to.equal(undefined);
        if (needed > 0n) expect(why(needed - 1n)).to.match(/^The hot key 0xe cannot pay/);
        expect(why(0n)).to.match(/cannot pay/);
      }),
    );
  });
});
