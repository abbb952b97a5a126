import {
  connectRpc,
  decodeLogs,
  type Follower,
  type FollowOptions,
  type FollowStep,
  followChain,
  type Rpc,
} from "@berth/chain";
import type { Address, Hex } from "@berth/protocol";
import { expect } from "chai";
import { pino } from "pino";
import { type Anvil, startAnvil } from "../support/anvil.ts";
import { eventually } from "../support/eventually.ts";
import { type FollowerLog, followerLog } from "../support/follower-log.ts";
import { type LyingRpc, startLyingRpc } from "../support/lying-rpc.ts";
import { deployPinger, PINGER_ABI, pingData } from "../support/pinger.ts";

const log = pino({ level: process.env["LOG_LEVEL"] ?? "silent" });

describe("followChain", () => {
  let anvil: Anvil;
  let proxy: LyingRpc;
  let rpc: Rpc;
  let pinger: Address;
  let stop: AbortController;
  let running: Follower[];

  beforeEach(async () => {
    stop = new AbortController();
    running = [];
    anvil = await startAnvil();
    proxy = await startLyingRpc(anvil.url);
    rpc = await connectRpc({ urls: [proxy.url], log });
    pinger = await deployPinger(anvil);
  });
  afterEach(async () => {
    stop.abort();
    await Promise.allSettled(running.map(({ done }) => done));
    await proxy?.stop();
    await anvil?.stop();
  });

  function follow(store: FollowerLog, more: Partial<FollowOptions> = {}): Follower {
    const follower = followChain({
      rpc,
      addresses: [pinger],
      fromBlock: 0,
      confirmations: 0,
      store,
      signal: stop.signal,
      log,
      pollMs: 5,
      ...more,
    });
    running.push(follower);
    return follower;
  }

  async function ping(times = 1): Promise<void> {
    const [{ address: from }] = anvil.accounts;
    const hash = await anvil.call("eth_sendTransaction", [
      { from, to: pinger, data: pingData(times), gas: "0x989680" },
    ]);
    await eventually("it is mined", async () => (await anvil.call("eth_getTransactionReceipt", [hash])) !== null);
  }
  const mine = (blocks: number) => anvil.call("anvil_mine", [`0x${blocks.toString(16)}`]);
  const head = () => anvil.call("eth_getBlockByNumber", ["latest", false]) as Promise<{ hash: Hex; number: Hex }>;

  /** What an index from scratch would hold, asked block by block of the honest chain. */
  async function truth(): Promise<string[]> {
    const logs = await anvil.call("eth_getLogs", [{ address: pinger, fromBlock: "0x0", toBlock: "latest" }]);
    return logs.map((item: { blockHash: Hex; logIndex: Hex }) => `${item.blockHash}:${Number(item.logIndex)}`);
  }
  async function expectTruth(store: FollowerLog): Promise<void> {
    await store.reached((await head()).hash);
    expect(store.logs()).to.deep.equal(await truth());
  }

  for (const verifyBackfill of [true, false]) {
    it(`backfills a long chain in ranges, then block by block (${verifyBackfill ? "" : "not "}verified)`, async () => {
      for (let i = 0; i < 12; i++) {
        await ping(3);
        await mine(25);
      }
      const store = followerLog();
      await follow(store, { maxRange: 40, verifyBackfill }).synced;
      await expectTruth(store);
      expect(store.logs()).to.have.length(36);
      const near = store.blocks.slice(-128);
      expect(near.map(({ number }) => number)).to.deep.equal(near.map((_, i) => (near[0]?.number ?? 0) + i));
      const decoded = decodeLogs(
        PINGER_ABI,
        store.blocks.flatMap(({ logs }) => logs),
      );
      expect(decoded.map(({ args }) => args.number)).to.deep.equal(Array.from({ length: 36 }, (_, i) => BigInt(i + 1)));
    });
  }

  it("shrinks the range until the RPC no longer finds it too large", async () => {
    await ping();
    await mine(400);
    const widths: number[] = [];
    proxy.lie = ({ method, params }) => {
      const { fromBlock, toBlock } = (params[0] ?? {}) as { fromBlock?: Hex; toBlock?: Hex };
      if (method !== "eth_getLogs" || fromBlock === undefined) return undefined;
      const width = Number(toBlock) - Number(fromBlock) + 1;
      widths.push(width);
      return width > 30 ? { error: { code: -32005, message: "query returned more than 10000 results" } } : undefined;
    };
    const store = followerLog();
    await follow(store, { maxRange: 200 }).synced;
    await expectTruth(store);
    expect(Math.max(...widths)).to.equal(200);
    expect(Math.min(...widths)).to.be.at.most(30);
  });

  it("reads the next range while the store writes this one, and sizes it by the logs that it found", async () => {
    for (let i = 0; i < 6; i++) {
      await ping(20);
      await mine(100);
    }
    const starts: number[] = [];
    proxy.lie = ({ method, params }) => {
      const { fromBlock } = (params[0] ?? {}) as { fromBlock?: Hex };
      if (method === "eth_getLogs" && fromBlock !== undefined) starts.push(Number(fromBlock));
      return undefined;
    };
    const store = followerLog();
    const ends: number[] = [];
    const apply = async (step: FollowStep) => {
      const end = step.type === "blocks" ? (step.blocks.at(-1)?.number ?? 0) : 0;
      if (step.type === "blocks" && end < step.safe - 128) {
        ends.push(end);
        await eventually("the next range is asked for", () => starts.includes(end + 1));
      }
      await store.apply(step);
    };
    await follow({ ...store, apply }, { logsPerStep: 20 }).synced;
    await expectTruth(store);
    expect(starts).to.deep.equal([0, ...ends.map((end) => end + 1)]);
    expect(ends.map((end, i) => end - (ends[i - 1] ?? -1)).slice(1)).to.satisfy((widths: number[]) =>
      widths.every((width) => width <= 102),
    );
  });

  it("sees new blocks and keeps the given distance to the head", async () => {
    const store = followerLog();
    const follower = follow(store, { confirmations: 3 });
    await follower.synced;
    await ping(2);
    const { hash, number } = await head();
    await mine(2);
    await eventually("the head is seen", () => follower.status().head === Number(number) + 2);
    expect(store.logs()).to.deep.equal([]);
    await mine(1);
    await store.reached(hash);
    expect(store.logs()).to.deep.equal(await truth());
    expect(follower.status()).to.include({ head: Number(number) + 3, lastError: null });
  });

  it("tells of each newer head at once, of one that is behind not, and of that of another branch", async () => {
    await mine(8);
    const heads: { number: number; hash: Hex }[] = [];
    const store = followerLog();
    const follower = follow(store, { confirmations: 3, onHead: (seen) => heads.push(seen) });
    await follower.synced;
    const { number } = await head();
    expect(heads.map((seen) => seen.number)).to.deep.equal([Number(number)]);
    const old = await anvil.call("eth_getBlockByNumber", [`0x${(Number(number) - 1).toString(16)}`, false]);
    proxy.lie = ({ params }) => (params[0] === "latest" ? { answer: old } : undefined);
    await eventually("the older head is seen", () => follower.status().head === Number(number) - 1);
    expect(heads).to.have.length(1);
    proxy.lie = () => undefined;
    await mine(1);
    await eventually("the newer head is seen", () => heads.at(-1)?.number === Number(number) + 1);
    expect(store.blocks.at(-1)?.number).to.be.at.most(Number(number) - 2);
    await anvil.call("anvil_reorg", [6, []]);
    const { hash } = await head();
    await eventually("the other branch is seen", () => heads.at(-1)?.hash === hash);
    await anvil.call("anvil_reorg", [
      1,
      [[{ from: anvil.accounts[1].address, to: pinger, data: pingData(1), gas: "0x989680" }, 0]],
    ]);
    const other = await head();
    expect(other.hash).to.not.equal(hash);
    await eventually("a branch above the followed blocks is seen", () => heads.at(-1)?.hash === other.hash);
  });

  it("follows a reorganisation of 20 blocks, near the first block too", async () => {
    const store = followerLog();
    await ping(1);
    await mine(22);
    const from = Number((await head()).number);
    await follow(store, { fromBlock: from }).synced;
    expect(store.logs()).to.deep.equal([]);
    const data = { from: anvil.accounts[1].address, to: pinger, data: pingData(4), gas: "0x989680" };
    await anvil.call("anvil_reorg", [20, [[data, 19]]]);
    await store.reached((await head()).hash);
    expect(store.steps.filter(({ type }) => type === "rollback")).to.have.length(1);
    expect(store.logs()).to.deep.equal((await truth()).slice(-4));
  });

  it("leaves out what lies before the first block asked for", async () => {
    await ping(2);
    await mine(140);
    await ping(3);
    const store = followerLog();
    await follow(store, { fromBlock: Number((await head()).number) }).synced;
    expect(store.logs()).to.deep.equal((await truth()).slice(-3));
  });

  it("stops with REORG_TOO_DEEP when no known block is left, and changes nothing", async () => {
    await mine(30);
    const store = followerLog(10);
    const follower = follow(store, { windowSize: 10 });
    await follower.synced;
    const before = store.blocks.length;
    await anvil.call("anvil_reorg", [15, []]);
    const error = await follower.done.then(
      () => undefined,
      (e: unknown) => e,
    );
    expect(error).to.include({ code: "REORG_TOO_DEEP" });
    expect((error as { hint: string }).hint).to.match(/same chain/);
    expect(store.blocks).to.have.length(before);
  });

  it("takes a lower head for an RPC that is behind, until another hash appears at a known height", async () => {
    await ping();
    await mine(5);
    const store = followerLog();
    const follower = follow(store);
    await follower.synced;
    const { number } = await head();
    const old = await anvil.call("eth_getBlockByNumber", [`0x${(Number(number) - 3).toString(16)}`, false]);
    proxy.lie = ({ method, params }) =>
      params[0] === "latest" && method.includes("Block") ? { answer: old } : undefined;
    const seen = await eventually("it is behind", () => follower.status().state === "behind" && follower.status());
    expect(seen.behindSince).to.be.a("number");
    expect(store.steps.every(({ type }) => type === "blocks")).to.equal(true);

    proxy.lie = ({ params }) =>
      params[0] === "latest" ? { answer: { ...old, hash: `0x${"ab".repeat(32)}` } } : undefined;
    await eventually("it rolled back", () => store.steps.some(({ type }) => type === "rollback"));
    proxy.lie = () => undefined;
    await expectTruth(store);
    expect(follower.status()).to.include({ behindSince: null });
  });

  it("keeps trying while the RPC fails, with its state unchanged and the error shown", async () => {
    await ping();
    const store = followerLog();
    const follower = follow(store);
    await follower.synced;
    const before = store.steps.length;
    const lies = ["500", "hang up", { answer: null }, { error: { code: -32000, message: "no" } }] as const;
    let asked = 0;
    proxy.lie = () => lies[asked++ % lies.length];
    await eventually("several failures", () => asked > 8);
    expect(follower.status().state).to.equal("unavailable");
    expect(follower.status().lastError).to.include({ retryable: true });
    expect(store.steps).to.have.length(before);
    proxy.lie = () => undefined;
    await ping();
    await expectTruth(store);
    await eventually("it is well again", () => follower.status().lastError === null);
  });

  it("does not believe an empty answer when the block's bloom filter says otherwise", async () => {
    const store = followerLog();
    const follower = follow(store);
    await follower.synced;
    proxy.lie = ({ method }) => (method === "eth_getLogs" ? { answer: [] } : undefined);
    await ping(2);
    await eventually("doubt", () => follower.status().lastError?.code === "RPC_INCONSISTENT");
    expect(store.logs()).to.deep.equal([]);
    proxy.lie = () => undefined;
    await expectTruth(store);
    expect(store.logs()).to.have.length(2);
  });

  it("does not believe logs of another block", async () => {
    const store = followerLog();
    const follower = follow(store);
    await follower.synced;
    proxy.lie = async ({ method }, honest) => {
      if (method !== "eth_getLogs") return undefined;
      const logs = (await honest()) as object[];
      return { answer: logs.map((item) => ({ ...item, blockHash: `0x${"cd".repeat(32)}` })) };
    };
    await ping();
    await eventually("doubt", () => follower.status().lastError?.code === "RPC_INCONSISTENT");
    proxy.lie = () => undefined;
    await expectTruth(store);
  });

  it("accepts wrong parents that a development chain gives, but not a block that changes while it is read", async () => {
    await mine(4);
    const bend = (block: object, hash?: Hex) => ({
      answer: { ...block, parentHash: `0x${"ef".repeat(32)}`, ...(hash && { hash }) },
    });
    let reads = 0;
    proxy.lie = async ({ method, params }, honest) => {
      if (method !== "eth_getBlockByNumber" || params[0] !== "0x3") return undefined;
      return bend((await honest()) as object, reads++ % 2 === 0 ? `0x${"ab".repeat(32)}` : undefined);
    };
    const store = followerLog();
    const follower = follow(store, { fromBlock: 3 });
    await eventually("doubt", () => follower.status().lastError?.message.includes("changed while"));
    expect(store.blocks.filter(({ number }) => number >= 3)).to.deep.equal([]);
    stop.abort();
    await follower.done;

    stop = new AbortController();
    proxy.lie = async ({ method, params }, honest) =>
      method === "eth_getBlockByNumber" && params[0] === "0x3" ? bend((await honest()) as object) : undefined;
    const patient = followerLog();
    await follow({ ...patient, apply: (step) => void (step.type === "blocks" && patient.blocks.push(...step.blocks)) })
      .synced;
    expect(patient.blocks.at(-1)?.hash).to.equal((await head()).hash);
  });

  it("ends with what the store threw", async () => {
    const store = followerLog();
    store.crash = () => {
      throw new Error("disk full");
    };
    const error = await follow(store).done.catch((e: unknown) => e);
    expect(error).to.have.property("message", "disk full");
  });

  it("equals an index from scratch after any mix of reorganisations, lies and crashes", async function () {
    this.timeout(120_000);
    const seed = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
    const random = generator(seed);
    const upTo = (n: number) => Math.floor(random() * n);
    const store = followerLog();
    let follower: Follower | undefined;
    let halt = new AbortController();
    const start = () => {
      halt = new AbortController();
      follower = follow(store, { signal: AbortSignal.any([stop.signal, halt.signal]), maxRange: 8, windowSize: 64 });
      follower.done.catch(() => undefined);
    };
    /** A chain that became shorter shows nothing new before it is longer than what is known. */
    const outgrow = async () => {
      const missing = (store.blocks.at(-1)?.number ?? 0) - Number((await head()).number);
      if (missing > 0) await mine(missing + 1);
    };
    start();
    try {
      for (let round = 0; round < 60; round++) {
        const snapshot = await anvil.call("evm_snapshot");
        for (let i = 1 + upTo(5); i > 0; i--) {
          await anvil.call("evm_increaseTime", [1 + upTo(1000)]);
          if (random() < 0.7) await ping(1 + upTo(3));
          else await mine(1 + upTo(3));
        }
        const height = Number((await head()).number);
        if (random() < 0.4) {
          const depth = Math.min(height - 2, 1 + upTo(20));
          const from = anvil.accounts[1].address;
          const pairs = Array.from({ length: upTo(3) }, () => [
            { from, to: pinger, data: pingData(1 + upTo(3)), gas: "0x989680" },
            upTo(depth),
          ]);
          await anvil.call("anvil_reorg", [depth, pairs]);
        } else if (random() < 0.3) {
          await anvil.call("evm_revert", [snapshot]);
          await anvil.call("evm_increaseTime", [1 + upTo(1000)]);
          await mine(1 + upTo(8));
        }
        const lying = random() < 0.5 ? 0.04 : 0;
        proxy.lie = ({ method, params }, honest) => {
          if (random() >= lying) return undefined;
          const kind = upTo(6);
          if (kind === 0) return "500";
          if (kind === 1) return "hang up";
          if (kind === 2) return { error: { code: -32000, message: "header not found" } };
          if (kind === 3) return { answer: null };
          if (method === "eth_getLogs") return { answer: [] };
          if (method === "eth_getBlockByNumber" && params[0] === "latest") {
            const number = Math.max(0, height - upTo(10));
            return anvil
              .call("eth_getBlockByNumber", [`0x${number.toString(16)}`, false])
              .then((answer) => (answer === null ? undefined : { answer }));
          }
          return honest().then(() => undefined);
        };
        if (random() < 0.3) {
          if (random() < 0.5) {
            const committed = random() < 0.5;
            store.crash = (at) => {
              if (at === committed) throw new Error("killed");
            };
            await outgrow();
            await ping(1);
            follower?.poke();
            await follower?.done.catch(() => undefined);
            store.crash = () => undefined;
          } else {
            halt.abort();
            await follower?.done.catch(() => undefined);
          }
          start();
        }
        if (random() < 0.5) {
          if (random() < 0.5) proxy.lie = () => undefined;
          await outgrow();
          await store.reached((await head()).hash);
          expect(store.logs(), `seed ${seed}, round ${round}`).to.deep.equal(await truth());
        }
      }
      proxy.lie = () => undefined;
      await mine(30);
      await expectTruth(store);
      expect(new Set(store.logs()).size, `seed ${seed}`).to.equal(store.logs().length);
      expect(store.logs().length).to.be.greaterThan(50);
    } catch (error) {
      const what = error instanceof Error ? error.message : String(error);
      throw new Error(`seed ${seed}: ${what}; ${JSON.stringify(follower?.status())}`, { cause: error });
    }
  });
});

/** Random numbers in [0, 1) that a seed repeats (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
