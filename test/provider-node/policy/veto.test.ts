import { type JobId, termsOf } from "@berth/protocol";
import { expect } from "chai";
import pino from "pino";
import { createFreeDecline } from "../../../provider-node/src/policy/free-decline.ts";
import { createVeto, type VetoOptions } from "../../../provider-node/src/policy/veto.ts";
import { setDraining } from "../../../provider-node/src/store/drain.ts";
import type { AttemptRow, JobRow } from "../../../provider-node/src/store/journal.ts";
import { openDatabase } from "../../../provider-node/src/store/open.ts";
import { anOffer, aRequest } from "../../support/orders.ts";
import { aSpec } from "../../support/specs.ts";

const domain = { chainId: 31337, market: `0x${"d".repeat(40)}` } as const;
const context = { signal: new AbortController().signal, log: pino({ level: "silent" }) };
const HOUR = 3600;

function aMatch(replica = 0, change: Parameters<typeof aRequest>[0] = {}): [JobRow, AttemptRow] {
  const terms = termsOf(domain, aRequest(change), anOffer(), replica);
  const id = { jobId: terms.job.jobId as JobId, replica };
  const attempt = { ...id, attempt: 0, state: "matched" as const, since: 0, outcome: null, message: "", facts: {} };
  return [{ ...id, terms, matchedAt: 1000, droppedAt: null, chain: "active" }, attempt];
}

/** @param declinedAt what the market knows of the last free decline */
function vetoWith(change: Partial<VetoOptions>, declinedAt: number | Error = 0, open: Partial<AttemptRow>[] = []) {
  const readContract = async () => {
    if (declinedAt instanceof Error) throw declinedAt;
    return { declinedAt };
  };
  const options = {
    ...{ deny: [], declineAtCost: false, hook: undefined, deployment: domain },
    self: { operator: anOffer().operator, index: 0, runId: "t" },
    rpc: { client: { readContract } },
    database: openDatabase(":memory:"),
    journal: { open: () => open },
    fetchSpec: () => Promise.reject(new Error("nowhere")),
    now: () => 100_000,
    ...change,
  } as unknown as VetoOptions;
  const veto = createVeto(options);
  return { veto: (match: [JobRow, AttemptRow]) => veto(...match, context), options };
}

describe("createVeto", () => {
  const deny = [aRequest().requester];

  it("wants every match where nothing speaks against it", async () => {
    expect(await vetoWith({}).veto(aMatch())).to.equal(null);
  });

  it("gives back a job in gVisor where that was offered and works no more, and waits where it is not known yet", async () => {
    const asks = (isolation: "gvisor" | "container", lacks: boolean | undefined) => {
      const lacksGvisor = (at: number) => at === 1000 && lacks;
      return vetoWith({ lacksGvisor, fetchSpec: async () => aSpec({ isolation }) } as never).veto(aMatch());
    };
    const veto = await asks("gvisor", true);
    expect(veto?.reason.code).to.equal("cannot-serve");
    expect(veto?.mayDecline).to.equal(true);
    expect(await asks("container", true)).to.equal(null);
    expect(await asks("gvisor", false)).to.equal(null);
    const unknown = await asks("gvisor", undefined).catch((thrown: unknown) => thrown);
    expect(unknown).to.include({ code: "ENGINE_UNAVAILABLE", retryable: true });
    expect(await asks("container", undefined)).to.equal(null);
  });

  it("does not want what fits no machine behind it, but keeps what a silent one may fit", async () => {
    const asked: unknown[] = [];
    const unfit = async (wanted: unknown) => {
      asked.push(wanted);
      return "No single node is large enough.";
    };
    const { cpuMilli, memoryMiB, gpus, maxSeconds } = aRequest();
    expect((await vetoWith({ unfit }).veto(aMatch()))?.reason).to.deep.include({
      code: "too-large",
      text: "No single node is large enough.",
    });
    expect(asked).to.deep.equal([{ cpuMilli, memoryMiB, gpus, maxSeconds }]);
    const silent = async () => Promise.reject(new Error("the cluster does not answer"));
    expect(await vetoWith({ unfit: silent }).veto(aMatch())).to.equal(null);
    expect(await vetoWith({ unfit: async () => undefined }).veto(aMatch())).to.equal(null);
  });

  it("does not want those of denied requesters, nor any while the node drains", async () => {
    const denied = await vetoWith({ deny }).veto(aMatch());
    expect(denied).to.deep.include({ mayDecline: true });
    expect(denied?.reason.code).to.equal("denied");
    const { veto, options } = vetoWith({});
    setDraining(options.database, { reason: "new disk", since: 1 });
    expect((await veto(aMatch()))?.reason).to.deep.include({
      code: "draining",
      text: "The node is draining: new disk.",
    });
  });

  it("does not want what the hook refuses, whom it tells the price and no spec where there is none", async () => {
    const script = 'grep -q \'"amount":"69".*"spec":null\' && exit 1; exit 0';
    const hook = { exec: ["/bin/sh", "-c", script] as [string, ...string[]], deadlineMs: 10_000 };
    expect((await vetoWith({ hook }).veto(aMatch()))?.reason.code).to.equal("hook-refused");
    expect(await vetoWith({ hook }).veto(aMatch(0, { maxSeconds: 30 }))).to.equal(null);
  });

  it("does not want an image that nobody it trusts has signed, once the spec is known", async () => {
    const { image } = aSpec();
    const asked: unknown[] = [];
    const isUnsigned = async (found: unknown) => asked.push(found) > 0;
    expect(await vetoWith({ isUnsigned }).veto(aMatch())).to.equal(null);
    expect(asked).to.deep.equal([]);
    const fetchSpec = async () => aSpec();
    const unsigned = await vetoWith({ isUnsigned, fetchSpec }).veto(aMatch());
    expect(unsigned?.reason).to.deep.include({ code: "image-unsigned", values: { image: image.digest } });
    expect(asked).to.deep.equal([image]);
    expect(await vetoWith({ isUnsigned: async () => false, fetchSpec }).veto(aMatch())).to.equal(null);
    const silent = () => Promise.reject(new Error("no answer"));
    expect(await vetoWith({ isUnsigned: silent, fetchSpec }).veto(aMatch())).to.equal(null);
  });

  it("gives one back for free an hour, and others only at the operator's wish or where no bond could pay", async () => {
    const node = vetoWith({ deny });
    expect((await node.veto(aMatch(0)))?.mayDecline).to.equal(true);
    expect((await node.veto(aMatch(0)))?.mayDecline, "the same again").to.equal(true);
    expect((await node.veto(aMatch(1)))?.mayDecline).to.equal(false);
    expect((await node.veto(aMatch(2, { bond: 0n })))?.mayDecline).to.equal(true);
    expect((await vetoWith({ deny, declineAtCost: true }, 99_999).veto(aMatch()))?.mayDecline).to.equal(true);
    const known = async (at: number) => (await vetoWith({ deny }, at).veto(aMatch()))?.mayDecline;
    expect(await known(100_000 - HOUR)).to.equal(true);
    expect(await known(100_000 - HOUR + 1)).to.equal(false);
    const [, other] = aMatch(1);
    const open = [{ ...other, state: "declined" as const }];
    expect((await vetoWith({ deny }, 0, open).veto(aMatch(0)))?.mayDecline, "one is on its way").to.equal(false);
    expect((await vetoWith({ deny }, 0, open).veto(aMatch(1)))?.mayDecline, "it is this one").to.equal(true);
  });

  it("does not guess what a decline costs: it fails while the chain does not say, and asks the hook no second time", async () => {
    const counter: string[] = [];
    const hook = { exec: ["/bin/false"] as [string, ...string[]], deadlineMs: 10_000 };
    const fetchSpec = async () => {
      counter.push("asked");
      throw new Error("nowhere");
    };
    const { veto } = vetoWith({ hook, fetchSpec }, new Error("no RPC"));
    for (const _ of [1, 2]) {
      const failed = await veto(aMatch()).then(
        () => "",
        (error: Error) => error.message,
      );
      expect(failed).to.equal("no RPC");
    }
    expect(counter).to.deep.equal(["asked"]);
  });
});

describe("createFreeDecline", () => {
  it("goes to the first that asks, for an hour", () => {
    const free = createFreeDecline();
    expect(free.claim("a", 0, 1000)).to.equal(true);
    expect(free.claim("b", 0, 1000 + HOUR - 1)).to.equal(false);
    expect(free.claim("a", 0, 1000 + HOUR - 1)).to.equal(true);
    expect(free.claim("b", 0, 1000 + HOUR)).to.equal(true);
    expect(free.claim("c", 2 * HOUR, 1000 + 2 * HOUR)).to.equal(false);
  });
});
