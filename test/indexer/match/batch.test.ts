import { type Hex, jobMarketAbi } from "@berth/protocol";
import { expect } from "chai";
import { decodeFunctionData, encodeErrorResult, encodeEventTopics, encodeFunctionResult, size, slice } from "viem";
import {
  callOf,
  failuresOf,
  itemLimits,
  planBatches,
  requireUseful,
  tooLarge,
  wordsOf,
} from "../../../indexer/src/match/batch.ts";

const MARKET = "0x00000000000000000000000000000000000000aa";
const OPERATOR = "0x00000000000000000000000000000000000000bb";
const ROOM = { gas: 1_000_000n, bytes: 1_000_000 };
const item = (gas: bigint, bytes = 100) => ({ gas, callData: `0x${"ab".repeat(bytes)}` as Hex });
const never = () => false;

describe("planBatches", () => {
  it("fills transactions with as much gas as they may take, in order, the largest last", () => {
    const [a, b, c, d] = [item(300_000n), item(100_000n), item(500_000n), item(200_000n)];
    expect(planBatches([a, b, c, d], ROOM, never)).to.deep.equal([
      [b, a],
      [d, c],
    ]);
  });

  it("takes no more bytes than a transaction may have", () => {
    const items = [item(1n, 400), item(1n, 400), item(1n, 400)];
    expect(planBatches(items, { ...ROOM, bytes: 1000 }, never).map(({ length }) => length)).to.deep.equal([2, 1]);
  });

  it("gives a transaction of its own to what is too large for any, and to what must go alone", () => {
    const [huge, small, shy] = [item(5_000_000n), item(1n), item(2n)];
    expect(planBatches([huge, shy, small], ROOM, (one) => one === shy)).to.deep.equal([[small], [huge], [shy]]);
  });

  it("puts nothing beside what has too many bytes for any, wherever it stands", () => {
    const [large, last] = [item(1n, 1000), item(2n)];
    const limits = { ...ROOM, bytes: 1000 };
    const alone = [[last], [large]];
    expect(planBatches([large, last], limits, never)).to.deep.equal(alone);
    expect(planBatches([last, large], limits, never)).to.deep.equal(alone);
  });
});

describe("tooLarge", () => {
  it("is what has more bytes than a batch, or needs more than half of a block with a fifth more gas", () => {
    const limits = itemLimits(1_200_000n, 100);
    expect(tooLarge(item(500_000n, 100), limits)).to.equal(undefined);
    expect(tooLarge(item(500_001n, 100), limits)).to.include({
      code: "MATCH_TOO_LARGE",
      message:
        "The match fits into no transaction: MatchTooLarge(bytes: 100, mostBytes: 100, gas: 600001, mostGas: 600000).",
    });
    expect(tooLarge(item(1n, 101), limits)).to.include({ code: "MATCH_TOO_LARGE" });
  });

  it("is what no transaction may need, though half of a block had the gas", () => {
    expect(itemLimits(100_000_000n, 100).gas).to.equal(16_777_216n);
  });
});

describe("callOf", () => {
  it("sends a single match as it is, and leaves its gas to be estimated", () => {
    expect(callOf([item(9n)])).to.deep.equal({ data: item(9n).callData, gasLimit: null });
  });

  it("gives each item of a batch the gas of the largest, and all together what they need alone and a quarter", () => {
    const { data, gasLimit } = callOf([item(100_000n), item(121_000n)]);
    const { functionName, args } = decodeFunctionData({ abi: jobMarketAbi, data });
    const rest = slice(item(1n).callData, 4);
    expect({ functionName, args }).to.deep.equal({ functionName: "matchMany", args: [[rest, rest], 115_000n] });
    expect(gasLimit).to.equal(276_250n);
  });
});

describe("requireUseful", () => {
  const { data } = callOf([item(100_000n), item(100_000n)]);
  const answer = (done: boolean[]) =>
    encodeFunctionResult({ abi: jobMarketAbi, functionName: "matchMany", result: done });

  it("lets a batch go while one of its matches succeeds, and everything that is not a batch", () => {
    requireUseful({ key: "b", data }, answer([false, true]));
    requireUseful({ key: "m", data: item(1n).callData }, "0x");
  });

  it("stops a batch of which nothing would succeed", () => {
    expect(() => requireUseful({ key: "b", data }, answer([false, false]))).to.throw(
      "b was not sent: none of its matches would succeed any more.",
    );
  });
});

describe("failuresOf", () => {
  it("finds the market's failed items by their place, and nobody else's", () => {
    const [signature] = encodeEventTopics({ abi: jobMarketAbi, eventName: "ItemFailed" });
    const word = (n: number) => n.toString(16).padStart(64, "0");
    const log = (address: string, place: number, reason: string) => ({
      address,
      topics: [signature, `0x${word(place)}`],
      data: `0x${word(32)}${word(reason.length / 2)}${reason.padEnd(64, "0")}`,
    });
    const other = { address: MARKET, topics: [`0x${word(5)}`], data: "0x" };
    const logs = [log(MARKET.toUpperCase().replace("X", "x"), 2, "aabb"), log(OPERATOR, 1, "cc"), other];
    expect([...failuresOf(logs, MARKET)]).to.deep.equal([[2, "0xaabb"]]);
  });
});

describe("wordsOf", () => {
  it("names the error and its values", () => {
    const reason = encodeErrorResult({ abi: jobMarketAbi, errorName: "NotAccepted", args: [OPERATOR, MARKET] });
    const { code, message } = wordsOf(reason, "match:1", jobMarketAbi);
    expect({ code, message: message.toLowerCase() }).to.deep.equal({
      code: "REVERTED",
      message: `match:1 was refused by the contract: notaccepted(operator: ${OPERATOR}, what: ${MARKET}).`,
    });
  });

  it("names an error whose values the market cut off", () => {
    const args = [OPERATOR, 1, `0x${"22".repeat(32)}`, 3n, 4n] as const;
    const whole = encodeErrorResult({ abi: jobMarketAbi, errorName: "CapacityExceeded", args });
    expect(size(whole)).to.be.greaterThan(132);
    expect(wordsOf(slice(whole, 0, 132), "m", jobMarketAbi).message.toLowerCase()).to.contain(
      `capacityexceeded(operator: ${OPERATOR}, index: 1`,
    );
  });

  it("says so when there is no reason", () => {
    expect(wordsOf("0x", "m", jobMarketAbi)).to.include({
      code: "REVERTED",
      message: "m was refused by the contract: reverted without a reason.",
    });
  });
});
