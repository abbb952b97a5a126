import { rm } from "node:fs/promises";
import type { Address, Hex } from "@berth/protocol";
import { expect } from "chai";
import {
  affordable,
  DEFAULT_GAS_POLICY,
  type GasPolicy,
  parseTipWorth,
  worthOfTip,
} from "../../../indexer/src/match/gas-policy.ts";
import { endBatch, givenToday, recordBatch } from "../../../indexer/src/match/tries.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { aRequest } from "../../support/orders.ts";
import { newDataFolder } from "../support/data-folder.ts";

const TOKEN: Address = "0x00000000000000000000000000000000000000aa";
const OTHER: Address = "0x00000000000000000000000000000000000000bb";
const DAY_MS = 86_400_000;

describe("parseTipWorth", () => {
  it("reads tokens and decimals, and a tip is worth that much, rounded down", () => {
    const policy = {
      ...DEFAULT_GAS_POLICY,
      tipWorthX18: parseTipWorth([`${TOKEN.toUpperCase().replace("X", "x")}=0.5`]),
    };
    expect(worthOfTip(policy, aRequest({ token: TOKEN, matcherTip: 7n }))).to.equal(3n);
    expect(worthOfTip(policy, aRequest({ token: OTHER, matcherTip: 7n }))).to.equal(0n);
  });

  for (const wrong of [TOKEN, `${TOKEN}=`, `${TOKEN}=-1`, "0x12=1", `${TOKEN}=0.1234567890123456789`]) {
    it(`refuses ${wrong}`, () => {
      expect(() => parseTipWorth([wrong])).to.throw("does not say what a tip is worth");
    });
  }
});

describe("affordable", () => {
  const item = (mostCost: bigint, worth: bigint) => ({ mostCost, worth });

  it("lets through what its tip pays for, though nothing is given", () => {
    const [paid, short] = [item(10n, 10n), item(10n, 9n)];
    const none = { ...DEFAULT_GAS_POLICY, givenPerDay: 0n };
    expect(affordable([short, paid], none, 0n)).to.deep.equal({ paid: [paid], short: [short], isDayOver: false });
  });

  it("gives what is missing, in order, as long as enough is left", () => {
    const [first, large, last] = [item(10n, 4n), item(10n, 0n), item(4n, 0n)];
    const policy = { ...DEFAULT_GAS_POLICY, givenPerDay: 12n };
    const { paid, short } = affordable([first, large, last], policy, 2n);
    expect({ paid, short }).to.deep.equal({ paid: [first, last], short: [large] });
  });

  it("pays for nothing more, whatever its tip, when what may be given and what may be lost are both gone", () => {
    const rich = item(10n, 10n);
    const policy = { ...DEFAULT_GAS_POLICY, givenPerDay: 5n, lostPerDay: 3n };
    const onceGiven = (given: bigint, told: GasPolicy = policy) => affordable([rich], told, given);
    expect(onceGiven(7n)).to.deep.equal({ paid: [rich], short: [], isDayOver: false });
    for (const given of [8n, 9n]) expect(onceGiven(given)).to.deep.equal({ paid: [], short: [rich], isDayOver: true });

    const { lostPerDay: _, ...silent } = { ...policy, givenPerDay: 0n };
    expect([10n ** 17n - 1n, 10n ** 17n].map((given) => onceGiven(given, silent).isDayOver)).to.deep.equal([
      false,
      true,
    ]);
    const strict = { ...silent, lostPerDay: 0n };
    expect([0n, 1n].map((given) => onceGiven(given, strict).isDayOver)).to.deep.equal([false, true]);
  });
});

describe("givenToday", () => {
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

  it("sums what no tip pays for: the most that is under way can cost, then what it did, with the tips earned only", async () => {
    const atMs = 5 * DAY_MS + 1;
    const given = () => givenToday(db.query, atMs + 10);
    const batch = (gasCost: bigint, at = atMs) => ({ atMs: at, callData: null, gasLimit: null, gasCost });
    await recordBatch(db, [aTry(9, 0n)], batch(1000n, atMs - 2)); // yesterday
    const { outboxKey } = await recordBatch(db, [aTry(1, 30n), aTry(2, 50n)], batch(100n));
    const rich = await recordBatch(db, [aTry(3, 500n)], batch(100n));
    expect(await given()).to.equal(20n);
    const end = (n: number, state: "done" | "failed") => ({ jobId: id(n), state, error: null, bar: null });
    await endBatch(db, outboxKey, [end(1, "done"), end(2, "failed")], { hash: id(7), gasCost: 90n });
    expect(await given()).to.equal(60n);
    await endBatch(db, rich.outboxKey, [end(3, "failed")], { hash: null, gasCost: 0n });
    expect(await given()).to.equal(60n);
  });
});

function id(n: number): Hex {
  return `0x${n.toString(16).padStart(64, "0")}`;
}

function aTry(n: number, tipWorth: bigint) {
  const resources = { cpuMilli: 1, memoryMiB: 1, diskMiB: 1, gpus: 0 };
  const hold = { jobId: id(n), nodes: [], resources, token: TOKEN, bond: 0n, payer: TOKEN, spent: 0n };
  return { jobId: id(n), offers: [], callData: "0x" as Hex, hold, tipWorth };
}
