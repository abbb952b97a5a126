import { rm } from "node:fs/promises";
import type { ErrorJson, Hex } from "@berth/protocol";
import { expect } from "chai";
import { REFUSAL_MS } from "../../../indexer/src/match/refusals.ts";
import { endBatch, loadTries, type NewTry, recordBatch, recordRefused } from "../../../indexer/src/match/tries.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { tries } from "../../../indexer/src/store/orders.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { selectRows } from "../../../indexer/src/store/rows.ts";
import { newDataFolder } from "../support/data-folder.ts";

const error: ErrorJson = { code: "REVERTED", message: "No.", retryable: false };
const bar = { kind: "alone" } as const;

describe("recordRefused", () => {
  let folder: string;
  let db: Database;
  before(async () => {
    folder = await newDataFolder();
    db = await openPglite(folder);
    await migrate(db);
  });
  after(async () => {
    await db?.close();
    await rm(folder, { recursive: true, force: true });
  });

  it("keeps what still counts and the last one of a job, and no call that was never sent", async () => {
    await refuse(1, 1000);
    await refuse(2, 1000);
    await refuse(1, 2000);
    expect(await kept(1)).to.deep.equal([
      [1, 1000, "0x"],
      [2, 2000, "0x"],
    ]);
    await refuse(1, 1500 + REFUSAL_MS);
    expect(await kept(1)).to.deep.equal([
      [2, 2000, "0x"],
      [3, 1500 + REFUSAL_MS, "0x"],
    ]);
    expect(await kept(2)).to.deep.equal([[1, 1000, "0x"]]);
  });

  it("keeps what was sent, however old, and counts on from it", async () => {
    const sent = { atMs: 1, callData: null, gasLimit: null, gasCost: 1n };
    const { outboxKey } = await recordBatch(db, [aTry(3)], sent);
    await endBatch(db, outboxKey, [{ jobId: id(3), state: "failed", error, bar }], { hash: id(9), gasCost: 1n });
    await recordBatch(db, [aTry(3)], { ...sent, atMs: 2 });
    await refuse(3, 3 + REFUSAL_MS);
    await refuse(3, 4 + 2 * REFUSAL_MS);
    expect(await kept(3)).to.deep.equal([
      [1, 1, "0x1234"],
      [2, 2, "0x1234"],
      [4, 4 + 2 * REFUSAL_MS, "0x"],
    ]);
    expect((await loadTries(db.query, { now: 0, sinceMs: 0 })).map(({ attempt }) => attempt)).to.deep.equal([2]);
  });

  function refuse(n: number, atMs: number) {
    return recordRefused(db, [{ ...aTry(n), error, bar }], atMs);
  }

  async function kept(n: number) {
    const rows = await selectRows(db.query, tries, "WHERE t.job_id = unhex($1) ORDER BY t.attempt", [id(n)]);
    return rows.map(({ attempt, atMs, callData }) => [attempt, atMs, callData]);
  }
});

function id(n: number): Hex {
  return `0x${n.toString(16).padStart(64, "0")}`;
}

function aTry(n: number): NewTry {
  const resources = { cpuMilli: 1, memoryMiB: 1, diskMiB: 1, gpus: 0 };
  const hold = { jobId: id(n), nodes: [], resources, token: id(8), bond: 0n, payer: id(8), spent: 0n };
  return { jobId: id(n), offers: [], callData: "0x1234", hold, tipWorth: 0n };
}
