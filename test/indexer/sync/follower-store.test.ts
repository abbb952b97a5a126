import { rm } from "node:fs/promises";
import {
  connectRpc,
  type FollowedBlock,
  type FollowerStore,
  type FollowStep,
  followChain,
  type RawLog,
} from "@berth/chain";
import { type Address, type Deployment, type Hex, jobMarketAbi } from "@berth/protocol";
import { expect } from "chai";
import { encodeAbiParameters, encodeEventTopics } from "viem";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { selectRows } from "../../../indexer/src/store/rows.ts";
import { acceptances } from "../../../indexer/src/store/tables.ts";
import { createFollowerStore, WINDOW } from "../../../indexer/src/sync/follower-store.ts";
import { startAnvil } from "../../support/anvil.ts";
import { newDataFolder } from "../support/data-folder.ts";
import { log } from "../support/running-indexer.ts";

const account = (digit: number) => `0x${String(digit).repeat(40)}` as Address;
const [identity, staking, market, operator, what] = [1, 2, 3, 4, 5].map(account) as [
  Address,
  Address,
  Address,
  Address,
  Address,
];
const deployment: Deployment = { chainId: 31337, fromBlock: 1, identity, staking, market, tokens: [] };

describe("follower store", () => {
  let folder: string;
  let db: Database;
  beforeEach(async () => {
    folder = await newDataFolder();
    db = await openPglite(folder);
    await migrate(db);
  });
  afterEach(async () => {
    await db?.close();
    await rm(folder, { recursive: true, force: true });
  });

  const store = () => createFollowerStore({ db, deployment, onCommitted: () => {} });
  const accepted = async () => (await selectRows(db.query, acceptances)).map((row) => row.accepted);

  it("puts back what an event replaced that says everything itself, also when it was read in an earlier step", async () => {
    const { apply } = store();
    await apply(blocks([acceptance(10, true)]));
    await apply(blocks([acceptance(11, false), acceptance(12, false)]));
    expect(await accepted()).to.deep.equal([false]);
    await apply({ type: "rollback", to: ref(10) });
    expect(await accepted()).to.deep.equal([true]);
  });

  it("writes, replaces and puts back many rows of a step as it does few", async () => {
    const { apply } = store();
    const many = (number: number, accepted: boolean, from: number, to: number): FollowedBlock => {
      const block = acceptance(number, accepted);
      const logs = Array.from({ length: to - from }, (_, i) => ({
        ...acceptanceLog(number, accepted, `0x${(from + i).toString(16).padStart(40, "0")}`),
        logIndex: i,
      }));
      return { ...block, logs };
    };
    const all = async () =>
      (await selectRows(db.query, acceptances, "ORDER BY t.what")).map((row) => [row.what, row.accepted]);
    await apply(blocks([many(10, true, 0, 100)]));
    const first = await all();
    await apply(blocks([many(11, false, 50, 250), many(12, true, 240, 260)]));
    const second = await all();
    expect([first.length, second.length]).to.deep.equal([100, 260]);
    expect(second.map(([, accepted]) => accepted)).to.deep.equal(
      Array.from({ length: 260 }, (_, i) => i < 50 || i >= 240),
    );
    await apply({ type: "rollback", to: ref(10) });
    expect(await all()).to.deep.equal(first);
    await apply(blocks([many(11, false, 50, 250), many(12, true, 240, 260)]));
    expect(await all()).to.deep.equal(second);
  });

  it("writes every byte of a log", async () => {
    const block = acceptance(10, true);
    await store().apply(blocks([block]));
    const [log] = block.logs as [RawLog];
    expect(
      await db.query(
        `SELECT block_number::int AS number, log_index::int AS index, hex(block_hash) AS hash, timestamp::int AS time,
                hex(transaction_hash) AS tx, transaction_index::int AS at, hex(address) AS address,
                hex(topics) AS topics, hex(data) AS data FROM logs`,
      ),
    ).to.deep.equal([
      {
        ...{ number: 10, index: log.logIndex, hash: block.hash, time: block.timestamp, tx: log.transactionHash },
        ...{ at: log.transactionIndex, address: log.address, data: log.data },
        topics: `0x${log.topics.map((topic) => topic.slice(2)).join("")}`,
      },
    ]);
  });

  it("refuses to go back to a block whose successors it could not undo, and changes nothing", async () => {
    const { apply, recentBlocks } = store();
    const safe = 20 + WINDOW;
    await apply(blocks([acceptance(10, true), acceptance(20, false)], safe));
    expect(await recentBlocks()).to.deep.equal([ref(20)]);
    for (const to of [ref(10), { ...ref(20), hash: hash(99) }]) {
      const error = await apply({ type: "rollback", to })?.catch((thrown: unknown) => thrown);
      expect(error).to.include({ code: "REORG_TOO_DEEP" });
    }
    expect(await accepted()).to.deep.equal([false]);
  });

  it("knows no block below one that it cannot undo: the end of an earlier range, or what it followed before it was away", async () => {
    const { apply, recentBlocks } = store();
    const knows = async () => (await recentBlocks()).map(({ number }) => number);
    const undoable = async () =>
      (await db.query<{ n: number }>("SELECT DISTINCT block_number::int AS n FROM undo ORDER BY n")).map(({ n }) => n);
    await apply(blocks([acceptance(10, true), acceptance(11, false)], 12));
    await apply(blocks([acceptance(20, true)], 20 + WINDOW));
    expect([await knows(), await undoable()]).to.deep.equal([[20], []]);
    await apply(blocks([acceptance(30, false)], 30 + WINDOW));
    expect(await knows()).to.deep.equal([30]);

    const all = async () => [
      await accepted(),
      await knows(),
      await db.query("SELECT * FROM logs ORDER BY block_number"),
    ];
    const before = await all();
    for (const to of [10, 20]) {
      const error = await apply({ type: "rollback", to: ref(to) })?.catch((thrown: unknown) => thrown);
      expect(error).to.include({ code: "REORG_TOO_DEEP" });
    }
    expect(await all()).to.deep.equal(before);

    await apply(blocks([acceptance(31, true), acceptance(32, false)]));
    await apply({ type: "rollback", to: ref(30) });
    expect([await accepted(), await knows(), await undoable()]).to.deep.equal([[false], [30], []]);
  });

  it("keeps, of a step that reaches into the window, only blocks from the first one on that it can undo", async () => {
    const { apply, recentBlocks } = store();
    await apply(blocks([acceptance(5, true)], 5 + WINDOW));
    await apply(blocks([acceptance(9, false), acceptance(10, true), acceptance(11, false)], 9 + WINDOW));
    expect(await recentBlocks()).to.deep.equal([ref(11), ref(10)]);
    await apply({ type: "rollback", to: ref(10) });
    expect(await accepted()).to.deep.equal([true]);
  });

  it("stops the follower when the chain changes below a range while it catches up, and again after a restart", async function () {
    this.timeout(30_000);
    const anvil = await startAnvil();
    const stop = new AbortController();
    try {
      const rpc = await connectRpc({ urls: [anvil.url], log });
      const { recentBlocks, apply } = store();
      const steps: FollowStep[] = [];
      const changeAfter: FollowerStore = {
        recentBlocks,
        async apply(step) {
          await apply(step);
          if (steps.push(step) > 3) stop.abort();
          if (steps.length !== 3) return;
          await anvil.call("evm_revert", [fork]);
          await anvil.call("anvil_mine", ["0xfb", "0x7"]);
        },
      };
      const follow = () =>
        followChain({
          ...{ rpc, addresses: [market], fromBlock: 1, confirmations: 0, store: changeAfter },
          ...{ signal: stop.signal, log, pollMs: 5, maxRange: 100, windowSize: WINDOW },
        }).done.catch((thrown: unknown) => thrown);
      await anvil.call("anvil_mine", ["0xfa"]); // 250: two ranges and a half
      const fork = await anvil.call("evm_snapshot");
      await anvil.call("anvil_mine", ["0xfa"]);
      expect(await follow()).to.include({ code: "REORG_TOO_DEEP" });
      expect(await follow()).to.include({ code: "REORG_TOO_DEEP" });
      expect(steps.map(({ type }) => type)).to.deep.equal(["blocks", "blocks", "blocks"]);
      expect((await recentBlocks()).map(({ number }) => number)).to.deep.equal([300]);
    } finally {
      stop.abort();
      await anvil.stop();
    }
  });
});

function blocks(list: FollowedBlock[], safe = list.at(-1)?.number ?? 0): FollowStep {
  return { type: "blocks", blocks: list, head: safe, safe };
}

function acceptance(number: number, accepted: boolean): FollowedBlock {
  const logs = [acceptanceLog(number, accepted)];
  return { ...ref(number), parentHash: hash(number - 1), timestamp: 1_700_000_000 + number, logs };
}

function acceptanceLog(number: number, accepted: boolean, of: Address = what): RawLog {
  const topics = encodeEventTopics({ abi: jobMarketAbi, eventName: "AcceptanceSet", args: { operator, what: of } });
  return {
    address: market,
    topics: topics as Hex[],
    data: encodeAbiParameters([{ type: "bool" }], [accepted]),
    blockNumber: number,
    blockHash: hash(number),
    transactionHash: hash(1000 + number),
    transactionIndex: 3,
    logIndex: 7,
  };
}

function ref(number: number) {
  return { number, hash: hash(number) };
}

function hash(number: number): Hex {
  return `0x${number.toString(16).padStart(64, "0")}`;
}
