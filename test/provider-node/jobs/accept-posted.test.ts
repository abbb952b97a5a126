import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Hex, type JobId, jobIdOf, jobMarketAbi, MODE, type Request, ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import pino from "pino";
import { decodeFunctionData } from "viem";
import { type Accepting, type AcceptOptions, createAccepting } from "../../../provider-node/src/jobs/accept-posted.ts";
import type { Quote } from "../../../provider-node/src/policy/posted.ts";
import type { PostedPage, PostedRequest } from "../../../provider-node/src/store/chain-store.ts";
import { createDecisions, type Decisions } from "../../../provider-node/src/store/decisions.ts";
import { openDatabase } from "../../../provider-node/src/store/open.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

const domain = { chainId: 31337, market: `0x${"d".repeat(40)}` } as const;
const key = `0x${"e".repeat(40)}` as const;
const nonce = (n: number): Hex => `0x${n.toString(16).padStart(64, "0")}`;

const ids = new WeakMap<Request, JobId>();
/** Worked out once: there may be many. */
function idOf(request: Request): JobId {
  const jobId = ids.get(request) ?? jobIdOf(domain, request);
  ids.set(request, jobId);
  return jobId;
}

describe("createAccepting", () => {
  let calls: { key: string; to: string; data: Hex }[];
  let decisions: Decisions;
  let entries: Record<string, object>;
  let posted: Request[];
  beforeEach(() => {
    [calls, entries, posted] = [[], {}, []];
    decisions = createDecisions(openDatabase(":memory:"));
  });

  /** A node that serves `anOffer()`, without leases, and owes the results of as many jobs as `active`. */
  const node = (change: Partial<AcceptOptions> = {}, active: Partial<Request>[] = []): Accepting => {
    const jobs = active.map((replaced) => ({ chain: "active", terms: { job: aRequest(replaced) } }));
    const known = [...jobs, { chain: "submitted", terms: { job: aRequest() } }];
    const options = {
      ...{ deny: [], hook: undefined, deployment: domain, decisions },
      self: { account: { address: key } },
      chain: {
        postedRequests: ({ before: [block] = [Number.MAX_SAFE_INTEGER, 0], limit = 0 }: PostedPage) =>
          posted
            .map((request, i): PostedRequest => ({ jobId: idOf(request), request, at: [i, 0] }))
            .filter(({ at }) => at[0] < block)
            .reverse()
            .slice(0, limit),
        isPosted: (jobId: Hex) => posted.some((request) => idOf(request) === jobId),
      },
      journal: { jobsIn: (...states: string[]) => known.filter(({ chain }) => states.includes(chain)) },
      outbox: {
        get: async (wanted: string) => entries[wanted] ?? calls.find((call) => call.key === wanted),
        enqueue: async (call: { key: string; to: string; data: Hex }) => void calls.push(call),
      },
      limits: { maxBond: 1_000_000n, maxActive: 2, cpuMilli: 4000, memoryMiB: 4096, diskMiB: 1024, gpus: 0 },
      quotes: () => [{ profile: "default", offer: anOffer({ minHeartbeatSeconds: 0 }) }],
      whyNone: () => undefined,
      now: () => 1000,
      ...change,
    } as unknown as AcceptOptions;
    return createAccepting(options, { signal: new AbortController().signal, log: pino({ level: "silent" }) });
  };
  const look = async (requests: Request[], change: Partial<AcceptOptions> = {}, active: Partial<Request>[] = []) => {
    posted = requests;
    await node(change, active).look();
  };
  const reasons = () => decisions.recent(10).map(({ code }) => code);

  it("takes a request that fits, once, with its own offer and no proof", async () => {
    const request = aRequest();
    await look([request]);
    await look([request]);
    expect(calls.map(({ to }) => to)).to.deep.equal([domain.market]);
    const { functionName, args } = decodeFunctionData({ abi: jobMarketAbi, data: calls[0]?.data ?? "0x" });
    expect(functionName).to.equal("accept");
    const [taken, offer, proof] = args as readonly [Request, object, unknown];
    expect(jobIdOf(domain, taken)).to.equal(jobIdOf(domain, request));
    expect(offer).to.deep.include({ minHeartbeatSeconds: 0, baseCharge: anOffer().baseCharge });
    expect(proof).to.deep.equal([]);
    expect(reasons()).to.deep.equal([]);
  });

  for (const [why, change, code, text] of [
    ["has more than one replica", { replicas: 2 }, "replicas", /2 replicas/],
    ["is over", { openUntil: 999 }, "closed", /1970-01-01T00:16:39/],
    ["names another matcher", { matcher: `0x${"9".repeat(40)}` }, "other-matcher", /0x9{40}/],
    ["pays too little", { maxPrice: 6n }, "price", /pays 6 token units at most; this node asks for 69 /],
    ["limits its operators by an unknown tree", { operators: nonce(4) }, "operators", /tree/],
    ["is a lease", { mode: MODE.lease, heartbeatSeconds: 3600 }, "misfit", /heartbeatSeconds 3600.*no leases/],
    [
      "wants another arbiter",
      { arbiter: key, arbiterWindow: 60 },
      "misfit",
      /arbiter 0xe{40}, where the offer has 0x0/,
    ],
    ["is too large", { cpuMilli: 4001, maxSeconds: 7200, submitWindow: 8000 }, "misfit", /4001.*4000; maxSeconds 7200/],
    ["wants a trait", { traits: 0b1001n | (1n << 17n) }, "misfit", /traits attest-tpm2/],
    ["wants a region", { region: `0x6575${"0".repeat(60)}` }, "misfit", /region "eu", where the offer has none/],
  ] as [string, Partial<Request>, string, RegExp][])
    it(`leaves a request alone that ${why}, and says so`, async () => {
      await look([aRequest(change)]);
      expect(calls).to.deep.equal([]);
      const [decision] = decisions.get(jobIdOf(domain, aRequest(change)));
      expect(decision).to.deep.include({ code, what: "posted", replica: null, requester: aRequest().requester });
      expect(decision?.text).to.match(text);
    });

  it("takes a request for this node's own key", async () => {
    await look([aRequest({ matcher: key }), aRequest({ matcher: ZERO_ADDRESS })]);
    expect(calls).to.have.length(2);
  });

  it("takes no more than the limits leave room for", async () => {
    await look([aRequest()], {}, [{ cpuMilli: 3000 }]);
    expect(calls).to.have.length(1);
    await look([aRequest({ nonce: nonce(1) })], {}, [{ cpuMilli: 3001 }]);
    await look([aRequest({ nonce: nonce(2) })], {}, [{}, {}]);
    expect(calls).to.have.length(1);
    expect(decisions.recent(2).map(({ values }) => values)).to.deep.equal([
      { field: "jobs", wanted: 1, has: 0 },
      { field: "cpuMilli", wanted: 1000, has: 999 },
    ]);
  });

  it("counts what it has taken, though it is not on chain yet", async () => {
    const requests = [1, 2, 3].map((n) => aRequest({ nonce: nonce(n) }));
    await look(requests);
    expect(calls).to.have.length(2);
    await look(requests.slice(1), {}, [{}]);
    expect(calls).to.have.length(2);
    expect(reasons()).to.deep.equal(["no-room"]);
  });

  it("looks at the newest of many and at some of the others in turn, and reads once what it owes", async () => {
    posted = Array.from({ length: 1001 }, (_, n) => aRequest({ nonce: nonce(n), cpuMilli: n === 0 ? 1000 : 5000 }));
    const [looked, reads] = [new Set<string>(), { gets: 0, jobs: 0 }];
    const accepting = node({
      outbox: {
        get: async (wanted) => {
          reads.gets += 1;
          looked.add(wanted);
          return undefined;
        },
        enqueue: async (call) => void calls.push(call) as never,
      },
      journal: {
        jobsIn: () => {
          reads.jobs += 1;
          return [];
        },
      },
    });
    for (const [look, seen] of [400, 600, 800, 1000].entries()) {
      await accepting.look();
      expect(looked.size).to.equal(seen);
      expect(reads).to.deep.equal({ gets: 400 * (look + 1), jobs: look + 1 });
    }
    expect(calls).to.have.length(0);
    await accepting.look();
    expect(looked.size).to.equal(1001);
    expect(calls, "the oldest of them all, which fits").to.have.length(1);
  });

  it("counts what it has taken among the many until it is matched or refused", async () => {
    const fits = (n: number) => aRequest({ nonce: nonce(n), cpuMilli: 3000 });
    posted = [fits(0)];
    const accepting = node();
    await accepting.look();
    const unfit = Array.from({ length: 500 }, (_, n) => aRequest({ nonce: nonce(1000 + n), cpuMilli: 5000 }));
    posted = [fits(0), ...unfit, fits(1)];
    await accepting.look();
    expect(calls, "there is room for one").to.have.length(1);
    entries[`accept:${jobIdOf(domain, fits(0))}`] = { state: "failed" };
    await accepting.look();
    expect(calls).to.have.length(2);
  });

  it("takes it with the offer that pays best of those that fit and are not too dear", async () => {
    const at = (profile: string, change: object): Quote => {
      return { profile, offer: anOffer({ minHeartbeatSeconds: 0, ...change }) };
    };
    const quotes = () => [
      at("small", { cpuMilli: 10, baseCharge: 9n }),
      at("cheap", { baseCharge: 1n }),
      at("fair", { baseCharge: 7n }),
      at("dear", { baseCharge: 70n }),
      at("other", { baseCharge: 8n, requester: key }),
    ];
    await look([aRequest({ maxPrice: 100n })], { quotes });
    const { args } = decodeFunctionData({ abi: jobMarketAbi, data: calls[0]?.data ?? "0x" });
    const [, offer] = args as readonly [Request, { baseCharge: bigint }, unknown];
    expect(offer.baseCharge).to.equal(7n);
    await look([aRequest({ maxPrice: 6n })], { quotes });
    expect(decisions.recent(1)[0]?.text).to.match(/asks for 65 \(profile cheap\)/);
  });

  it("takes nothing from those who are denied", async () => {
    await look([aRequest()], { deny: [aRequest().requester] });
    expect([calls.length, ...reasons()]).to.deep.equal([0, "denied"]);
  });

  it("says what it has no offer for, once it knows why it has none", async () => {
    await look([aRequest()], { quotes: () => [] });
    expect(reasons()).to.deep.equal([]);
    await look([aRequest()], { quotes: () => [], whyNone: () => "The node is draining." });
    expect(decisions.recent(1)[0]?.text).to.equal("There was no offer to take it with: The node is draining.");
    expect(calls).to.deep.equal([]);
  });

  it("says what the market had against it, and does not try again", async () => {
    const id = jobIdOf(domain, aRequest());
    entries = { [`accept:${id}`]: { state: "reverted", error: { message: "StakeBelowMinimum" } } };
    await look([aRequest()]);
    expect(decisions.get(id)[0]).to.deep.include({ code: "market-refused" });
    expect(decisions.get(id)[0]?.text).to.match(/StakeBelowMinimum/);
    expect(calls).to.deep.equal([]);
  });

  it("asks the hook once about each request that it would take, and again only where it gave no answer", async () => {
    const dir = mkdtempSync(join(tmpdir(), "berth-accept-"));
    let at = 1000;
    const file = join(dir, "asked");
    const asked = () => readFileSync(file, "utf8").length;
    const asking = (script: string) => {
      const hook = { exec: ["/bin/sh", "-c", `printf . >> ${file}; ${script}`], deadlineMs: 10_000 };
      return node({ hook: hook as never, now: () => at });
    };
    try {
      const refusing = asking("echo not on weekends; exit 1");
      posted = [aRequest(), aRequest({ cpuMilli: 5000 })];
      await refusing.look();
      at += 1000;
      await refusing.look();
      expect([asked(), ...reasons().toSorted()]).to.deep.equal([1, "hook-refused", "misfit"]);
      expect(decisions.get(jobIdOf(domain, aRequest()))[0]?.text).to.equal(
        "The operator's hook refused it: not on weekends",
      );

      const broken = asking("exit 7");
      posted = [aRequest({ nonce: nonce(9) })];
      await broken.look();
      at += 59;
      await broken.look();
      expect([asked(), reasons()[0]]).to.deep.equal([2, "hook-failed"]);
      at += 1;
      await broken.look();
      expect([asked(), calls.length, reasons().length]).to.deep.equal([3, 0, 3]);
      await asking("exit 0").look();
      expect(calls).to.have.length(1);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
