import { type Hex, jobIdOf, jobMarketAbi, MODE, type Request, ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import pino from "pino";
import { decodeFunctionData } from "viem";
import { type AcceptOptions, acceptPosted } from "../../../provider-node/src/jobs/accept-posted.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

const domain = { chainId: 31337, market: `0x${"d".repeat(40)}` } as const;
const key = `0x${"e".repeat(40)}` as const;

describe("acceptPosted", () => {
  let calls: { key: string; to: string; data: Hex }[];
  beforeEach(() => {
    calls = [];
  });

  /** Looks at `requests` as a node that serves `anOffer()`, without leases, and owes the result of as many jobs as `active`. */
  const look = (requests: Request[], active: Partial<Request>[] = []) => {
    const jobs = active.map((change) => ({ chain: "active", terms: { job: aRequest(change) } }));
    const options = {
      self: { account: { address: key } },
      deployment: domain,
      chain: { postedRequests: () => requests.map((request) => ({ jobId: jobIdOf(domain, request), request })) },
      journal: { jobs: () => [...jobs, { chain: "submitted", terms: { job: aRequest() } }] },
      outbox: {
        get: async (wanted: string) => calls.find((call) => call.key === wanted),
        enqueue: async (call: { key: string; to: string; data: Hex }) => void calls.push(call),
      },
      limits: { maxBond: 1_000_000n, maxActive: 2, cpuMilli: 4000, memoryMiB: 4096, diskMiB: 1024, gpus: 0 },
      offer: () => ({ offer: anOffer({ minHeartbeatSeconds: 0 }) }),
      now: () => 1000,
      log: pino({ level: "silent" }),
    } as unknown as AcceptOptions;
    return acceptPosted(options);
  };

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
  });

  for (const [why, change] of [
    ["has more than one replica", { replicas: 2 }],
    ["is over", { openUntil: 999 }],
    ["names another matcher", { matcher: `0x${"9".repeat(40)}` }],
    ["pays too little", { maxPrice: 6n }],
    ["limits its operators by a tree that is not known here", { operators: `0x${"4".repeat(64)}` }],
    ["is a lease", { mode: MODE.lease, heartbeatSeconds: 3600 }],
    ["wants an arbiter that is not offered", { arbiter: key, arbiterWindow: 60 }],
  ] as [string, Partial<Request>][])
    it(`leaves a request alone that ${why}`, async () => {
      await look([aRequest(change)]);
      expect(calls).to.deep.equal([]);
    });

  it("takes a request for this node's own key", async () => {
    await look([aRequest({ matcher: key }), aRequest({ matcher: ZERO_ADDRESS })]);
    expect(calls).to.have.length(2);
  });

  it("takes no more than the limits leave room for", async () => {
    await look([aRequest()], [{ cpuMilli: 3000 }]);
    expect(calls).to.have.length(1);
    calls = [];
    await look([aRequest()], [{ cpuMilli: 3001 }]);
    await look([aRequest()], [{}, {}]);
    expect(calls).to.deep.equal([]);
  });
});
