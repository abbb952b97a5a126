import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { command } from "../../../provider-node/src/engine/command.ts";
import { createPodmanEngine } from "../../../provider-node/src/engine/podman.ts";
import { openPodmanStore } from "../../../provider-node/src/engine/podman-store.ts";
import { type EngineBench, openEngineBench, type PodmanBench, quiet } from "../../support/engine.ts";
import { eventually } from "../../support/eventually.ts";
import { demoImage } from "../../support/images.ts";
import { engineConformance } from "./conformance.ts";

const MIB = 1024 * 1024;

engineConformance("podman engine", {
  config: { type: "podman" },
  monitorOf: async ({ dataDir }: EngineBench, name) => {
    const store = await openPodmanStore(dataDir, quiet);
    const { stdout } = await store.run(["container", "inspect", "--format={{.State.ConmonPid}}", name], quiet);
    return Number(stdout);
  },
  folderOf: ({ dataDir }, name) => join(dataDir, "engine/attempts", name),
  startFiles: ["id", "monitor.pid"],
});

describe("podman engine", function () {
  this.timeout(60_000);
  let bench: PodmanBench;
  before(async () => {
    bench = await openEngineBench();
  });
  after(() => bench.close());

  /** podman's own view of a container. */
  const podmanInspect = async (name: string) =>
    JSON.parse((await bench.store.run(["container", "inspect", name], quiet)).stdout)[0];

  it("holds the policy as podman sees it", async () => {
    const spec = bench.shell("true");
    await bench.run(spec);
    const { HostConfig, Config, EffectiveCaps } = await podmanInspect(spec.name);
    expect(EffectiveCaps ?? []).to.deep.equal([]);
    expect(HostConfig).to.deep.include({
      ReadonlyRootfs: true,
      NetworkMode: "none",
      Memory: 64 * MIB,
      MemorySwap: 64 * MIB,
      PidsLimit: 512,
      Init: true,
      Privileged: false,
    });
    expect(HostConfig.SecurityOpt).to.include("no-new-privileges");
    expect(HostConfig.LogConfig.Type).to.equal("k8s-file");
    expect(Config).to.deep.include({ Hostname: "job", Timeout: 30 });
    expect(Config.Labels).to.deep.include({ "berth.run": "test", "berth.node": "node-a", "berth.job": "0x01" });
    await bench.engine.cleanup(spec.name, quiet);
    expect((await bench.store.run(["container", "exists", spec.name], quiet)).exitCode).to.equal(1);
  });

  it("looks again when a job ends while podman looks at it", async () => {
    const spec = bench.shell("exit 6");
    await bench.engine.prepare(spec, quiet);
    await bench.engine.start(spec.name, quiet);
    const gone = { exitCode: 125, stdout: "[]", stderr: "Error: read /proc/10940/cgroup: no such process" };
    let looks = 0;
    const run: typeof bench.store.run = async (args, options) => {
      if (args[1] === "inspect") looks += 1;
      return looks === 1 ? gone : await bench.store.run(args, options);
    };
    const engine = createPodmanEngine({ store: { ...bench.store, run }, runId: "test", nodeId: "node-a" });
    expect(await engine.wait(spec.name, quiet)).to.deep.include({ phase: "exited", exitCode: 6 });
    expect(looks).to.be.at.least(2);
    await bench.engine.cleanup(spec.name, quiet);
  });

  it("finds a job that runs again without podman, and asks where what podman wrote of it does not fit", async () => {
    const spec = bench.shell("sleep 60");
    await bench.engine.prepare(spec, quiet);
    await bench.engine.start(spec.name, quiet);
    const calls: (string | undefined)[] = [];
    const run: typeof bench.store.run = async (args, options) => {
      calls.push(args[1]);
      return await bench.store.run(args, options);
    };
    const afresh = () => createPodmanEngine({ store: { ...bench.store, run }, runId: "test", nodeId: "node-a" });
    expect(await afresh().inspect(spec.name, quiet)).to.deep.include({ phase: "running" });
    expect(calls).to.deep.equal([]);

    const folder = join(bench.store.folder, "attempts", spec.name);
    const other = bench.shell("sleep 60"); // its init is podman's too
    await bench.engine.prepare(other, quiet);
    await bench.engine.start(other.name, quiet);
    const written = ["id", "job.pid", "monitor.pid"].map(
      (file) => [join(folder, file), readFileSync(join(folder, "..", other.name, file), "utf8")] as const,
    );
    const record = [join(folder, "attempt.json"), JSON.stringify(inBootBefore(join(folder, "attempt.json")))] as const;
    for (const [path, forged] of [...written, record]) {
      const before = readFileSync(path, "utf8");
      writeFileSync(path, forged);
      const { phase } = await afresh().inspect(spec.name, quiet);
      expect([phase, calls.splice(0)], path).to.deep.equal(["running", ["inspect"]]);
      writeFileSync(path, before);
    }
    for (const { name } of [spec, other]) {
      await bench.engine.kill(name, quiet);
      await bench.engine.cleanup(name, quiet);
    }
  });

  it("keeps a start's lock until podman has ended, though nobody waits for it any more", async () => {
    const spec = bench.shell("sleep 60");
    await bench.engine.prepare(spec, quiet);
    await bench.engine.start(spec.name, quiet);
    const lock = join(bench.dataDir, "lock");
    const giveUp = new AbortController();
    const attached = ["attach", "--no-stdin", spec.name];
    const waiting = bench.store.runLocked(lock, attached, { signal: giveUp.signal });
    const isHeld = async () => (await command("flock", ["--nonblock", lock, "true"], quiet)).exitCode === 1;
    await eventually("podman has the lock", isHeld);
    const reason = new Error("no more time");
    giveUp.abort(reason);
    expect(await waiting.catch((thrown: unknown) => thrown)).to.equal(reason);
    expect(await isHeld()).to.equal(true);
    await bench.engine.kill(spec.name, quiet);
    await bench.store.settle(lock, quiet);
    expect(await isHeld()).to.equal(false);
    await bench.engine.cleanup(spec.name, quiet);
  });

  it("looks again for a runtime where the one of this boot is gone", async () => {
    const found = join(bench.store.folder, "found.json");
    const known = JSON.parse(readFileSync(found, "utf8"));
    writeFileSync(found, JSON.stringify({ ...known, runtime: "removed" }));
    const error = await openPodmanStore(bench.dataDir, quiet).catch((thrown: unknown) => thrown);
    expect(error).to.have.property("code", "ENGINE_STORE_FAILED");
    expect(await openPodmanStore(bench.dataDir, quiet)).to.have.property("runtime", known.runtime);
  });

  it("knows a job as lost after a reboot, where podman shows success", async () => {
    const spec = bench.shell("sleep 60");
    await bench.engine.prepare(spec, quiet);
    await bench.engine.start(spec.name, quiet);
    const { State } = await podmanInspect(spec.name);
    process.kill(State.ConmonPid, "SIGKILL");
    process.kill(State.Pid, "SIGKILL");
    rmSync(`/run/berth/${bench.store.id}/t/alive`); // what podman tells a reboot by
    expect((await podmanInspect(spec.name)).State).to.deep.include({ Status: "created", ExitCode: 0 });
    expect((await bench.engine.inspect(spec.name, quiet)).phase).to.equal("lost");
    await bench.engine.cleanup(spec.name, quiet);
  });

  it("runs the demo's image: a picture and a table from a real computation", async () => {
    const image = await demoImage();
    await bench.importImage(image);
    const spec = bench.shell("", {
      imageDigest: image.digest,
      command: ["64", "48", "500"],
      resources: { cpuMilli: 2000, memoryMiB: 256, diskMiB: 16, gpus: 0 },
    });
    expect(await bench.run(spec)).to.deep.include({ phase: "exited", exitCode: 0 });
    const said = await bench.stdout(spec.name);
    expect(said).to.match(/^mandelbrot 64x48, 500 iterations\nprogress 10%\n/);
    expect(Number(/area of the set: ([\d.]+)/.exec(said)?.[1])).to.be.within(1.3, 1.7); // the true area is 1.5066
    const dir = await bench.engine.outputDir(spec.name, quiet);
    expect(readFileSync(join(dir, "mandelbrot.png")).subarray(0, 8).toString("hex")).to.equal("89504e470d0a1a0a");
    expect(readFileSync(join(dir, "rows.csv"), "utf8").trim().split("\n")).to.have.length(49);
    await bench.engine.cleanup(spec.name, quiet);
  });
});

function inBootBefore(record: string): object {
  return { ...JSON.parse(readFileSync(record, "utf8")), startIntent: { bootId: "of the boot before" } };
}
