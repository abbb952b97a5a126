import { ZERO_ADDRESS, ZERO_BYTES32 } from "@berth/protocol";
import { expect } from "chai";
import { configSchema } from "../../../provider-node/src/config.ts";
import { acceptedBy, limitsFor, makeOffer } from "../../../provider-node/src/core/offer.ts";
import { traitsOf } from "../../../provider-node/src/jobs/offering.ts";
import { profilesOf } from "../../../provider-node/src/policy/profiles.ts";
import { anOffer } from "../../support/orders.ts";

const { operator, token } = anOffer();
const account = (digit: string) => `0x${digit.repeat(40)}` as const;
const capacity = { cpuMilli: 1001, memoryMiB: 100, diskMiB: 100, gpus: 3 };
const prices = { cpuRateX18: 1n, memoryRateX18: 2n, diskRateX18: 3n, gpuRateX18: 4n, baseCharge: 5n };
const offersWith = (offers: object) => configSchema.parse({ offers }).offers;

describe("the offer", () => {
  it("claims only what was proved, and not what is withheld", () => {
    const terms = offersWith({ withhold: ["arch-amd64"], region: "eu" });
    const traits = traitsOf({ containers: true, mesh: true, gvisor: true, gpus: [], attestation: "tpm2" }, "x64");
    expect(traits).to.deep.equal(["arch-amd64", "isolation-container", "isolation-gvisor", "attest-tpm2"]);
    const nothing = { containers: false, mesh: true, gvisor: true, gpus: [], attestation: "none" as const };
    expect(traitsOf(nothing, "x64")).to.deep.equal(["arch-amd64"]);
    const facts = { operator, index: 2, token, epoch: 3, requester: ZERO_ADDRESS, expiresAt: 160, capacity, prices };
    const offer = makeOffer({ ...facts, traits }, terms);
    expect(offer).to.deep.include({
      traits: (1n << 8n) | (1n << 9n) | (1n << 17n),
      epoch: 3,
      expiresAt: 160,
      cpuMilli: 1001,
    });
    expect(offer).to.deep.include({ ...prices, requester: ZERO_ADDRESS, verifier: ZERO_ADDRESS, arbiterFee: 0n });
    expect(offer.region).to.equal(`0x6575${"0".repeat(60)}`);
    expect(offer.minHeartbeatSeconds, "no leases").to.equal(0);
  });

  it("says what its profile says: a share of the capacity, its judges, its requester", () => {
    const data = `0x${"7".repeat(64)}` as const;
    const judges = { verifier: { address: account("b"), data }, arbiter: { address: account("c"), fee: 9 } };
    const [profile] = profilesOf(offersWith({ profiles: { half: { sharePercent: 50, maxBond: 8, ...judges } } }));
    if (profile === undefined) throw new Error("no profile");
    const facts = { operator, index: 2, token, epoch: 3, requester: account("1"), expiresAt: 160, capacity, prices };
    const offer = makeOffer({ ...facts, traits: [] }, profile);
    expect(offer).to.deep.include({ cpuMilli: 500, memoryMiB: 50, diskMiB: 50, maxBond: 8n, requester: account("1") });
    expect(offer).to.deep.include({ verifier: account("b"), verifierData: data });
    expect(offer).to.deep.include({ arbiter: account("c"), arbiterData: ZERO_BYTES32, arbiterFee: 9n });
  });

  it("names GPUs and their model only where there are some", () => {
    const facts = { operator, index: 2, token, epoch: 3, requester: ZERO_ADDRESS, expiresAt: 160, traits: [], prices };
    const named = (model: string, gpus: number) =>
      makeOffer({ ...facts, capacity: { ...capacity, gpus }, gpuModel: "l40s" }, offersWith({ gpuModel: model }));
    const text = (hex: string) => `0x${hex.padEnd(64, "0")}`;
    expect(named("", 2)).to.deep.include({ gpus: 2, gpuModel: text("6c343073") });
    expect(named("a", 2).gpuModel).to.equal(text("61"));
    expect(named("", 0)).to.deep.include({ gpus: 0, gpuModel: text("") });
  });

  it("needs limits as large as the largest profile, and what all of them name accepted", () => {
    const base = { token, maxBond: 7, maxActive: 3 };
    expect(limitsFor(capacity, offersWith(base))).to.deep.equal({ maxBond: 7n, maxActive: 3, ...capacity });
    expect(acceptedBy(offersWith(base))).to.deep.equal([token]);
    expect(acceptedBy(offersWith({}))).to.deep.equal([]);
    const profiles = { a: { maxBond: 70 }, b: { verifier: { address: account("b") } }, c: { token: account("d") } };
    expect(limitsFor(capacity, offersWith({ ...base, profiles })).maxBond).to.equal(70n);
    expect(acceptedBy(offersWith({ ...base, profiles }))).to.deep.equal([token, account("b"), account("d")]);
  });
});
