import { expect } from "chai";
import type { MachineDiagnosis } from "../../../provider-node/src/jobs/doctor.ts";
import { startRechecking } from "../../../provider-node/src/jobs/recheck.ts";
import { quiet } from "../../support/engine.ts";

const HOUR = 3_600_000;
const found = (...statuses: ("ok" | "warn" | "fail")[]) =>
  ({ checks: statuses.map((status) => ({ name: "a check", status, detail: "" })) }) as unknown as MachineDiagnosis;
const [good, bad] = [found("ok", "warn"), found("ok", "fail")];

describe("startRechecking", () => {
  /** Minutes waited before each check of a machine that is found like this, one after the other. */
  async function waits(first: MachineDiagnosis, checks: (MachineDiagnosis | Error)[], everyMs = HOUR) {
    const stop = new AbortController();
    const minutes: number[] = [];
    const told: MachineDiagnosis[] = [];
    const left = [...checks];
    const alarm = {
      ring: () => {},
      async wait(ms?: number) {
        minutes.push(Number(ms) / 60_000);
        if (left.length === 0) stop.abort();
      },
    };
    const check = async () => {
      const next = left.shift() as MachineDiagnosis | Error;
      if (next instanceof Error) throw next;
      return next;
    };
    const options = { first, check, everyMs, onFound: (one: MachineDiagnosis) => told.push(one), alarm };
    await startRechecking(options, { ...quiet, signal: stop.signal }).done;
    expect(told).to.deep.equal(checks.filter((one) => !(one instanceof Error)));
    return minutes;
  }

  it("looks at a machine that is well once in its time", async () => {
    expect(await waits(good, [good, good])).to.deep.equal([60, 60, 60]);
  });

  it("looks again soon after a failure, and ever less often while it lasts", async () => {
    expect(await waits(good, [bad, bad, bad, good])).to.deep.equal([60, 1, 2, 4, 60]);
    expect(await waits(bad, [bad, good])).to.deep.equal([1, 2, 60]);
  });

  it("does the same after a check that could not be made", async () => {
    expect(await waits(good, [new Error("out of memory"), good])).to.deep.equal([60, 1, 60]);
  });

  it("never waits longer than it does for a machine that is well", async () => {
    expect(await waits(bad, Array(9).fill(bad))).to.deep.equal([1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
    expect(await waits(bad, [bad], 1000)).to.deep.equal([1 / 60, 1 / 60]);
  });
});
