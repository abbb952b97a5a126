import {
  MODE,
  misfits,
  type NodeStanding,
  type Offer,
  type Request,
  standingMisfits,
  ZERO_ADDRESS,
} from "@berth/protocol";
import { expect } from "chai";
import { anOffer, aRequest } from "../support/orders.ts";

const NOW = 1_900_000_000;
const fields = (request: Partial<Request>, offer: Partial<Offer> = {}) =>
  misfits(aRequest(request), anOffer(offer), NOW).map((misfit) => misfit.field);

describe("misfits", () => {
  it("finds nothing wrong with orders that fit", () => expect(fields({})).to.deep.equal([]));

  it("names every field that does not fit, with both values", () => {
    const found = misfits(aRequest({ memoryMiB: 200_000, gpus: 2 }), anOffer(), NOW);
    expect(found).to.deep.equal([
      { field: "memoryMiB", wanted: "200000", has: "4096" },
      { field: "gpus", wanted: "2", has: "0" },
    ]);
  });

  const cases: [string, Partial<Request>, Partial<Offer>][] = [
    ["expiresAt", {}, { expiresAt: NOW - 1 }],
    ["token", { token: `0x${"b".repeat(40)}` }, {}],
    ["requester", {}, { requester: `0x${"c".repeat(40)}` }],
    ["cpuMilli", { cpuMilli: 4001 }, {}],
    ["diskMiB", { diskMiB: 1025 }, {}],
    ["traits", { traits: 0b1000n }, {}],
    ["gpuModel", { gpuModel: `0x${"1".repeat(64)}` }, {}],
    ["region", { region: `0x${"1".repeat(64)}` }, {}],
    ["maxSeconds", { maxSeconds: 3601, submitWindow: 9999 }, {}],
    ["submitWindow", { submitWindow: 119 }, {}],
    ["challengeWindow", { challengeWindow: 86_401 }, {}],
    ["challengeWindow", { challengeWindow: 86_400, arbiterWindow: 1 }, {}],
    ["heartbeatSeconds", { mode: MODE.lease, heartbeatSeconds: 59 }, {}],
    ["heartbeatSeconds", { mode: MODE.lease, heartbeatSeconds: 60 }, { minHeartbeatSeconds: 0 }],
    ["bond", { bond: 1_000_001n }, {}],
    ["compensationBps", { compensationBps: 1001 }, {}],
    ["verifier", { verifier: `0x${"d".repeat(40)}` }, {}],
    ["verifierData", {}, { verifierData: `0x${"1".repeat(64)}` }],
    ["arbiter", { arbiter: `0x${"d".repeat(40)}` }, {}],
    ["arbiterData", {}, { arbiterData: `0x${"1".repeat(64)}` }],
    ["arbiterFee", { arbiterFee: 1n }, {}],
  ];
  for (const [i, [field, request, offer]] of cases.entries()) {
    it(`refuses a wrong ${field} (case ${i})`, () => expect(fields(request, offer)).to.deep.equal([field]));
  }

  it("asks a lease for its heartbeat and a batch job for its submit window, never for the other", () => {
    expect(fields({ mode: MODE.lease, heartbeatSeconds: 60, submitWindow: 0 })).to.deep.equal([]);
    expect(fields({ heartbeatSeconds: 0 }, { minHeartbeatSeconds: 0 })).to.deep.equal([]);
  });

  it("takes equality as a fit", () =>
    expect(
      fields({ cpuMilli: 4000, memoryMiB: 4096, submitWindow: 120, bond: 1_000_000n }, { expiresAt: NOW }),
    ).to.deep.equal([]));
});

describe("standingMisfits", () => {
  const standing: NodeStanding = {
    use: { epoch: 0, active: 1, cpuMilli: 3000, memoryMiB: 0, diskMiB: 0, gpus: 0 },
    limits: {
      maxBond: 1_000n,
      maxActive: 2,
      cpuMilli: 4000,
      memoryMiB: 4096,
      diskMiB: 1024,
      gpus: 0,
    },
    keyValidTo: NOW + 900,
    freeStake: 1_000n,
    lockedStake: 500n,
    accepts: [aRequest().token],
    deactivated: false,
  };
  const found = (change: Partial<NodeStanding>, request: Partial<Request> = {}) =>
    standingMisfits(aRequest(request), anOffer(), { ...standing, ...change }, NOW).map((misfit) => misfit.field);

  it("lets a node run up to its capacity and limits", () => expect(found({})).to.deep.equal([]));
  it("refuses a deactivated operator", () => expect(found({ deactivated: true })).to.deep.equal(["operator"]));
  it("refuses another epoch", () => expect(found({ use: { ...standing.use, epoch: 1 } })).to.deep.equal(["epoch"]));
  it("refuses a key that ends before the last deadline", () =>
    expect(found({ keyValidTo: NOW + 899 })).to.deep.equal(["keyValidTo"]));
  it("refuses more than what is free", () => expect(found({}, { cpuMilli: 1001 })).to.deep.equal(["free cpuMilli"]));
  it("refuses a bond beyond limits and free stake", () =>
    expect(found({}, { bond: 1_001n })).to.deep.equal(["limits.maxBond", "freeStake"]));
  it("refuses one replica too many", () =>
    expect(found({ limits: { ...standing.limits, maxActive: 1 } })).to.deep.equal(["limits.maxActive"]));
  it("refuses a token, verifier or arbiter that the operator does not accept", () => {
    const judge = `0x${"d".repeat(40)}` as const;
    const judged = { verifier: judge, arbiter: judge };
    const all = ["accepts token", "accepts verifier", "accepts arbiter"];
    expect(found({ accepts: [] }, judged)).to.deep.equal(all);
    expect(found({ accepts: [aRequest().token] }, judged)).to.deep.equal(all.slice(1));
    const shouted = judge.toUpperCase().replace("0X", "0x");
    expect(found({ accepts: [aRequest().token, shouted] }, judged)).to.deep.equal([]);
  });
  it("takes no verifier and no arbiter as accepted, but not no token", () => {
    expect(found({}, { verifier: ZERO_ADDRESS, arbiter: ZERO_ADDRESS })).to.deep.equal([]);
    expect(found({}, { token: ZERO_ADDRESS })).to.deep.equal(["accepts token"]);
  });
  it("counts free and locked stake against the least that a request asks for", () => {
    expect(found({}, { minStake: 1_500n })).to.deep.equal([]);
    expect(found({}, { minStake: 1_501n })).to.deep.equal(["minStake"]);
  });
  it("wants the key of a lease to last for its deposit and two heartbeats", () => {
    const lease = { mode: MODE.lease, maxSeconds: 700, heartbeatSeconds: 100 };
    expect(found({}, lease)).to.deep.equal([]);
    expect(found({}, { ...lease, heartbeatSeconds: 101 })).to.deep.equal(["keyValidTo"]);
    expect(found({}, { ...lease, submitWindow: 90_000, challengeWindow: 90_000 })).to.deep.equal([]);
  });
});
