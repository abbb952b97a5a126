import type { Address } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { loadFixture } from "../support/actors.ts";
import { begin } from "./begin.ts";
import { allLogs } from "./logs.ts";
import { anyMove, type Move } from "./moves.ts";
import { readStorage } from "./read.ts";
import { replay } from "./replay.ts";
import { withoutZeros } from "./storage.ts";
import { replicaKeysOf } from "./trace.ts";
import { type Tally, walk } from "./walk.ts";

// To see a failure again: FC_SEED and FC_PATH as it printed them. FC_RUNS makes more traces, FC_TALLY counts what happened.
const { FC_SEED, FC_PATH, FC_RUNS, FC_TALLY } = process.env;
const COMMON = ["matchJob", "submit", "approve", "finalize", "claim", "close", "cancel", "withdraw"];
const MINUTE_MS = 60_000;
const seed = Number(FC_SEED ?? Date.now() % 2 ** 31);
const again = FC_PATH === undefined ? { seed } : { seed, path: FC_PATH, endOnFailure: true };
const moves = fc.array(anyMove, { minLength: 70, maxLength: 90, size: "max" });

describe(`The market and its model (FC_SEED=${seed})`, () => {
  it("come to the same storage and the same errors, whatever people do", async () => {
    const tally: Tally = new Map();
    await forTraces(14, async (made) => {
      const { chain, trace } = await loadFixture(begin);
      await walk(chain, trace, made, true, tally);
    });
    // Random or not, traces that never get anywhere would prove nothing.
    if (FC_PATH === undefined && FC_RUNS === undefined) expect([...tally.keys()]).to.include.members(COMMON);
    if (FC_TALLY !== undefined) console.log(Object.fromEntries([...tally].sort()));
  }).timeout(10 * MINUTE_MS);

  it("come to the same as a reader of events alone", async () => {
    await forTraces(10, async (made) => {
      const { chain, trace } = await loadFixture(begin);
      const end = await walk(chain, trace, made, false, new Map());
      const identity = chain.on.addresses.identity;
      const known = replay({ ...chain.facts, identity }, await allLogs());

      const stored = await readStorage(chain, replicaKeysOf(end));
      expect(withoutZeros(known.storage), "storage rebuilt from events").to.deep.equal(stored);
      for (const operator of Object.keys(chain.facts.nodes) as Address[]) {
        const [key, validTo] = await chain.on.identity.signerOf(operator, 0);
        expect(known.nodes[operator], "node rebuilt from events").to.deep.equal({ key, validTo: Number(validTo) });
      }
    });
  }).timeout(10 * MINUTE_MS);
});

/** Random traces; of one that fails a short one is looked for, as long as there is time. */
async function forTraces(count: number, check: (made: Move[]) => Promise<void>): Promise<void> {
  const numRuns = Number(FC_RUNS ?? count);
  await fc.assert(fc.asyncProperty(moves, check), { ...again, numRuns, interruptAfterTimeLimit: 2 * MINUTE_MS });
}
