import { MarketError } from "@berth/protocol";
import { expect } from "chai";
import type { Machine } from "../../../provider-node/src/core/ports.ts";
import { releaseMachine, type TakeOptions, takeMachine } from "../../../provider-node/src/jobs/take-machine.ts";
import { quiet } from "../../support/engine.ts";

const down = () => new MarketError("ENGINE_NO_RUNTIME", "No OCI runtime runs here.");

describe("takeMachine", () => {
  let pauses: number[];
  let opened: number;
  let calls: string[];
  /** What an earlier process left. */
  let left: string[];
  beforeEach(() => {
    [pauses, opened, calls, left] = [[], 0, [], []];
  });

  const machine = {
    engine: {
      reap: async (keep: readonly string[]) => {
        const dead = left.filter((name) => !keep.includes(name));
        left = left.filter((name) => keep.includes(name));
        calls.push(`reap ${dead.join(" ")}`);
        return dead;
      },
      list: () => [],
      release: async () => void calls.push("release"),
    },
  } as unknown as Machine;

  /** An engine that opens at the try after those that fail. */
  const take = (failures: number, options: Partial<TakeOptions> = {}, own = quiet) =>
    takeMachine(
      {
        open: async () => {
          opened += 1;
          if (opened <= failures) throw down();
          return machine;
        },
        keep: () => ["kept"],
        onOpen: () => calls.push("open"),
        pause: async (ms) => void pauses.push(ms),
        ...options,
      },
      own,
    );

  it("has the engine at once where it opens, with what an earlier process left gone", async () => {
    left = ["dead", "kept"];
    const taken = await take(0);
    expect(taken.current()).to.equal(machine);
    expect(taken.trouble()).to.equal(undefined);
    expect(left).to.deep.equal(["kept"]);
    await taken.done;
    expect(calls).to.deep.equal(["reap dead", "reap "]); // nobody needs to be told
    expect(pauses).to.deep.equal([]);
  });

  it("tries again, less and less often, says meanwhile why there is none, and tells when it opens", async () => {
    const gate = Promise.withResolvers<void>();
    const taken = await take(9, {
      pause: async (ms) => {
        await gate.promise;
        pauses.push(ms);
      },
    });
    expect(taken.current()).to.equal(undefined);
    expect(taken.trouble()).to.equal("ENGINE_NO_RUNTIME");
    gate.resolve();
    await taken.done;
    expect(taken.current()).to.equal(machine);
    expect(taken.trouble()).to.equal(undefined);
    expect(calls).to.deep.equal(["reap ", "open"]);
    expect(pauses.map((ms) => ms / 1000)).to.deep.equal([5, 10, 20, 40, 80, 160, 300, 300, 300]);
  });

  it("is not open while something of an earlier process cannot be taken away", async () => {
    let isStuck = true;
    const reap = async () => {
      if (isStuck) throw new MarketError("ENGINE_FAILED", "A mount is busy.");
      return [];
    };
    const stuck = { engine: { reap } } as unknown as Machine;
    const taken = await take(0, {
      open: async () => stuck,
      pause: async () => {
        isStuck = false;
      },
    });
    expect(taken.current()).to.equal(undefined);
    expect(taken.trouble()).to.equal("ENGINE_FAILED");
    await taken.done;
    expect(taken.current()).to.equal(stuck);
  });

  it("ends its tries with the signal, also in the middle of one", async () => {
    const stop = new AbortController();
    const own = { ...quiet, signal: stop.signal };
    const taken = await take(
      1,
      {
        open: async () => {
          opened += 1;
          if (opened === 2) stop.abort(new MarketError("STOPPED", "The node is stopping."));
          throw down();
        },
      },
      own,
    );
    await releaseMachine(taken, own);
    expect(opened).to.equal(2);
    expect(calls).to.deep.equal([]);
  });
});
