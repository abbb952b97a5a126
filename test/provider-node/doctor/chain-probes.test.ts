import { expect } from "chai";
import { clockCheck, syncCheck } from "../../../provider-node/src/doctor/chain-probes.ts";

describe("clockCheck", () => {
  it("fails where the chain's time and this machine's are far apart, either way", () => {
    const statuses = [0, 30, -30, 31, -31, 120, -120, 121, -121, 86_400].map((skew) => clockCheck(skew, 1).status);
    const [ok, warn, fail] = ["ok", "warn", "fail"];
    expect(statuses).to.deep.equal([ok, ok, ok, warn, warn, warn, warn, fail, fail, fail]);
  });

  it("says what to do: an old block may be the RPC's fault, one of the future is the clock's", () => {
    expect(clockCheck(3600, 1).detail).to.equal("The newest block is 3600 s behind this machine's clock.");
    expect(clockCheck(3600, 1).fix).to.match(/NTP.*rpcUrls/);
    expect(clockCheck(-3600, 1).detail).to.contain("ahead of");
    expect(clockCheck(-3600, 1).fix)
      .to.match(/NTP/)
      .and.not.match(/rpcUrls/);
  });

  it("only warns on a local chain, where nothing may have happened for hours", () => {
    expect(clockCheck(86_400, 31337).status).to.equal("warn");
  });
});

describe("syncCheck", () => {
  it("fails while the RPC is catching up", () => {
    const check = syncCheck({ startingBlock: "0x0", currentBlock: "0x10", highestBlock: "0x20" });
    expect(check).to.deep.include({ name: "rpc", status: "fail" });
    expect(check.detail).to.equal("The RPC is still catching up with the chain, at block 16 of 32.");
    expect(syncCheck(true)).to.deep.include({ status: "fail", detail: "The RPC is still catching up with the chain." });
    expect(syncCheck({ currentBlock: "soon" }).status).to.equal("fail");
  });

  it("passes where it is not, or does not say", () => {
    expect([syncCheck(false), syncCheck(undefined)].map(({ status }) => status)).to.deep.equal(["ok", "ok"]);
  });
});
