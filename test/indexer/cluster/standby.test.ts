import { type Hex, jobIdOf } from "@berth/protocol";
import { expect } from "chai";
import { keccak256, stringToBytes } from "viem";
import type { LiveBook } from "../../../indexer/src/book/live-book.ts";
import { type BookFeed, createBookFeed } from "../../../indexer/src/cluster/book-feed.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { openPostgres } from "../../../indexer/src/store/postgres-database.ts";
import { eventually } from "../../support/eventually.ts";
import { openEvents } from "../support/event-stream.ts";
import { startMarket, type TestMarket, type TestNode } from "../support/market.ts";
import { type PostgresServer, startPostgres } from "../support/postgres.ts";
import { log, type RunningIndexer, runIndexer } from "../support/running-indexer.ts";

/** What only the leader writes; orders are everybody's. */
const LED = ["blocks", "logs", "undo", "jobs", "replicas", "nodes", "stakes", "balances", "tries", "batches", "outbox"];

const now = () => Math.floor(Date.now() / 1000);

describe("a replica beside the indexer that leads", () => {
  let server: PostgresServer | undefined;
  let market: TestMarket;
  let node: TestNode;
  let db: Database;
  let feed: BookFeed;
  let leader: RunningIndexer;
  let replica: RunningIndexer;
  before(async function () {
    server = await startPostgres();
    if (server === undefined) this.skip();
    market = await startMarket();
    await market.account("matcher");
    node = await market.node("ada");
    const databaseUrl = server.url;
    leader = await runIndexer(market, { databaseUrl, matcherKey: keccak256(stringToBytes("matcher")) });
    replica = await runIndexer(market, { databaseUrl, role: "replica" });
    db = await openPostgres(databaseUrl, { log });
    feed = await createBookFeed(db, now);
    await db.script(`
      CREATE TABLE writers (relation text NOT NULL, pid int NOT NULL);
      CREATE FUNCTION note_pid() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO writers VALUES (TG_TABLE_NAME, pg_backend_pid()); RETURN NULL; END $$;
      ${LED.map((name) => `CREATE TRIGGER ${name}_pid AFTER INSERT OR UPDATE OR DELETE ON ${name} EXECUTE FUNCTION note_pid();`).join("\n")}
    `);
  });
  after(async () => {
    await replica?.close();
    await leader?.close();
    await db?.close();
    await market?.stop();
    await server?.stop();
  });

  it("says what it is, and how far the tables are", async () => {
    await replica.caughtUp();
    expect((await leader.get("/status")).body).to.include({ role: "leader", state: "following" });
    const { indexed, head, lagBlocks, role } = (await replica.get("/status")).body;
    expect({ role, lagBlocks }).to.deep.equal({ role: "replica", lagBlocks: 0 });
    expect(indexed).to.equal(head);
    expect(await replica.get("/ready")).to.deep.include({
      status: 200,
      body: { ready: true, role: "replica", state: "following", lagBlocks: 0 },
    });
    const metrics = await (await fetch(`${replica.url}/metrics`)).text();
    expect(metrics).to.match(/^berth_indexer_leader 0$/m);
  });

  it("takes orders that the other one matches, and streams what that one commits", async () => {
    const requester = await market.account("rex");
    await market.deposit(requester.address, 100_000n);
    await replica.caughtUp();
    const stream = await openEvents(`${replica.url}/events`);
    const signed = await market.request(requester, { maxPrice: 1000n });
    const jobId = jobIdOf(market.deployment, signed.request);
    expect((await replica.postRequest(signed)).status).to.equal(202);
    expect((await replica.postOffer(await market.offer(node))).status).to.equal(202);
    const { data } = await stream.next(({ event, data }) => event === "jobs" && data.key === jobId);
    stream.close();
    expect(data.row.state).to.equal("matched");
    expect((await replica.get(`/jobs/${jobId}`)).body).to.deep.equal((await leader.get(`/jobs/${jobId}`)).body);
  });

  it("writes what follows from the chain, and the matcher's transactions, on the very session that holds the lock", async () => {
    const locks = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 4207849484 AND granted";
    const [holder] = await db.query<{ pid: number }>(locks);
    const written = await db.query<{ relation: string; pid: number }>("SELECT DISTINCT relation, pid FROM writers");
    expect(written.map(({ pid }) => pid)).to.deep.equal(written.map(() => holder?.pid));
    expect(written.map(({ relation }) => relation)).to.include.members(["blocks", "logs", "jobs", "tries", "outbox"]);
  });

  it("has the book of the one that leads, also after that one rolled blocks back", async () => {
    const requester = await market.account("sue");
    await market.deposit(requester.address, 5_000n);
    const snapshot = await market.anvil.call("evm_snapshot");
    await market.stake(node.operator.address, 77n);
    const before = await openRequest(requester);
    await leader.caughtUp();
    await market.anvil.call("evm_revert", [snapshot]);
    for (let i = 0; i < 3; i++) await market.pass(i + 1);
    await market.deposit(requester.address, 3n);
    await leader.caughtUp();
    const after = await openRequest(requester);
    await feed.catchUp({ now: true });
    const fresh = (await createBookFeed(db, now)).live;
    const accounts = [node.operator.address, requester.address];
    expect(contentOf(feed.live, accounts)).to.deep.equal(contentOf(fresh, accounts));
    expect(contentOf(fresh, accounts)).to.deep.include({ open: [after, before].toSorted(), offers: 1 });
    expect(fresh.book.balance(requester.address.toLowerCase() as Hex, market.token)).to.equal(5_003n);
    for (const { url } of [leader, replica]) {
      await eventually(`${url} has both requests`, async () => {
        const { offers, requests } = await (await fetch(`${url}/status`)).json();
        return offers === 1 && requests === 2;
      });
    }
  });

  it("is led again by the same one, when every connection to the database was cut", async () => {
    const sessions = "SELECT pid FROM pg_stat_activity WHERE application_name = 'berth-indexer leader'";
    const leading = async () => (await leader.get("/status")).body.role === "leader";
    const before = await db.query<{ pid: number }>(sessions);
    await db.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
    );
    await eventually("it leads with another connection", async () => {
      const [session] = await db.query<{ pid: number }>(sessions);
      return session !== undefined && session.pid !== before[0]?.pid && (await leading());
    });
    await market.stake(node.operator.address, 5n);
    await leader.caughtUp();
    await replica.caughtUp();
    const requester = await market.account("tom");
    await market.deposit(requester.address, 100_000n);
    await replica.caughtUp();
    await leader.caughtUp();
    const signed = await market.request(requester, { maxPrice: 1000n });
    expect((await replica.postRequest(signed)).status).to.equal(202);
    await eventually("the job is matched", async () => {
      const { body } = await replica.get(`/jobs/${jobIdOf(market.deployment, signed.request)}`);
      return body.state === "matched";
    });
  });

  /** One that no offer can serve; its job. */
  async function openRequest(requester: Awaited<ReturnType<TestMarket["account"]>>): Promise<Hex> {
    const signed = await market.request(requester, { maxPrice: 1000n, memoryMiB: 99_999 });
    expect((await replica.postRequest(signed)).status).to.equal(202);
    return jobIdOf(market.deployment, signed.request);
  }

  function contentOf(live: LiveBook, accounts: readonly Hex[]) {
    const { book } = live;
    return {
      offers: [...book.offers()].length,
      hashes: [...book.offers()].map(({ offerHash }) => offerHash).toSorted(),
      open: live
        .openRequests(now())
        .map(({ jobId }) => jobId as Hex)
        .toSorted(),
      node: book.node(node.operator.address.toLowerCase() as Hex, 0),
      accounts: accounts.map((account) => {
        const lower = account.toLowerCase() as Hex;
        const { free, locked } = book.stake(lower, market.token);
        return [free, locked, book.balance(lower, market.token), book.accepts(lower)];
      }),
    };
  }
});
