import { connectRpc, decodeLogs, type RawLog, toMarketError } from "@berth/chain";
import { MarketError } from "@berth/protocol";
import { expect } from "chai";
import { pino } from "pino";
import { encodeErrorResult, parseAbi } from "viem";
import { type Anvil, startAnvil } from "../support/anvil.ts";
import { type LyingRpc, startLyingRpc } from "../support/lying-rpc.ts";
import { deployPinger, PINGER_ABI } from "../support/pinger.ts";

const log = pino({ level: process.env["LOG_LEVEL"] ?? "silent" });
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.fail("it did not fail"),
    (e: unknown) => e as MarketError,
  );

describe("connectRpc", () => {
  let anvil: Anvil;
  let other: Anvil;
  let proxy: LyingRpc;
  before(async () => {
    anvil = await startAnvil();
    other = await startAnvil({ chainId: 4242 });
    proxy = await startLyingRpc(anvil.url);
  });
  after(async () => {
    await proxy?.stop();
    await anvil?.stop();
    await other?.stop();
  });
  afterEach(() => {
    proxy.lie = () => undefined;
  });

  it("refuses another chain, and names both", async () => {
    const error = await failure(connectRpc({ urls: [anvil.url], expectedChainId: 1, log }));
    expect(error).to.include({ code: "WRONG_CHAIN", retryable: false });
    expect(error.message).to.match(/serves chain 31337, not 1\.$/);
    expect(error.hint).to.match(/chain 1/);
    expect(await failure(connectRpc({ urls: [anvil.url, other.url], log }))).to.include({ code: "WRONG_CHAIN" });
  });

  it("says when nobody answers, and does not print secrets of the URL", async () => {
    const error = await failure(connectRpc({ urls: ["http://user:hidden@127.0.0.1:9/secret"], log }));
    expect(error).to.include({ code: "RPC_UNAVAILABLE", retryable: true });
    expect(`${error.message} ${String(error.cause)}`)
      .to.include("127.0.0.1:9")
      .and.not.match(/secret|hidden/);
    expect(await failure(connectRpc({ urls: ["ws://127.0.0.1:1"], log }))).to.include({ code: "RPC_URL_INVALID" });
  });

  it("uses the next URL while one fails, and never one of another chain", async () => {
    const rpc = await connectRpc({ urls: [proxy.url, anvil.url], log });
    proxy.lie = () => "500";
    expect(await rpc.client.getChainId()).to.equal(31337);
    proxy.lie = ({ method }) => (method === "eth_chainId" ? { answer: "0x1092" } : undefined);
    rpc.rotate();
    expect(Number(await rpc.request("eth_blockNumber"))).to.equal(0);

    proxy.lie = () => undefined;
    const alone = await connectRpc({ urls: [proxy.url], log });
    proxy.lie = () => "500";
    expect(await failure(alone.request("eth_blockNumber"))).to.include({ code: "RPC_UNAVAILABLE" });
    proxy.lie = ({ method }) => (method === "eth_chainId" ? { answer: "0x1092" } : undefined);
    expect(await failure(alone.request("eth_blockNumber"))).to.include({ code: "WRONG_CHAIN" });
  });

  it("tells which host failed, each time, and nothing of the rest of its URL", async () => {
    const failed: string[] = [];
    const dead = "http://user:hidden@127.0.0.1:9/secret";
    const rpc = await connectRpc({ urls: [proxy.url, anvil.url, dead], log, onFailure: (host) => failed.push(host) });
    expect(failed).to.deep.equal(["127.0.0.1:9"]);
    proxy.lie = () => "500";
    await rpc.request("eth_blockNumber");
    expect(failed).to.deep.equal(["127.0.0.1:9", new URL(proxy.url).host]);
  });

  it("gives up on an answer that never ends", async () => {
    const rpc = await connectRpc({ urls: [proxy.url], log, timeoutMs: 50 });
    proxy.lie = () => new Promise<undefined>(() => undefined);
    expect(await failure(rpc.request("eth_blockNumber"))).to.include({ code: "RPC_UNAVAILABLE" });
    const stop = AbortSignal.abort(new Error("enough"));
    expect(await failure(rpc.request("eth_blockNumber", [], { signal: stop }))).to.have.property("message", "enough");
  });

  it("says which contract is missing", async () => {
    const rpc = await connectRpc({ urls: [anvil.url], log });
    const pinger = await deployPinger(anvil);
    await rpc.assertDeployed({ Pinger: pinger });
    const error = await failure(rpc.assertDeployed({ Pinger: pinger, JobMarket: `0x${"12".repeat(20)}` }));
    expect(error).to.include({ code: "NOT_DEPLOYED" });
    expect(error.message).to.match(/no JobMarket at 0x1212/);
    expect(error.hint).to.match(/right chain/);
  });

  it("names a custom error that a read through viem met", async () => {
    const rpc = await connectRpc({ urls: [anvil.url], log });
    const address = await deployPinger(anvil);
    const call = { address, abi: PINGER_ABI, functionName: "atLeast", args: [1n, 2n] } as const;
    const error = await rpc.client.simulateContract(call).catch((e: unknown) => toMarketError(e, { abi: PINGER_ABI }));
    expect(error)
      .to.include({ code: "REVERTED" })
      .and.have.property("message")
      .that.includes("TooLow(given: 1, least: 2)");
  });
});

describe("toMarketError", () => {
  it("shows structs and lists of a custom error, and the selector of an unknown one", () => {
    const abi = parseAbi(["struct Part { uint256 id; address who; }", "error Bad(Part part, uint256[] list)"]);
    const who = `0x${"00".repeat(19)}01` as const;
    const data = encodeErrorResult({ abi, errorName: "Bad", args: [{ id: 7n, who }, [1n, 2n]] });
    const error = Object.assign(new Error("execution reverted"), { data });
    expect(toMarketError(error, { abi }).message).to.include(`Bad(part: {id: 7, who: ${who}}, list: [1, 2])`);
    expect(toMarketError(error).message).to.include(`unknown error ${data.slice(0, 10)}`);
  });

  it("tells no money from no answer, and keeps what is already explained", () => {
    expect(toMarketError(new Error("insufficient funds for gas * price + value"))).to.include({
      code: "INSUFFICIENT_GAS_FUNDS",
    });
    expect(toMarketError(new Error("what"))).to.include({ code: "RPC_ERROR", retryable: false });
    const known = new MarketError("X", "y");
    expect(toMarketError(known)).to.equal(known);
  });
});

describe("decodeLogs", () => {
  const abi = parseAbi([
    "event Transfer(address indexed from, address indexed to, uint256 value)",
    "event Named(string indexed name, bytes32 indexed id, uint256[] list)",
  ]);
  const base = {
    address: `0x${"11".repeat(20)}`,
    blockNumber: 1,
    blockHash: "0x",
    transactionHash: "0x",
    transactionIndex: 0,
    logIndex: 0,
  } as const;
  const transfer = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
  const word = (n: number) => `0x${n.toString(16).padStart(64, "0")}` as const;

  it("decodes known events in order and leaves out the rest, the ERC-721 Transfer too", () => {
    const logs: RawLog[] = [
      { ...base, topics: [transfer, word(1), word(2)], data: word(3) },
      { ...base, topics: [word(9)], data: "0x" },
      { ...base, topics: [transfer, word(1), word(2), word(3)], data: "0x" },
      { ...base, topics: [], data: "0x" },
    ];
    const [only, ...rest] = decodeLogs(abi, logs);
    expect(rest).to.deep.equal([]);
    expect(only?.eventName).to.equal("Transfer");
    expect(only?.args).to.deep.equal({ from: `0x${"0".repeat(39)}1`, to: `0x${"0".repeat(39)}2`, value: 3n });
  });

  it("refuses a log that does not fit its event", () => {
    const logs: RawLog[] = [{ ...base, topics: [transfer, word(1), word(2)], data: "0x01" }];
    expect(() => decodeLogs(abi, logs)).to.throw(/no valid Transfer event/);
  });
});
