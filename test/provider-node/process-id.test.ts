import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect } from "chai";
import { endProcess, findByCommand, identify, isAlive } from "../../provider-node/src/process-id.ts";

describe("process identity", () => {
  it("tells a process from another that has its number", async () => {
    const us = await identify(process.pid);
    if (!us) throw new Error("no /proc");
    expect(await isAlive(us)).to.equal(true);
    expect(await isAlive({ ...us, startTicks: us.startTicks - 1 })).to.equal(false);
  });

  it("finds a process by its exact arguments, ends it by force when it will not go, and then it is gone", async () => {
    const mark = `${process.pid}.5`;
    const stubborn = spawn("sh", ["-c", "trap '' TERM; echo ready; while :; do sleep 0.2; done", mark]);
    try {
      await once(stubborn.stdout, "data");
      const args = stubborn.spawnargs.slice(1);
      const [found, ...more] = await findByCommand("sh", args);
      expect(found?.pid).to.equal(stubborn.pid);
      expect(more).to.deep.equal([]);
      expect(await findByCommand("sh", args.slice(0, -1))).to.deep.equal([]);
      if (!found) return;
      await endProcess(found, 50);
      expect(await isAlive(found)).to.equal(false);
      expect(await identify(found.pid)).to.equal(undefined);
    } finally {
      stubborn.kill("SIGKILL");
    }
  });
});
