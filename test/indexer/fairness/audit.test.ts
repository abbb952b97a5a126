import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type Hex, jobIdOf, jobMarketAbi } from "@berth/protocol";
import { expect } from "chai";
import { execa } from "execa";
import { keccak256, parseEther, stringToBytes } from "viem";
import { type PrivateKeyAccount, privateKeyToAccount } from "viem/accounts";
import { audit, type SentCall } from "../../../indexer/src/fairness/audit.ts";
import { rootIn } from "../../../indexer/src/fairness/published.ts";
import type { Snapshot } from "../../../indexer/src/fairness/read-snapshot.ts";
import { isIncluded, rootOfLeaves } from "../../../indexer/src/fairness/snapshot.ts";
import { leavesOf, snapshotOf } from "../../../indexer/src/fairness/snapshots.ts";
import { createEngine } from "../../../indexer/src/match/engine.ts";
import type { Match } from "../../../indexer/src/match/match.ts";
import type { MatcherOptions } from "../../../indexer/src/match/matcher.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { lastTry } from "../../../indexer/src/store/orders.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { eventually } from "../../support/eventually.ts";
import { newDataFolder } from "../support/data-folder.ts";
import { startLoneMatcher, storeOffer } from "../support/lone-matcher.ts";
import { startMarket, type TestMarket } from "../support/market.ts";
import { runIndexer } from "../support/running-indexer.ts";

const MAIN = join(import.meta.dirname, "..", "..", "..", "indexer", "src", "main.ts");
/** A busy machine takes its time. */
const BUSY_MS = 30_000;
const ROOMY = { cpuMilli: 10 ** 6, memoryMiB: 10 ** 6, diskMiB: 10 ** 6 };

describe("audit", function () {
  this.timeout(120_000);
  let market: TestMarket;
  let folder: string;
  let db: Database;
  let matcher: PrivateKeyAccount;
  let cheap: Hex;
  let dear: Hex;
  before(async () => {
    market = await startMarket();
    folder = await newDataFolder();
    db = await openPglite(folder);
    await migrate(db);
    const nodes = [await market.node("cheap"), await market.node("middle"), await market.node("dear")] as const;
    for (const node of nodes) await market.setLimits(node, { maxActive: 100, ...ROOMY });
    cheap = await storeOffer(market, db, nodes[0], { ...ROOMY, baseCharge: 5n });
    await storeOffer(market, db, nodes[1], { ...ROOMY, baseCharge: 50n });
    dear = await storeOffer(market, db, nodes[2], { ...ROOMY, baseCharge: 900n });
    matcher = privateKeyToAccount(keccak256(stringToBytes("watched")));
    await market.anvil.call("anvil_setBalance", [matcher.address, `0x${parseEther("10").toString(16)}`]);
  });
  after(async () => {
    await db?.close();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    await market?.stop();
  });

  it("finds nothing against a matcher that takes the cheapest, in a batch and alone", async () => {
    const batch = await matchedBy(undefined, ["ann", "bob"]);
    const verdict = audit(batch.sent, market.deployment, batch.snapshot);
    expect(verdict.findings).to.deep.equal([]);
    expect(verdict.jobs).to.have.members(batch.jobs);
    const alone = await matchedBy(undefined, ["cat"]);
    expect(audit(alone.sent, market.deployment, alone.snapshot)).to.deep.include({
      findings: [],
      jobs: alone.jobs,
    });
    expect(rootIn(alone.sent.input)).to.not.equal(rootIn(batch.sent.input));
    expect(rootOfLeaves(batch.snapshot.roundText, await allLeaves(rootIn(batch.sent.input) as Hex))).to.equal(
      rootIn(batch.sent.input),
    );
    const [{ leaves }] = (await db.query(
      "SELECT count(*)::int AS leaves FROM snapshot_leaves WHERE hex(offer_hash) = $1",
      [dear],
    )) as [{ leaves: number }];
    expect(leaves).to.equal(1); // nothing happened to it, so it is stored once for both
  });

  /** Decides as if the cheapest offer were not there. */
  const partial: MatcherOptions["makeEngine"] = (book, refusals) =>
    createEngine(book, {
      ...refusals,
      barsOffer: (jobId, view, request, offer) =>
        offer.offerHash === cheap || refusals.barsOffer(jobId, view, request, offer),
    });

  it("names the cheaper offer that a matcher skipped, with the proof that the matcher saw it", async () => {
    const { sent, snapshot, jobs } = await matchedBy(partial, ["dot"]);
    const { root, findings } = audit(sent, market.deployment, snapshot);
    const [finding] = findings;
    expect(findings).to.have.length(1);
    expect(finding).to.include({ jobId: jobs[0], price: 114n, fairPrice: 69n });
    expect(finding?.sentence).to.contain(`skipped ${cheap} for 69`);
    const [skipped] = finding?.skipped ?? [];
    const shown = { roundText: snapshot.roundText, offers: snapshot.leaves.length };
    const { leaf = "", proof = { place: 0, siblings: [] } } = skipped ?? {};
    expect(isIncluded(root, { ...shown, leaf, proof })).to.equal(true);
    expect(isIncluded(root, { ...shown, leaf: leaf.replace(/"seq":\d+/, '"seq":999'), proof })).to.equal(false);
  });

  it("refuses a snapshot that was not published, and a transaction that carries none", async () => {
    const { sent, snapshot } = await matchedBy(undefined, ["eli"]);
    const without = { ...snapshot, leaves: snapshot.leaves.slice(1) };
    expect(() => audit(sent, market.deployment, without)).to.throw("it does not come to the published root");
    const bare = { ...sent, input: sent.input.slice(0, -76) as Hex };
    expect(() => audit(bare, market.deployment, snapshot)).to.throw("carries the root of a snapshot");
  });

  it("says over the indexer's API, and by its exit code, who was fair", async () => {
    const fair = await matchedBy(undefined, ["fay"]);
    const unfair = await matchedBy(partial, ["gil"]);
    const { address: stranger } = await market.account("stranger");
    const copy = { from: stranger, to: market.deployment.market, data: fair.sent.input, gas: "0x1e8480" };
    const copied: Hex = await market.anvil.call("eth_sendTransaction", [copy]);
    await db.close();
    const indexer = await runIndexer(market, { dataFolder: folder });
    try {
      const run = (transaction: Hex) =>
        execa(
          process.execPath,
          [MAIN, "audit", transaction, "--rpc", market.anvil.url, "--indexer", indexer.url, "--json"],
          { reject: false },
        );
      const [good, bad, none, strange] = await Promise.all([
        run(fair.transaction),
        run(unfair.transaction),
        run(`0x${"ab".repeat(32)}`),
        run(copied),
      ]);
      const codes = [good, bad, none, strange].map(({ exitCode }) => exitCode);
      expect(codes, `${good.stderr}${bad.stderr}`).to.deep.equal([0, 1, 2, 2]);
      const { blockHash } = await market.chain.getTransactionReceipt({ hash: fair.transaction });
      const minedAt = Number((await market.chain.getBlock({ blockHash })).timestamp);
      const decidedFor = JSON.parse(fair.snapshot.roundText).now;
      expect(JSON.parse(good.stdout)).to.deep.include({ jobs: fair.jobs, findings: [], decidedFor, minedAt });
      const { root, findings } = JSON.parse(bad.stdout);
      const [{ leaf, proof }] = findings[0].skipped;
      const { body } = await indexer.get(`/snapshots/${root}/offers/${cheap}`);
      expect(body).to.deep.equal({ leaf, ...proof, offers: 3 });
      expect(JSON.parse(none.stdout).error.code).to.equal("TRANSACTION_UNKNOWN");
      expect(JSON.parse(strange.stdout).error.code).to.equal("NOT_THE_MATCHER");
      expect((await indexer.get(`/snapshots/${root}/offers/0x${"12".repeat(32)}`)).body.code).to.equal(
        "OFFER_NOT_IN_SNAPSHOT",
      );
      expect((await indexer.get(`/snapshots/0x${"12".repeat(32)}`)).body.code).to.equal("SNAPSHOT_UNKNOWN");
    } finally {
      await indexer.close();
      db = await openPglite(folder);
    }
  });

  it("keeps nothing of matches that were tried and not sent", async () => {
    const kept = async () => (await db.query<{ n: number }>("SELECT count(*)::int AS n FROM snapshots"))[0]?.n;
    const before = await kept();
    const forged: Hex = `0x${"11".repeat(65)}`;
    const unsigned: MatcherOptions["makeEngine"] = (book, refusals) => {
      const { decide } = createEngine(book, refusals);
      const forge = (match: Match) => ({
        ...match,
        offers: match.offers.map((offer) => ({ ...offer, signature: forged })),
      });
      return { asked: 0, decide: (round) => decide(round).map(forge) };
    };
    const jobId = await postBy("hal");
    const lone = await startLoneMatcher(market, db, matcher, { makeEngine: unsigned });
    try {
      const refused = async () => (await lastTry(db.query, jobId))?.state === "failed" || undefined;
      await eventually("its match is refused", refused, BUSY_MS);
    } finally {
      await lone.stop();
    }
    expect(await kept()).to.equal(before);
  });

  /** Lets a matcher match posted requests of these people in one transaction, and gives that with its snapshot. */
  async function matchedBy(makeEngine: MatcherOptions["makeEngine"], names: string[]) {
    const jobs: Hex[] = [];
    for (const name of names) jobs.push(await postBy(name));
    const lone = await startLoneMatcher(market, db, matcher, makeEngine === undefined ? {} : { makeEngine });
    try {
      const transactions = await eventually(
        "the jobs are matched",
        async () => {
          const found = await Promise.all(jobs.map((jobId) => lastTry(db.query, jobId)));
          return found.every((row) => row?.state === "done") && found.map((row) => row?.transaction as Hex);
        },
        BUSY_MS,
      );
      expect(new Set(transactions).size).to.equal(1);
      const sent: SentCall = await market.anvil.call("eth_getTransactionByHash", [transactions[0]]);
      const root = rootIn(sent.input) as Hex;
      const found = await snapshotOf(db.query, root);
      const snapshot: Snapshot = { roundText: found?.text ?? "", leaves: await allLeaves(root) };
      return { transaction: transactions[0] as Hex, sent, snapshot, jobs };
    } finally {
      await lone.stop();
    }
  }

  async function postBy(name: string): Promise<Hex> {
    const person = await market.account(name);
    await market.deposit(person.address, 100_000n);
    const { request } = await market.request(person, { maxPrice: 10_000n });
    await market.send(person.address, market.deployment.market, jobMarketAbi, "post", [request, "0x", "0x"]);
    return jobIdOf(market.deployment, request);
  }

  async function allLeaves(root: Hex): Promise<string[]> {
    const found = await snapshotOf(db.query, root);
    return leavesOf(db.query, found?.round ?? -1, undefined);
  }
});
