import { DatabaseSync } from "node:sqlite";
import {
  connectRpc,
  createOutbox,
  memoryOutboxStore,
  type Outbox,
  type OutboxOptions,
  type OutboxState,
  type OutboxStore,
  type Rpc,
  sqliteOutboxStore,
} from "@berth/chain";
import { type Address, type Hex, MarketError } from "@berth/protocol";
import { expect } from "chai";
import { pino } from "pino";
import { encodeFunctionData, parseEther } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { type Anvil, startAnvil } from "../support/anvil.ts";
import { eventually } from "../support/eventually.ts";
import { type LyingRpc, startLyingRpc } from "../support/lying-rpc.ts";
import { deployPinger, PINGER_ABI, pingData } from "../support/pinger.ts";

const log = pino({ level: process.env["LOG_LEVEL"] ?? "silent" });

describe("createOutbox", () => {
  let anvil: Anvil;
  let proxy: LyingRpc;
  let rpc: Rpc;
  let pinger: Address;
  let stop: AbortController;
  let running: Outbox[];

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

  /** An operator's outbox on the second funded account. */
  function outboxOn(store: OutboxStore, more: Partial<OutboxOptions> = {}): Outbox {
    const account = anvil.accounts[1];
    const outbox = createOutbox({
      rpc,
      account,
      chainId: 31337,
      store,
      log,
      signal: stop.signal,
      confirmations: 2,
      pollMs: 5,
      abi: PINGER_ABI,
      ...more,
    });
    outbox.done.catch(() => undefined);
    running.push(outbox);
    return outbox;
  }
  const mine = (blocks = 1) => anvil.call("anvil_mine", [`0x${blocks.toString(16)}`]);
  const count = () =>
    rpc.client.readContract({ address: pinger, abi: PINGER_ABI, functionName: "count" }).then((n) => Number(n));
  const used = async () => Number(await anvil.call("eth_getTransactionCount", [anvil.accounts[1].address, "latest"]));
  const call = (name: "atLeast" | "once" | "raise" | "needs", ...args: bigint[]): Hex =>
    encodeFunctionData({ abi: PINGER_ABI, functionName: name, args: args as never });
  const failure = (promise: Promise<unknown>) =>
    promise.then(
      () => undefined,
      (e: unknown) => e as { code: string; message: string },
    );
  /** A store that dies, as the process would, right after it wrote the state `at`. */
  function dyingStore(store: OutboxStore, at: OutboxState): OutboxStore {
    return {
      ...store,
      async update(entry) {
        await store.update(entry);
        if (entry.state === at) throw new Error("killed");
      },
    };
  }

  const stores: [string, () => OutboxStore][] = [
    ["memory", memoryOutboxStore],
    ["sqlite", () => sqliteOutboxStore(new DatabaseSync(":memory:"))],
  ];
  for (const [name, make] of stores) {
    it(`sends a transaction and waits until it is final (${name} store)`, async () => {
      const states: string[] = [];
      const store = make();
      const outbox = outboxOn(store, { onChange: ({ state }, before) => states.push(`${before}>${state}`) });
      await outbox.enqueue({ key: "a", to: pinger, data: pingData(2) });
      const mined = await outbox.wait("a", { until: "mined" });
      expect(mined.logs).to.have.length(2);
      expect((await outbox.get("a"))?.state).to.equal("mined");
      await mine(2);
      const final = await outbox.wait("a");
      expect(final.transactionHash).to.equal(mined.transactionHash);
      expect(states).to.deep.equal(["queued>signed", "signed>sent", "sent>mined", "mined>final"]);
      expect(await store.listOpen()).to.deep.equal([]);
      expect((await store.get("a"))?.gasCost).to.equal(final.gasUsed * final.effectiveGasPrice);
    });

    it(`sends once when enqueued twice, and refuses another call under the same key (${name} store)`, async () => {
      const outbox = outboxOn(make(), { confirmations: 0 });
      const ping = { key: "a", to: pinger, data: pingData(1) };
      await Promise.all([outbox.enqueue(ping), outbox.enqueue(ping), outbox.enqueue(ping)]);
      await outbox.wait("a");
      await outbox.enqueue(ping);
      await outbox.enqueue({ ...ping, key: "b" });
      await outbox.wait("b");
      expect(await count()).to.equal(2);
      const error = await failure(outbox.enqueue({ ...ping, data: pingData(2) }));
      expect(error).to.include({ code: "OUTBOX_KEY_REUSED" });
    });

    for (const at of ["signed", "sent", "mined"] as const) {
      it(`sends once when killed after writing "${at}" (${name} store)`, async () => {
        const store = make();
        const first = outboxOn(dyingStore(store, at));
        await first.enqueue({ key: "a", to: pinger, data: pingData(1) });
        expect(await failure(first.done)).to.have.property("message", "killed");
        expect(await failure(first.wait("a"))).to.have.property("message", "killed");
        const before = await store.get("a");
        if (at === "signed") expect(await used()).to.equal(0);
        else await eventually("the chain mined it", async () => (await used()) === 1);

        const second = outboxOn(store);
        const receipt = await second.wait("a", { until: "mined" });
        await mine(2);
        await second.wait("a");
        expect(receipt.transactionHash).to.equal(before?.attempts[0]?.hash);
        expect((await store.get("a"))?.attempts).to.deep.equal(before?.attempts);
        expect(await count()).to.equal(1);
        expect(await used()).to.equal(1);
      });
    }
  }

  it("gives consecutive nonces to many transactions, each sent once", async () => {
    await anvil.call("evm_setAutomine", [false]);
    const outbox = outboxOn(memoryOutboxStore(), { confirmations: 0 });
    const keys = Array.from({ length: 12 }, (_, i) => `k${i}`);
    await Promise.all(keys.map((key) => outbox.enqueue({ key, to: pinger, data: pingData(1) })));
    await eventually("all are sent", async () => (await outbox.get("k11"))?.state === "sent");
    await mine();
    await Promise.all(keys.map((key) => outbox.wait(key)));
    const nonces = await Promise.all(keys.map(async (key) => (await outbox.get(key))?.nonce));
    expect(nonces).to.deep.equal(keys.map((_, i) => i));
    expect(await count()).to.equal(12);
  });

  it("raises the fee on the same nonce when a transaction is stuck, and finds whichever version is mined", async () => {
    await anvil.call("evm_setAutomine", [false]);
    const store = memoryOutboxStore();
    const outbox = outboxOn(store, { feePolicy: { stuckMs: 30 }, confirmations: 0 });
    await outbox.enqueue({ key: "a", to: pinger, data: pingData(1) });
    const entry = await eventually("two versions", async () => {
      const seen = await store.get("a");
      return seen !== undefined && seen.attempts.length > 1 && seen;
    });
    const [old, raised] = entry.attempts;
    expect(raised?.nonce).to.equal(old?.nonce);
    expect(Number(raised?.maxFeePerGas)).to.be.greaterThan(Number(old?.maxFeePerGas) * 1.1);
    await mine();
    const receipt = await outbox.wait("a");
    expect((await store.get("a"))?.attempts.map(({ hash }) => hash)).to.include(receipt.transactionHash);
    expect(await count()).to.equal(1);
    expect(await used()).to.equal(1);
  });

  it("never pays more than the fee ceiling", async () => {
    await anvil.call("evm_setAutomine", [false]);
    const maxFeePerGas = 4n * 10n ** 9n;
    const store = memoryOutboxStore();
    const outbox = outboxOn(store, { feePolicy: { stuckMs: 5, maxFeePerGas } });
    await outbox.enqueue({ key: "a", to: pinger, data: pingData(1) });
    await eventually("versions", async () => ((await store.get("a"))?.attempts.length ?? 0) > 1);
    const looks = () => proxy.calls.filter((method) => method === "eth_maxPriorityFeePerGas").length;
    const before = looks();
    await eventually("more looks at the fees", () => looks() > before + 8);
    const fees = (await store.get("a"))?.attempts.map((attempt) => attempt.maxFeePerGas) ?? [];
    expect(fees.every((fee) => fee <= maxFeePerGas)).to.equal(true);
  });

  it("stops before sending when the contract refuses, and names the custom error", async () => {
    const outbox = outboxOn(memoryOutboxStore());
    await outbox.enqueue({ key: "a", to: pinger, data: call("atLeast", 3n, 7n) });
    const error = await failure(outbox.wait("a"));
    expect(error).to.include({ code: "REVERTED" });
    expect(error?.message).to.equal("a was refused by the contract: TooLow(given: 3, least: 7).");
    await outbox.enqueue({ key: "b", to: pinger, data: call("once", 1n), gasLimit: 200_000n });
    await outbox.wait("b", { until: "mined" });
    await outbox.enqueue({ key: "c", to: pinger, data: call("once", 1n), gasLimit: 200_000n });
    expect((await failure(outbox.wait("c")))?.message).to.equal('c was refused by the contract: "already done".');
    expect(await used()).to.equal(1);
    expect((await outbox.get("a"))?.state).to.equal("reverted");
  });

  it("lets a transaction depend on one still in flight, though the RPC cannot run it on top of that one", async () => {
    await anvil.call("evm_setAutomine", [false]);
    proxy.lie = async ({ method, params: [call, block] }) => {
      if (method !== "eth_estimateGas" || block !== "pending") return undefined;
      const gas = await anvil.call(method, [call, "latest"]).catch(() => undefined);
      return gas === undefined ? { error: { code: 3, message: "execution reverted" } } : { answer: gas };
    };
    const outbox = outboxOn(memoryOutboxStore(), { confirmations: 0 });
    await outbox.enqueue({ key: "raise", to: pinger, data: call("raise", 5n) });
    await outbox.enqueue({ key: "needs", to: pinger, data: call("needs", 5n) });
    await outbox.enqueue({ key: "too much", to: pinger, data: call("needs", 6n) });
    await eventually("the first is sent", async () => (await outbox.get("raise"))?.state === "sent");
    await anvil.call("evm_setAutomine", [true]);
    await mine();
    await Promise.all([outbox.wait("raise"), outbox.wait("needs")]);
    expect(await failure(outbox.wait("too much"))).to.include({ code: "REVERTED" });
    expect(await count()).to.equal(1);
  });

  it("reports a transaction that was mined and reverted as failed", async () => {
    const outbox = outboxOn(memoryOutboxStore());
    await outbox.enqueue({ key: "first", to: pinger, data: call("raise", 5n) });
    await outbox.wait("first", { until: "mined" });
    await anvil.call("evm_setAutomine", [false]);
    await outbox.enqueue({ key: "a", to: pinger, data: call("needs", 5n) });
    await eventually("it is sent", async () => (await outbox.get("a"))?.state === "sent");
    const [{ address: from }] = anvil.accounts;
    const rival = {
      from,
      to: pinger,
      data: call("raise", 1n),
      maxPriorityFeePerGas: "0x12a05f2000",
      maxFeePerGas: "0x1bf08eb000",
    };
    await anvil.call("eth_sendTransaction", [rival]);
    await mine();
    const error = await failure(outbox.wait("a", { until: "mined" }));
    expect(error?.message).to.equal("a was refused by the contract: TooLow(given: 1, least: 5).");
    await mine(3);
    await eventually("it failed", async () => (await outbox.get("a"))?.state === "failed");
  });

  it("sends the same bytes again when a reorganisation unmines them", async () => {
    const states: string[] = [];
    const store = memoryOutboxStore();
    const outbox = outboxOn(store, { confirmations: 5, onChange: ({ state }) => states.push(state) });
    await mine(3);
    await outbox.enqueue({ key: "a", to: pinger, data: pingData(1) });
    const first = await outbox.wait("a", { until: "mined" });
    await anvil.call("evm_setAutomine", [false]);
    await anvil.call("anvil_reorg", [2, []]);
    await anvil.call("anvil_dropAllTransactions");
    await eventually("it is unmined", () => states.at(-1) === "sent");
    await eventually("it is in the mempool", async () => {
      const pending = await anvil.call("eth_getTransactionCount", [anvil.accounts[1].address, "pending"]);
      return Number(pending) === 1;
    });
    await mine(6);
    const again = await outbox.wait("a");
    expect(again.transactionHash).to.equal(first.transactionHash);
    expect(again.blockHash).to.not.equal(first.blockHash);
    expect(states).to.include.members(["sent", "mined", "final"]);
    expect(await count()).to.equal(1);
  });

  it("fills a nonce that nobody uses any more", async () => {
    await anvil.call("evm_setAutomine", [false]);
    const from = anvil.accounts[1].address;
    const foreign = await anvil.call("eth_sendTransaction", [{ from, to: from, value: "0x1" }]);
    const outbox = outboxOn(memoryOutboxStore(), { feePolicy: { stuckMs: 20 }, confirmations: 0 });
    await outbox.enqueue({ key: "a", to: pinger, data: pingData(1) });
    await eventually("it has the next nonce", async () => (await outbox.get("a"))?.nonce === 1);
    await anvil.call("anvil_dropTransaction", [foreign]);
    await eventually("both nonces are there", async () => {
      await mine();
      return (await used()) >= 2;
    });
    await outbox.wait("a");
    expect(await count()).to.equal(1);
  });

  it("signs again with another nonce only once its own is taken by another program", async () => {
    await anvil.call("evm_setAutomine", [false]);
    const store = memoryOutboxStore();
    const outbox = outboxOn(store, { confirmations: 1 });
    await outbox.enqueue({ key: "a", to: pinger, data: pingData(1) });
    const sent = await eventually("it is sent", async () => {
      const entry = await outbox.get("a");
      return entry?.state === "sent" && entry;
    });
    const account = anvil.accounts[1];
    const raw = await account.signTransaction({
      chainId: 31337,
      type: "eip1559",
      nonce: 0,
      to: account.address,
      gas: 21_000n,
      maxFeePerGas: 10n ** 12n,
      maxPriorityFeePerGas: 10n ** 11n,
    });
    await anvil.call("eth_sendRawTransaction", [raw]);
    await mine(2);
    await eventually("it is sent with another nonce", async () => {
      const entry = await outbox.get("a");
      return entry?.nonce === 1 && entry.state === "sent";
    });
    await mine(3);
    const receipt = await outbox.wait("a");
    expect(receipt.transactionHash).to.not.equal(sent.attempts[0]?.hash);
    expect(await count()).to.equal(1);
  });

  it("waits for gas money, or fails at once where that is wanted", async () => {
    const account = privateKeyToAccount(generatePrivateKey());
    const patient = outboxOn(memoryOutboxStore(), { account, confirmations: 0 });
    await patient.enqueue({ key: "a", to: pinger, data: pingData(1) });
    await eventually("it says why", async () => (await patient.get("a"))?.error?.code === "INSUFFICIENT_GAS_FUNDS");
    const hasty = outboxOn(memoryOutboxStore(), { account, onBlocked: "fail" });
    await hasty.enqueue({ key: "a", to: pinger, data: pingData(1) });
    expect(await failure(hasty.wait("a"))).to.include({ code: "INSUFFICIENT_GAS_FUNDS" });
    await anvil.call("anvil_setBalance", [account.address, `0x${parseEther("1").toString(16)}`]);
    await patient.wait("a");
    expect(await count()).to.equal(1);
  });

  it("keeps to the daily gas budget, across restarts", async () => {
    const store = sqliteOutboxStore(new DatabaseSync(":memory:"));
    const first = outboxOn(store, { confirmations: 0 });
    await first.enqueue({ key: "a", to: pinger, data: pingData(1) });
    await first.wait("a");
    stop.abort();
    await first.done;
    expect(await failure(first.enqueue({ key: "x", to: pinger, data: "0x" }))).to.include({ code: "OUTBOX_STOPPED" });
    stop = new AbortController();
    const spent = (await store.get("a"))?.gasCost ?? 0n;
    const second = outboxOn(store, { dailyGasBudget: spent + 1n, onBlocked: "fail" });
    await second.enqueue({ key: "b", to: pinger, data: pingData(1) });
    expect(await failure(second.wait("b"))).to.include({ code: "GAS_BUDGET_EXCEEDED" });
    expect(await count()).to.equal(1);
  });

  it("does not sign what would cost more than it may", async () => {
    const outbox = outboxOn(memoryOutboxStore(), { confirmations: 0 });
    const few = { to: pinger, data: pingData(1), gasLimit: 100_000n, maxGasCost: 100_000n };
    await outbox.enqueue({ key: "a", ...few });
    expect(await failure(outbox.wait("a"))).to.include({ code: "GAS_COST_EXCEEDED" });
    await outbox.enqueue({ key: "b", ...few, maxGasCost: 10n ** 18n });
    await outbox.wait("b");
    expect([await used(), await count()]).to.deep.equal([1, 1]);
  });

  for (const [name, makeStore] of stores) {
    it(`never raises a fee beyond what a transaction may cost, also after a restart (${name} store)`, async () => {
      await anvil.call("evm_setAutomine", [false]);
      const store = makeStore();
      const feePolicy = { stuckMs: 5 };
      const maxGasCost = 100_000n * 4n * 10n ** 9n;
      const first = outboxOn(store, { feePolicy });
      await first.enqueue({ key: "a", to: pinger, data: pingData(1), gasLimit: 100_000n, maxGasCost });
      await eventually("versions", async () => ((await store.get("a"))?.attempts.length ?? 0) > 1);
      stop.abort();
      await first.done;
      stop = new AbortController();
      outboxOn(store, { feePolicy });
      const looks = () => proxy.calls.filter((method) => method === "eth_maxPriorityFeePerGas").length;
      const before = looks();
      await eventually("more looks at the fees", () => looks() > before + 8);
      const costs = (await store.get("a"))?.attempts.map(({ gas, maxFeePerGas }) => gas * maxFeePerGas) ?? [];
      expect(costs.every((cost) => cost <= maxGasCost)).to.equal(true);
    });
  }

  it("asks whoever owns it about what a call answered, just before it is signed", async () => {
    const answers: Hex[] = [];
    const outbox = outboxOn(memoryOutboxStore(), {
      confirmations: 0,
      check({ key }, answer) {
        answers.push(answer);
        if (key === "bad") throw new MarketError("REVERTED", "It would be in vain.");
      },
    });
    await outbox.enqueue({ key: "good", to: pinger, data: pingData(1), gasLimit: 100_000n });
    await outbox.wait("good");
    await outbox.enqueue({ key: "bad", to: pinger, data: pingData(1), gasLimit: 100_000n });
    expect(await failure(outbox.wait("bad"))).to.include({ code: "REVERTED", message: "It would be in vain." });
    expect([answers.length, await used()]).to.deep.equal([2, 1]);
  });

  it("lets what is urgent past the daily gas budget", async () => {
    const options = { dailyGasBudget: 1n, onBlocked: "fail", confirmations: 0 } as const;
    const outbox = outboxOn(memoryOutboxStore(), { ...options, isUrgent: (key) => key === "a" });
    await outbox.enqueue({ key: "b", to: pinger, data: pingData(1) });
    await outbox.enqueue({ key: "a", to: pinger, data: pingData(1) });
    await outbox.wait("a");
    expect(await failure(outbox.wait("b"))).to.include({ code: "GAS_BUDGET_EXCEEDED" });
    expect(await count()).to.equal(1);
  });

  it("goes on by itself after the RPC failed, and does not send again because receipts are missing", async () => {
    const outbox = outboxOn(memoryOutboxStore(), { confirmations: 0 });
    proxy.lie = ({ method }) => (method === "eth_sendRawTransaction" ? "hang up" : undefined);
    await outbox.enqueue({ key: "a", to: pinger, data: pingData(1) });
    await eventually("the error shows", () => outbox.status().lastError?.code === "RPC_UNAVAILABLE");
    expect((await outbox.get("a"))?.state).to.equal("signed");
    proxy.lie = ({ method }) => (method === "eth_getTransactionReceipt" ? { answer: null } : undefined);
    await eventually("it is sent", async () => (await used()) === 1);
    const calls = proxy.calls.length;
    await eventually("more looks", () => proxy.calls.length > calls + 60);
    proxy.lie = () => undefined;
    await outbox.wait("a");
    expect((await outbox.get("a"))?.attempts).to.have.length(1);
    expect(await count()).to.equal(1);
  });

  it("refuses a store that belongs to another account, and an RPC of another chain", async () => {
    await anvil.call("evm_setAutomine", [false]);
    const store = memoryOutboxStore();
    const first = outboxOn(store);
    await first.enqueue({ key: "a", to: pinger, data: pingData(1) });
    expect(await failure(outboxOn(store, { account: anvil.accounts[2] }).done)).to.include({
      code: "OUTBOX_WRONG_ACCOUNT",
    });
    expect(() => outboxOn(store, { chainId: 1 })).to.throw(/serves chain 31337, not 1/);
  });

  it("stops waiting when told to", async () => {
    await anvil.call("evm_setAutomine", [false]);
    const outbox = outboxOn(memoryOutboxStore());
    await outbox.enqueue({ key: "a", to: pinger, data: pingData(1) });
    const giveUp = new AbortController();
    const waiting = failure(outbox.wait("a", { signal: giveUp.signal }));
    giveUp.abort(new Error("enough"));
    expect(await waiting).to.have.property("message", "enough");
    expect(await failure(outbox.wait("nobody"))).to.include({ code: "OUTBOX_UNKNOWN_KEY" });
  });
});
