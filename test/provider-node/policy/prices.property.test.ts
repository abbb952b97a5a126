import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import { SUBMIT_GAS } from "../../../provider-node/src/config/offers.ts";
import { configSchema } from "../../../provider-node/src/config.ts";
import { factorAt, highestFactor, hourIn, ratioOf } from "../../../provider-node/src/policy/hours.ts";
import { gasFloorUp, pricesFor } from "../../../provider-node/src/policy/prices.ts";
import { type Profile, profilesOf } from "../../../provider-node/src/policy/profiles.ts";

const [base] = profilesOf(configSchema.parse({}).offers);
const profile = (change: Partial<Profile>): Profile => ({ ...(base as Profile), ...change });
const decimal = fc
  .tuple(fc.nat(999_999), fc.nat(999_999), fc.nat(6))
  .map(([whole, part, digits]) =>
    digits === 0 ? `${whole}` : `${whole}.${String(part).padStart(6, "0").slice(0, digits)}`,
  );
const amount = fc.bigInt(0n, 10n ** 30n);
const zone = fc.constantFrom("UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns");
const rule = fc
  .record({ from: fc.nat(23), to: fc.integer({ min: 1, max: 24 }), factor: decimal })
  .filter(({ from, to }) => from !== to);
const time = fc.integer({ min: 1_600_000_000, max: 2_000_000_000 });
const gas = fc.record({ tokenUnitsPerEther: amount, factor: decimal, gasPerJob: fc.integer({ min: 1, max: 10 ** 7 }) });
const utc = (text: string) => Date.parse(text) / 1000;

describe("ratioOf", () => {
  it("is the exact value of a decimal text", () => {
    expect(ratioOf("1.25")).to.deep.equal({ numerator: 125n, denominator: 100n });
    expect(ratioOf("0.000001")).to.deep.equal({ numerator: 1n, denominator: 1_000_000n });
    fc.assert(
      fc.property(decimal, (text) => {
        const { numerator, denominator } = ratioOf(text);
        const scaled = (numerator * 10n ** 6n) / denominator;
        expect(`${scaled / 10n ** 6n}.${String(scaled % 10n ** 6n).padStart(6, "0")}`).to.equal(
          text.includes(".") ? text.padEnd(text.indexOf(".") + 7, "0") : `${text}.000000`,
        );
      }),
    );
  });
});

describe("the hour of the day", () => {
  it("changes with the second, in every zone, and where clocks are set", () => {
    expect(hourIn("UTC", utc("2026-01-01T05:59:59Z"))).to.equal(5);
    expect(hourIn("UTC", utc("2026-01-01T06:00:00Z"))).to.equal(6);
    expect(hourIn("UTC", utc("2026-01-01T00:00:00Z"))).to.equal(0);
    // Berlin springs from 2 to 3 o'clock, and has 2 o'clock twice in autumn.
    expect(hourIn("Europe/Berlin", utc("2026-03-29T00:59:59Z"))).to.equal(1);
    expect(hourIn("Europe/Berlin", utc("2026-03-29T01:00:00Z"))).to.equal(3);
    expect(hourIn("Europe/Berlin", utc("2026-10-25T00:30:00Z"))).to.equal(2);
    expect(hourIn("Europe/Berlin", utc("2026-10-25T01:30:00Z"))).to.equal(2);
    expect(hourIn("Asia/Kathmandu", utc("2026-01-01T00:14:59Z"))).to.equal(5);
    expect(hourIn("Asia/Kathmandu", utc("2026-01-01T00:15:00Z"))).to.equal(6);
  });

  it("has the factor of the first rule that holds, from its first second to before its end, also over midnight", () => {
    const rules = [
      { from: 22, to: 6, factor: "0.5" },
      { from: 5, to: 8, factor: "2" },
    ];
    const at = (text: string, timeZone = "UTC") => {
      const { numerator, denominator } = factorAt(rules, timeZone, utc(text));
      return Number(numerator) / Number(denominator);
    };
    for (const [text, factor] of [
      ["2026-06-01T21:59:59Z", 1],
      ["2026-06-01T22:00:00Z", 0.5],
      ["2026-06-02T00:00:00Z", 0.5],
      ["2026-06-02T05:59:59Z", 0.5],
      ["2026-06-02T06:00:00Z", 2],
      ["2026-06-02T07:59:59Z", 2],
      ["2026-06-02T08:00:00Z", 1],
    ] as const)
      expect(at(text), text).to.equal(factor);
    // Summer time ends: 22 o'clock comes an hour later by UTC.
    expect(at("2026-10-24T20:00:00Z", "Europe/Berlin")).to.equal(0.5);
    expect(at("2026-10-25T20:00:00Z", "Europe/Berlin")).to.equal(1);
    expect(at("2026-10-25T21:00:00Z", "Europe/Berlin")).to.equal(0.5);
  });

  it("counts in an offer whose last second is the first of a dearer hour", () => {
    const rules = [{ from: 22, to: 23, factor: "3" }];
    const until = utc("2026-06-01T22:00:00Z");
    expect(highestFactor(rules, "UTC", until - 600, until)).to.deep.equal(ratioOf("3"));
    expect(highestFactor(rules, "UTC", until - 600, until - 1)).to.deep.equal(ratioOf("1"));
  });

  it("is the same in every second between two quarters of an hour", () => {
    fc.assert(
      fc.property(zone, time, fc.nat(899), (timeZone, now, seconds) => {
        const quarter = now - (now % 900);
        expect(hourIn(timeZone, quarter + seconds)).to.equal(hourIn(timeZone, quarter));
      }),
    );
  });

  it("never has a higher factor, while the offer lasts, than the one it was signed with, and has that one once", () => {
    fc.assert(
      fc.property(
        fc.array(rule, { maxLength: 4 }),
        zone,
        time,
        fc.nat(20_000),
        fc.nat(20_000),
        (rules, timeZone, now, ttl, later) => {
          const value = (ratio: { numerator: bigint; denominator: bigint }) =>
            (ratio.numerator * 10n ** 6n) / ratio.denominator;
          const until = now + ttl;
          const highest = value(highestFactor(rules, timeZone, now, until));
          expect(highest >= value(factorAt(rules, timeZone, Math.min(until, now + later)))).to.equal(true);
          const all = [now, until];
          for (let at = now; at <= until; at += 900) all.push(at, Math.min(until, at - (at % 900) + 900));
          expect(all.some((at) => value(factorAt(rules, timeZone, at)) === highest)).to.equal(true);
        },
      ),
    );
  });
});

describe("pricesFor", () => {
  const facts = (now: number, weiPerGas = 0n) => ({ now, until: now + 600, weiPerGas });

  it("asks for what is configured where there are no rules", () => {
    const asked = { cpuRateX18: 1n, memoryRateX18: 2n, diskRateX18: 3n, gpuRateX18: 4n, baseCharge: 5n };
    expect(pricesFor(profile(asked), facts(0))).to.deep.equal(asked);
  });

  it("rises with the configured price, the factor and the gas price", () => {
    const most = 2n ** 128n - 1n;
    fc.assert(
      fc.property(amount, amount, decimal, gas, amount, (price, more, factor, floor, weiPerGas) => {
        const hours = [{ from: 0, to: 24, factor }];
        const ask = (baseCharge: bigint, wei: bigint) =>
          pricesFor(profile({ baseCharge, cpuRateX18: baseCharge, hours, gas: floor }), facts(0, wei));
        const [low, high, dear] = [ask(price, weiPerGas), ask(price + more, weiPerGas), ask(price, weiPerGas + more)];
        expect(high.baseCharge >= low.baseCharge && high.cpuRateX18 >= low.cpuRateX18).to.equal(true);
        expect(dear.baseCharge >= low.baseCharge && dear.cpuRateX18 === low.cpuRateX18).to.equal(true);
        const { numerator, denominator } = ratioOf(factor);
        const exact = price * numerator;
        expect(low.cpuRateX18 === most || low.cpuRateX18 * denominator >= exact).to.equal(true);
        expect(low.cpuRateX18 === 0n || (low.cpuRateX18 - 1n) * denominator < exact).to.equal(true);
      }),
    );
  });

  it("never asks for less than a job's gas is worth, and for that only where the rest is less", () => {
    fc.assert(
      fc.property(amount, gas, fc.bigInt(0n, 10n ** 12n), (baseCharge, rules, weiPerGas) => {
        const floor = gasFloorUp(rules, weiPerGas);
        const asked = pricesFor(profile({ baseCharge, gas: rules }), facts(0, weiPerGas)).baseCharge;
        expect(asked).to.equal(floor > baseCharge ? floor : baseCharge);
        const { numerator, denominator } = ratioOf(rules.factor);
        const worth = weiPerGas * BigInt(rules.gasPerJob) * rules.tokenUnitsPerEther * numerator;
        expect(floor === 2n ** 128n - 1n || floor * 10n ** 18n * denominator >= worth).to.equal(true);
      }),
    );
    // 20 gwei × 56,000 gas at 3,000 tUSD (6 decimals) an ether: 3.36 tUSD, and half of that again.
    const tUsd = { tokenUnitsPerEther: 3_000_000_000n, factor: "1.5", gasPerJob: 56_000 };
    expect(gasFloorUp(tUsd, 20n * 10n ** 9n)).to.equal(5_040_000n);
  });

  it("counts the gas that the benchmark measured", () => {
    const file = join(import.meta.dirname, "../../../bench/gas.snapshot.json");
    const measured = JSON.parse(readFileSync(file, "utf8"))["signed request: submit"];
    expect(SUBMIT_GAS).to.be.within(measured * 0.9, measured * 1.1);
  });
});
