import { expect } from "chai";
import { type Candidate, createCandidate, type Lease } from "../../../indexer/src/cluster/lease.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { openPostgres } from "../../../indexer/src/store/postgres-database.ts";
import { type PostgresServer, startPostgres } from "../support/postgres.ts";
import { log } from "../support/running-indexer.ts";

describe("the lease of the leader", () => {
  let server: PostgresServer | undefined;
  let outside: Database;
  let [ada, bob]: Candidate[] = [];
  let held: (Lease | undefined)[] = [];
  before(async function () {
    server = await startPostgres();
    if (server === undefined) this.skip();
    outside = await openPostgres(server.url, { log });
    await outside.script("CREATE TABLE written (by text NOT NULL)");
  });
  after(async () => {
    await outside?.close();
    await server?.stop();
  });
  beforeEach(() => {
    [ada, bob] = [createCandidate(server?.url ?? ""), createCandidate(server?.url ?? "")];
    held = [];
  });
  afterEach(async () => {
    for (const lease of held) await lease?.close();
    await ada?.close();
    await bob?.close();
    await outside.script("TRUNCATE written");
  });
  const lead = async (candidate: Candidate | undefined) => {
    const lease = await candidate?.tryToLead();
    held.push(lease);
    return lease;
  };
  const written = async () => (await outside.query<{ by: string }>("SELECT by FROM written")).map(({ by }) => by);
  const cutOff = (pid: number) => outside.query("SELECT pg_terminate_backend($1::int)", [pid]);

  it("is one program's at a time, and the next one's when it is given back", async () => {
    const first = await lead(ada);
    expect(first).not.to.equal(undefined);
    expect(await lead(bob)).to.equal(undefined);
    await first?.close();
    expect(await lead(bob)).not.to.equal(undefined);
  });

  it("writes on the session that holds the lock: one that was cut off commits nothing more, and says so", async () => {
    const first = await lead(ada);
    let next: Lease | undefined;
    const late = first?.db.transaction(async (query) => {
      await query("INSERT INTO written VALUES ('ada')");
      const [own] = await query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
      await cutOff(own?.pid ?? 0);
      // The other leads while the first one still believes that it does, and is in the middle of its work.
      while (next === undefined) next = await lead(bob);
      await next.db.transaction((write) => write("INSERT INTO written VALUES ('bob')"));
    });
    expect(await late?.catch((error: unknown) => error)).to.be.an("error");
    expect(first?.lost.aborted).to.equal(true);
    expect(await first?.db.query("INSERT INTO written VALUES ('ada')").catch((error: unknown) => error)).to.be.an(
      "error",
    );
    expect(await written()).to.deep.equal(["bob"]);
    expect(next?.lost.aborted).to.equal(false);
  });

  it("keeps statements of others out of a transaction", async () => {
    const lease = await lead(ada);
    let beside: Promise<unknown> | undefined;
    const failed = lease?.db.transaction(async (query) => {
      await query("INSERT INTO written VALUES ('undone')");
      beside = lease.db.query("INSERT INTO written VALUES ('beside')");
      await query("SELECT 1");
      throw new Error("undo this");
    });
    expect(await failed?.catch((error: Error) => error.message)).to.equal("undo this");
    await beside;
    expect(await written()).to.deep.equal(["beside"]);
    expect(lease?.lost.aborted).to.equal(false);
  });
});
