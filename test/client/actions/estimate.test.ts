import {
  type Address,
  depositUp,
  type MarketError,
  misfits,
  type Offer,
  type Request,
  textToBytes32,
  traitsToMask,
  ZERO_BYTES32,
} from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { buildRequest } from "../../../client/src/actions/build-request.ts";
import { buildSpec } from "../../../client/src/actions/build-spec.ts";
import { blindTerms, estimate, type Wishes } from "../../../client/src/actions/estimate.ts";
import { anOffer } from "../../support/orders.ts";

const image = {
  digest: `sha256:${"ab".repeat(32)}`,
  cid: "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
};
const token = { address: `0x${"a".repeat(40)}` as Address, symbol: "tUSD", decimals: 6 };
const wishes: Wishes = { requester: `0x${"1".repeat(40)}`, token, architecture: "amd64" };
const spec = buildSpec({ image });
const NOW = 1_900_000_000;

const traits = traitsToMask(["arch-amd64", "isolation-container"]);
const listed = (
  replaced: Partial<Offer> = {},
  free?: { cpuMilli: number; memoryMiB: number; diskMiB: number; gpus: number },
) => ({
  offerHash: ZERO_BYTES32,
  offer: anOffer({ traits, ...replaced }),
  free,
  contentUrl: undefined,
});
const operator = (digit: string) => `0x${digit.repeat(40)}` as Address;
const refusal = (run: () => unknown): MarketError => {
  try {
    run();
  } catch (error) {
    return error as MarketError;
  }
  throw new Error("an offer fits");
};

describe("estimate", () => {
  it("takes the cheapest offer, and leaves room for the next in the price limit", () => {
    const dear = listed({ cpuRateX18: 9n * 10n ** 18n, operator: operator("3") });
    const cheap = listed({ cpuRateX18: 10n ** 18n, operator: operator("4") });
    const found = estimate(spec, wishes, [dear, cheap], NOW);
    expect(found.offers).to.deep.equal([cheap]);
    expect(found.terms.maxPrice).to.equal((found.price * 150n + 99n) / 100n);
  });

  it("makes requests that the chosen offers really fit, whatever their terms", () => {
    const anyListed = fc
      .record({
        minSubmitMargin: fc.nat(3600),
        maxBond: fc.bigInt(0n, 10n ** 9n),
        maxCompensationBps: fc.nat(1000),
        cpuRateX18: fc.bigInt(0n, 10n ** 20n),
        operator: fc.constantFrom(..."234".split("").map(operator)),
      })
      .map((offer) => listed(offer));
    fc.assert(
      fc.property(fc.array(anyListed, { minLength: 1 }), fc.integer({ min: 1, max: 3 }), (offers, replicas) => {
        const operators = new Set(offers.map(({ offer }) => offer.operator)).size;
        fc.pre(replicas <= operators);
        const found = estimate(spec, { ...wishes, replicas }, offers, NOW);
        const request: Request = { ...found.terms, specHash: ZERO_BYTES32, openUntil: NOW, nonce: ZERO_BYTES32 };
        for (const { offer } of found.offers) expect(misfits(request, offer, NOW)).to.deep.equal([]);
        expect(found.price).to.equal(found.offers.reduce((sum, { offer }) => sum + depositUp(request, offer), 0n));
        expect(new Set(found.offers.map(({ offer }) => offer.operator)).size).to.equal(replicas);
      }),
    );
  });

  it("groups the reasons, with the best that there is", () => {
    const large = buildSpec({ image, memoryMiB: 200_000 });
    const offers = [listed(), listed({ memoryMiB: 2048, operator: operator("3") })];
    const { code, message } = refusal(() => estimate(large, wishes, offers, NOW));
    expect(code).to.equal("NO_OFFER_FITS");
    expect(message).to.equal(
      "No offer fits this job: 2 offers, 0 fit: 2 have less memory than 200000 MiB (largest 4096).",
    );
  });

  it("asks for GPUs of a model, and says which there are", () => {
    const gpus = buildSpec({ image, gpus: 2 });
    const with2 = (model: string, digit: string) =>
      listed({ gpus: 2, gpuModel: textToBytes32(model), operator: operator(digit) });
    const offers = [listed(), with2("l40s", "3"), with2("h100", "4"), with2("", "5")];
    const found = estimate(gpus, { ...wishes, gpuModel: "h100" }, offers, NOW);
    expect(found.offers).to.deep.equal([offers[2]]);
    expect(found.terms).to.include({ gpus: 2, gpuModel: textToBytes32("h100") });
    expect(estimate(gpus, wishes, offers, NOW).terms.gpuModel).to.equal(ZERO_BYTES32);
    expect(refusal(() => estimate(gpus, { ...wishes, gpuModel: "a100" }, offers, NOW)).message).to.include(
      "3 have another GPU model than a100 (found h100, l40s, none); 1 have fewer than 2 GPUs (largest 0)",
    );
    const one = buildSpec({ image, gpus: 1 });
    expect(refusal(() => estimate(one, wishes, [listed()], NOW)).message).to.include("1 have no GPU (largest 0)");
    expect(refusal(() => estimate(spec, { ...wishes, region: "mars" }, [listed()], NOW)).message).to.include(
      "1 have another region than mars (found none)",
    );
  });

  it("asks for gVisor of those that proved it", () => {
    const gvisor = buildSpec({ image, isolation: "gvisor" });
    const proved = listed({ traits: traitsToMask(["arch-amd64", "isolation-container", "isolation-gvisor"]) });
    expect(estimate(gvisor, wishes, [listed(), proved], NOW).offers).to.deep.equal([proved]);
    expect(refusal(() => estimate(gvisor, wishes, [listed()], NOW)).message).to.include(
      "1 lack a trait: isolation-gvisor",
    );
  });

  it("asks nobody for what no node can do", () => {
    const both = buildSpec({ image, isolation: "gvisor", gpus: 1 });
    for (const [code, run] of [
      ["GPUS_IN_GVISOR", () => estimate(both, wishes, [], NOW)],
      ["GPUS_IN_GVISOR", () => blindTerms(both, { ...wishes, maxPrice: 1n })],
      ["GPUS_MISSING", () => estimate(spec, { ...wishes, gpuModel: "h100" }, [], NOW)],
    ] as const) {
      const error = refusal(run);
      expect(error.code).to.equal(code);
      expect(error.hint).to.match(/--isolation container|--gpus/);
    }
  });

  it("counts each offer once, under its first reason", () => {
    const offers = [listed({ cpuMilli: 500, memoryMiB: 1 }), listed({ memoryMiB: 100 }), listed({ traits: 0n })];
    expect(refusal(() => estimate(spec, wishes, offers, NOW)).message).to.equal(
      "No offer fits this job: 3 offers, 0 fit: 1 have less CPU than 1 cores (largest 0.5); 1 have less memory than 512 MiB (largest 100); 1 lack a trait: arch-amd64, isolation-container.",
    );
  });

  it("says so when there are no offers, when they are busy, and when they cost too much", () => {
    expect(refusal(() => estimate(spec, wishes, [], NOW)).message).to.include("there are no offers at all");
    const busy = listed({}, { cpuMilli: 0, memoryMiB: 9999, diskMiB: 9999, gpus: 0 });
    expect(refusal(() => estimate(spec, wishes, [busy], NOW)).message).to.include("free cpuMilli");
    expect(refusal(() => estimate(spec, { ...wishes, maxPrice: 1n }, [listed()], NOW)).message).to.match(
      /the cheapest costs [0-9.]+ tUSD, but at most 0.000001 tUSD may be paid/,
    );
  });

  it("says that replicas need operators of their own", () => {
    const same = [listed(), listed({ index: 1 })];
    expect(refusal(() => estimate(spec, { ...wishes, replicas: 2 }, same, NOW)).message).to.include(
      "2 offers, 2 fit, but of 1 operator only, and 2 replicas need as many",
    );
  });

  it("does not let an offer's long margin keep a requester waiting", () => {
    const slow = listed({ minSubmitMargin: 1_000_000 });
    expect(refusal(() => estimate(spec, wishes, [slow], NOW)).message).to.include("want more time");
  });

  it("needs a price where there is no offer to take one from", () => {
    expect(refusal(() => blindTerms(spec, wishes)).code).to.equal("PRICE_MISSING");
    expect(blindTerms(spec, { ...wishes, maxPrice: 7n }).maxPrice).to.equal(7n);
  });
});

describe("buildRequest", () => {
  const { terms } = estimate(spec, wishes, [listed()], NOW);
  const domain = { chainId: 1, market: operator("9") };

  it("makes a new job every time, and the same one for the same nonce", () => {
    const make = () => buildRequest({ domain, spec, terms, now: NOW });
    expect(make().jobId).to.not.equal(make().jobId);
    const again = () => buildRequest({ domain, spec, terms, now: NOW, nonce: ZERO_BYTES32 });
    expect(again()).to.deep.equal(again());
    expect(again().request.openUntil).to.equal(NOW + 600);
  });
});

describe("buildSpec", () => {
  it("fills in what nobody said", () => {
    expect(buildSpec({ image, command: ["a"] })).to.deep.include({
      command: ["a"],
      resources: { cpuMilli: 1000, memoryMiB: 512, diskMiB: 512, gpus: 0 },
      timeouts: { startSeconds: 300, runSeconds: 600 },
    });
  });

  it("names what is wrong", () => {
    const bad = () => buildSpec({ image, outputsPath: "/proc/x", env: { "no dash-es": "1" } });
    expect(bad).to.throw("outputs.path");
    expect(bad).to.throw("env");
  });
});
