import type { RpcCall } from "@berth/chain";
import type { Hex } from "@berth/protocol";
import { expect } from "chai";
import { itemLimits } from "../../../indexer/src/match/batch.ts";
import type { Match } from "../../../indexer/src/match/match.ts";
import { rehearse, type Stage } from "../../../indexer/src/match/rehearsal.ts";
import { address, anOrder, TOKEN } from "../support/books.ts";

const LIMITS = itemLimits(30_000_000n, 96 * 1024);
const MIB = 1024 * 1024;

describe("rehearse", () => {
  it("refuses what no transaction holds, and asks the RPC about the others only", async () => {
    const [small, huge] = [aMatch(1), aMatch(2, { signature: 140_000 })];
    const { stage, asked } = chainWith(100_000n);
    const { ready, refused } = await rehearse([huge, small], stage, LIMITS);
    expect([ready.map(({ match }) => match), asked.flat().length]).to.deep.equal([[small], 1]);
    expect(refused.map(({ match, error }) => [match, error.code])).to.deep.equal([[huge, "MATCH_TOO_LARGE"]]);
    expect(refused[0]?.error.message).to.match(/MatchTooLarge\(bytes: 14\d{4}, mostBytes: 98304, gas: 0, mostGas: 1/);
  });

  it("refuses what needs, with a fifth more, over half of a block's gas", async () => {
    const tried = async (gas: bigint) => rehearse([aMatch(1)], chainWith(gas).stage, LIMITS);
    expect((await tried(12_500_000n)).refused).to.deep.equal([]);
    const { ready, refused } = await tried(12_500_001n);
    expect([ready, refused.map(({ error }) => error.code)]).to.deep.equal([[], ["MATCH_TOO_LARGE"]]);
  });

  it("asks about a few at a time where they are large, and keeps their order", async () => {
    const matches = Array.from({ length: 14 }, (_, i) => aMatch(i, { signature: 90_000 }));
    const { stage, asked } = chainWith(100_000n);
    const { ready } = await rehearse(matches, stage, LIMITS);
    expect(ready.map(({ match }) => match)).to.deep.equal(matches);
    expect(asked.length).to.be.greaterThan(1);
    for (const calls of asked) expect(JSON.stringify(calls).length).to.be.lessThan(1.1 * MIB);
  });

  it("leaves out what the market does not look at: a payer's signature beside the same requester's", async () => {
    const { stage } = chainWith(100_000n);
    const callDataOf = async (match: Match) => (await rehearse([match], stage, LIMITS)).ready[0]?.callData;
    expect(await callDataOf(aMatch(1, { payerSignature: 50 }))).to.equal(await callDataOf(aMatch(1)));
    const payer = address(8);
    const paid = await callDataOf(aMatch(1, { payerSignature: 50 }, payer));
    expect(paid).to.contain("ab".repeat(50)).and.to.contain(payer.slice(2));
  });
});

/** A chain on which every match succeeds with so much gas. */
function chainWith(gas: bigint) {
  const asked: (readonly RpcCall[])[] = [];
  const rpc = {
    async requestMany(calls: readonly RpcCall[]) {
      asked.push(calls);
      return calls.map(() => ({ result: `0x${gas.toString(16)}` }));
    },
  };
  const signal = new AbortController().signal;
  const stage = { rpc, market: address(70), from: address(71), abi: [], signal } as unknown as Stage;
  return { stage, asked };
}

/** Of an order whose signatures have so many bytes. */
function aMatch(n: number, sizes: { signature?: number; payerSignature?: number } = {}, payer?: Hex): Match {
  const bytes = (size = 0): Hex => `0x${"ab".repeat(size)}`;
  const order = anOrder(n, payer === undefined ? {} : { payer });
  return {
    order: { ...order, signature: bytes(sizes.signature), payerSignature: bytes(sizes.payerSignature) },
    offers: [],
    price: 0n,
    hold: {
      jobId: order.jobId,
      nodes: [],
      resources: { cpuMilli: 1, memoryMiB: 1, diskMiB: 1, gpus: 0 },
      token: TOKEN,
      bond: 0n,
      payer: order.request.payer,
      spent: 0n,
    },
  };
}
