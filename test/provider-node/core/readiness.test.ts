import { expect } from "chai";
import { hindrancesOf, type NodeFacts } from "../../../provider-node/src/core/readiness.ts";

const AT_MS = 1_000_000;
const fine: NodeFacts = {
  started: true,
  chain: { state: "following", lagBlocks: 0, behindSince: null },
  engineTrouble: undefined,
  draining: undefined,
  freeBytes: 10,
  minFreeBytes: 10,
  atMs: AT_MS,
};

describe("hindrancesOf", () => {
  const codes = (facts: Partial<NodeFacts>) => hindrancesOf({ ...fine, ...facts }).map(({ code }) => code);

  it("finds nothing on a node that can work", () => expect(codes({})).to.deep.equal([]));

  it("names one thing each", () => {
    expect(codes({ freeBytes: 9 })).to.deep.equal(["DISK_LOW"]);
    expect(codes({ engineTrouble: "ENGINE_NO_RUNTIME" })).to.deep.equal(["ENGINE_DOWN"]);
    expect(codes({ draining: { reason: "" } })).to.deep.equal(["DRAINING"]);
    expect(codes({ chain: { state: "catching-up", lagBlocks: 65, behindSince: null } })).to.deep.equal([
      "CHAIN_BEHIND",
    ]);
  });

  it("waits a little before it calls a silent RPC a hindrance", () => {
    const silentFor = (ms: number, state: "behind" | "unavailable") =>
      codes({ chain: { state, lagBlocks: null, behindSince: AT_MS - ms } });
    expect(silentFor(15_000, "unavailable")).to.deep.equal([]);
    expect(silentFor(15_001, "unavailable")).to.deep.equal(["CHAIN_UNAVAILABLE"]);
    expect(silentFor(15_001, "behind")).to.deep.equal(["CHAIN_BEHIND"]);
  });

  it("says of a starting node that it starts, not that it has no engine yet", () => {
    expect(codes({ started: false, engineTrouble: "ENGINE_NO_RUNTIME", chain: undefined })).to.deep.equal(["STARTING"]);
  });

  it("lists everything at once", () => {
    const facts = { engineTrouble: "ENGINE_NO_RUNTIME", freeBytes: 0, draining: { reason: "moving house" } };
    expect(codes(facts)).to.deep.equal(["ENGINE_DOWN", "DISK_LOW", "DRAINING"]);
    expect(hindrancesOf({ ...fine, ...facts }).at(-1)?.detail).to.match(/moving house$/);
    expect(hindrancesOf({ ...fine, ...facts })[0]?.detail).to.include("ENGINE_NO_RUNTIME");
  });
});
