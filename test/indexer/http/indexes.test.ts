import { rm } from "node:fs/promises";
import { expect } from "chai";
import type { ApiContext, Route } from "../../../indexer/src/http/route.ts";
import { listJobs } from "../../../indexer/src/http/routes/jobs.ts";
import { listOffers } from "../../../indexer/src/http/routes/offers.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { newDataFolder } from "../support/data-folder.ts";

const JOBS = 20_000;
const OFFERS = 4_000;
const rare = (digits: number) => `0x${"7".repeat(digits)}`;

describe("lists of many rows", () => {
  let folder: string;
  let db: Database;
  before(async () => {
    folder = await newDataFolder();
    db = await openPglite(folder);
    await migrate(db);
    // One row in a thousand is what is asked for.
    await db.query(
      `INSERT INTO jobs (job_id, state, token, spent, open_replicas, posted_at, first_block, first_log)
       SELECT decode(lpad(to_hex(n), 64, '0'), 'hex'), 'posted',
         decode(CASE WHEN n % 1000 = 7 THEN repeat('77', 20) ELSE repeat('aa', 20) END, 'hex'), n, 0, 1000 + n, n, 0
       FROM generate_series(1, ${JOBS}) n`,
    );
    await db.query(
      `INSERT INTO offers (offer_hash, received_at_ms, signer, operator, index, token, expires_at, slot, signature, offer)
       SELECT decode(lpad(to_hex(n), 64, '0'), 'hex'), 0, '\\xaa', decode(lpad(to_hex(n), 40, '0'), 'hex'), 0,
         decode(CASE WHEN r THEN repeat('77', 20) ELSE repeat('aa', 20) END, 'hex'), 4000000000, n::text, '\\xaa',
         jsonb_build_object('requester', '0x00', 'epoch', 1, 'traits', '0',
           'cpuMilli', CASE WHEN r THEN 64000 ELSE n % 8000 END, 'memoryMiB', CASE WHEN r THEN 900000 ELSE n % 8000 END,
           'diskMiB', CASE WHEN r THEN 900000 ELSE n % 8000 END, 'gpus', CASE WHEN r THEN 8 ELSE 0 END,
           'gpuModel', '0x' || repeat(CASE WHEN r THEN '7' ELSE '0' END, 64),
           'region', '0x' || repeat(CASE WHEN r THEN '7' ELSE '1' END, 64))
       FROM (SELECT n, n % 1000 = 7 AS r FROM generate_series(1, ${OFFERS}) n) rows`,
    );
    await db.query(
      `INSERT INTO nodes (operator, index, key, valid_to, key_version, wg_endpoint, content_url, profile_cid, revoked, epoch,
         active, cpu_milli, memory_mib, disk_mib, gpus, declined_at, touched)
       SELECT operator, index, signer, 4000000000, 1, '', '', '', false, 1, 0, 0, 0, 0, 0, 0, false FROM offers`,
    );
    await db.query("ANALYZE");
  });
  after(async () => {
    await db?.close();
    await rm(folder, { recursive: true, force: true });
  });

  const asked: [Route, string, string][] = [
    [listJobs, `token=${rare(40)}`, "jobs_token"],
    [listJobs, "since=9000&until=9010", "jobs_time"],
    [listJobs, "until=1100", "jobs_time"],
    [listOffers, `token=${rare(40)}`, "offers_token"],
    [listOffers, `region=${rare(64)}`, "offers_region"],
    [listOffers, `gpuModel=${rare(64)}`, "offers_gpu_model"],
    [listOffers, "cpuMilli=64000", "offers_cpu"],
    [listOffers, "memoryMiB=900000", "offers_memory"],
    [listOffers, "diskMiB=900000", "offers_disk"],
    [listOffers, "gpus=1", "offers_gpus"],
  ];
  for (const [route, query, index] of asked) {
    it(`are found by ${route.path}?${query.slice(0, 30)} with the index ${index}`, async () => {
      const plan = await planOf(route, query);
      expect(plan).to.contain(index);
      expect(plan).to.not.match(/Seq Scan on (jobs|offers)/);
    });
  }

  it("are not read from the newest on to find old ones", async () => {
    const plan = await planOf(listJobs, "until=11000");
    expect(plan).to.match(/Index Scan Backward using jobs_order.*\n.*Index Cond: .*first_block <= /);
  });

  /** The plan of the statement that `query` makes. */
  async function planOf(route: Route, query: string): Promise<string> {
    const plans: string[] = [];
    const recording: Database["query"] = async <Row>(sql: string, params?: readonly unknown[]) => {
      const plan = await db.query<Record<string, string>>(`EXPLAIN ${sql}`, params);
      plans.push(plan.map((row) => row["QUERY PLAN"]).join("\n"));
      return db.query<Row>(sql, params);
    };
    const context = { db: { ...db, query: recording }, matcher: undefined, now: () => 0 } as unknown as ApiContext;
    const input = { query: route.query?.parse(Object.fromEntries(new URLSearchParams(query))) };
    await route.handle(input as never, context);
    expect(plans).to.have.length(1);
    return plans[0] ?? "";
  }
});
