import { expect } from "chai";
import { createGate, type Gate } from "../../../indexer/src/intake/gate.ts";

describe("createGate", () => {
  it("lets in as many as it may, one sender half of them, and the others in their turns", async () => {
    const { enter, order, finish } = workers(createGate({ atWork: 4, waiting: 8 }, busy));
    for (const name of ["a1", "a2", "a3", "a4", "b1", "b2", "b3", "c1"]) enter(name);
    expect(order).to.deep.equal(["a1", "a2", "b1", "b2"]);
    await finish("a1");
    await finish("b1");
    await finish("a2");
    expect(order.slice(4)).to.deep.equal(["a3", "b3", "c1"]);
    await finish("a3");
    expect(order.at(-1)).to.equal("a4");
  });

  it("turns away what is too much, the sender's who has most waiting", async () => {
    const gate = createGate({ atWork: 2, waiting: 3 }, busy);
    const { enter, refused, order, finish } = workers(gate);
    for (const name of ["a1", "a2", "a3", "a4", "a5"]) enter(name);
    await settled();
    expect([gate.atWork, gate.waiting, gate.refused]).to.deep.equal([1, 3, 1]);
    for (const name of ["b1", "b2", "b3"]) enter(name);
    await settled();
    expect(refused).to.have.members(["a5", "a4", "b3"]);
    for (const name of ["a1", "b1", "a2", "b2", "a3"]) await finish(name);
    expect(order).to.deep.equal(["a1", "b1", "a2", "b2", "a3"]);
    expect([gate.atWork, gate.waiting, gate.refused]).to.deep.equal([0, 0, 3]);
  });

  it("gives the place back also when the work fails", async () => {
    const gate = createGate({ atWork: 1, waiting: 1 }, busy);
    const failure = await gate.pass("a", async () => Promise.reject(new Error("no"))).catch((error: unknown) => error);
    expect(failure).to.have.property("message", "no");
    expect(await gate.pass("a", async () => 7)).to.equal(7);
    expect([gate.atWork, gate.waiting]).to.deep.equal([0, 0]);
  });
});

function busy(): Error {
  return new Error("busy");
}

/** Work by name that ends when the test says; the sender is the first letter. */
function workers(gate: Gate) {
  const [order, refused]: [string[], string[]] = [[], []];
  const ends = new Map<string, () => void>();
  return {
    order,
    refused,
    enter(name: string) {
      const work = () => {
        order.push(name);
        const { promise, resolve } = Promise.withResolvers<void>();
        ends.set(name, resolve);
        return promise;
      };
      gate.pass(name.slice(0, 1), work).catch(() => refused.push(name));
    },
    async finish(name: string) {
      ends.get(name)?.();
      await settled();
    },
  };
}

/** Everything that is due has run. */
async function settled(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
