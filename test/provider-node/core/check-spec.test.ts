import { canonicalBytes, documentHash, type Job, type Request, type Spec, termsOf } from "@berth/protocol";
import { expect } from "chai";
import { disagreements, readSpec } from "../../../provider-node/src/core/check-spec.ts";
import { deadlinesOf } from "../../../provider-node/src/core/deadlines.ts";
import { anOffer, aRequest } from "../../support/orders.ts";
import { aSpec } from "../../support/specs.ts";

const anySpec = (change: Partial<Spec> = {}): Spec =>
  aSpec({ resources: { cpuMilli: 1000, memoryMiB: 64, diskMiB: 128, gpus: 0 }, ...change });
const anyRequest = (change: Partial<Request> = {}): Request =>
  aRequest({ memoryMiB: 64, maxSeconds: 60, submitWindow: 600, ...change });
const domain = { chainId: 31337, market: `0x${"d".repeat(40)}` } as const;
const termsWith = (change: Partial<Request> = {}) => termsOf(domain, anyRequest(change), anOffer(), 0);
const jobWith = (change: Partial<Request> = {}): Job => termsWith(change).job;

describe("readSpec", () => {
  it("takes the spec whose hash the job names", () => {
    const spec = anySpec();
    expect(readSpec(canonicalBytes(spec), jobWith({ specHash: documentHash(spec) }))).to.deep.equal(spec);
  });

  it("refuses bytes that are no JSON, no spec, or another spec", () => {
    const wrong = (bytes: Uint8Array) => () => readSpec(bytes, jobWith());
    expect(wrong(new TextEncoder().encode("{")))
      .to.throw("not JSON")
      .with.property("code", "SPEC_INVALID");
    expect(wrong(canonicalBytes({ ...anySpec(), colour: 1 })))
      .to.throw("colour")
      .with.property("code", "SPEC_INVALID");
    expect(wrong(canonicalBytes(anySpec())))
      .to.throw("does not have the hash")
      .with.property("code", "SPEC_INVALID");
  });

  it("names what spec and job disagree on, and what is not served", () => {
    const job = jobWith();
    expect(disagreements(anySpec(), job)).to.deep.equal([]);
    const spec = anySpec({
      resources: { cpuMilli: 1000, memoryMiB: 128, diskMiB: 128, gpus: 0 },
      timeouts: { startSeconds: 1, runSeconds: 61 },
      network: { mode: "mesh" },
      verification: "quorum",
    });
    expect(disagreements(spec, job)).to.deep.equal([
      "The spec asks for 128 memoryMiB, but the request for 64.",
      "The spec's runSeconds are 61, but the request's maxSeconds 60.",
      'The network mode "mesh" is not served; use "none".',
      "The spec asks for a quorum, but the request names no verifier.",
    ]);
  });
});

describe("disagreements", () => {
  it("has nothing against GPUs that are paid for, but in gVisor", () => {
    const resources = { cpuMilli: 1000, memoryMiB: 64, diskMiB: 128, gpus: 2 };
    const job = jobWith({ gpus: 2 });
    expect(disagreements(anySpec({ resources }), job)).to.deep.equal([]);
    expect(disagreements(anySpec({ resources, isolation: "gvisor" }), job)).to.deep.equal([
      "Jobs in gVisor get no GPUs.",
    ]);
    expect(disagreements(anySpec({ isolation: "vm" }), jobWith())).to.have.length(1);
  });
});

describe("deadlinesOf", () => {
  it("leaves time to report that a job could not run", () => {
    const match = { terms: termsWith({ submitWindow: 600 }), matchedAt: 1000 };
    expect(deadlinesOf(match, undefined)).to.deep.equal({
      acceptBy: 1030,
      startBy: 1300,
      reportBy: 1570,
      submitBy: 1600,
      settleBy: 2200,
    });
    const patient = anySpec({ timeouts: { startSeconds: 86_400, runSeconds: 60 } });
    expect(deadlinesOf(match, patient).startBy).to.equal(1570);
    expect(deadlinesOf(match, anySpec()).startBy).to.equal(1120);
  });

  it("lets a result of the last second be judged and disputed", () => {
    const terms = termsWith({ submitWindow: 600, challengeWindow: 50, arbiterWindow: 7 });
    expect(deadlinesOf({ terms, matchedAt: 1000 }, undefined).settleBy).to.equal(1657);
  });
});
