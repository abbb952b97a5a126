import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { expect } from "chai";
import { detectCgroups } from "../../../provider-node/src/engine/cgroup.ts";
import { createPodmanEngine } from "../../../provider-node/src/engine/podman.ts";
import { openPodmanStore } from "../../../provider-node/src/engine/podman-store.ts";
import { reapEngine } from "../../../provider-node/src/engine/reap.ts";
import type { AttemptSpec, Engine } from "../../../provider-node/src/engine/types.ts";
import { outcomeOf } from "../../../provider-node/src/engine/verdict.ts";
import { mountPoints } from "../../../provider-node/src/engine/volume.ts";
import { importImage } from "../../../provider-node/src/image/import.ts";
import { collectOutputs } from "../../../provider-node/src/output/collect.ts";
import { type EngineBench, openEngineBench, quiet } from "../../support/engine.ts";
import { demoImage } from "../../support/images.ts";

const MIB = 1024 * 1024;
const CHILD = join(import.meta.dirname, "../../support/engine-child.ts");

/** A dead process that nobody has waited for yet does not run. */
function isRunning(pid: number): boolean {
  const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, "latin1") : "";
  return stat !== "" && !/\) Z /.test(stat);
}

describe("podman engine", function () {
  this.timeout(60_000);
  let bench: EngineBench;
  before(async () => {
    bench = await openEngineBench();
  });
  after(() => bench.close());

  /** podman's own view of a container, and what is left of it. */
  const podmanInspect = async (name: string) =>
    JSON.parse((await bench.store.run(["container", "inspect", name], quiet)).stdout)[0];
  const traces = (name: string) => [
    ...mountPoints().filter((path) => path.includes(name)),
    ...detectCgroups()
      .trees.map((tree) => join(tree, `berth-${bench.store.id}`, name))
      .filter((path) => existsSync(path)),
    ...bench.store.ledger
      .open()
      .filter(({ owner }) => owner === name)
      .map(({ what }) => what),
  ];

  /** Another process that prepares and starts the attempt on the same data folder. */
  const spawnChild = (spec: AttemptSpec) =>
    spawn(process.execPath, [CHILD, bench.dataDir, JSON.stringify(spec)], {
      stdio: ["ignore", "pipe", "inherit"],
      detached: true,
    });
  const run = async (engine: Engine, spec: AttemptSpec) => {
    await engine.prepare(spec, quiet);
    await engine.start(spec.name, quiet);
    return engine.wait(spec.name, quiet);
  };

  it("says what it runs on", async () => {
    const facts = await bench.engine.probe(quiet);
    expect(facts).to.deep.include({ engine: "podman", volume: "loop-ext4" });
    expect(facts.policyHash).to.match(/^0x[0-9a-f]{64}$/);
  });

  it("keeps exit code, both streams and outputs of a job", async () => {
    const spec = bench.shell("echo said; echo warned >&2; echo kept > /out/file; exit 3");
    const state = await bench.run(spec);
    expect(state).to.deep.include({ phase: "exited", exitCode: 3, timedOut: false, oomKilled: false });
    const { stdout, stderr } = await bench.engine.logs(spec.name, quiet);
    expect(readFileSync(stdout.path, "utf8")).to.equal("said\n");
    expect(readFileSync(stderr.path, "utf8")).to.equal("warned\n");
    const dir = await bench.engine.outputDir(spec.name, quiet);
    expect(readFileSync(join(dir, "file"), "utf8")).to.equal("kept\n");
    const { cpuNs, peakBytes } = await bench.engine.usage(spec.name, quiet);
    expect(cpuNs > 0n && peakBytes > 0).to.equal(true);
    await bench.engine.cleanup(spec.name, quiet);
    expect(traces(spec.name)).to.deep.equal([]);
    expect((await bench.engine.inspect(spec.name, quiet)).phase).to.equal("absent");
  });

  it("holds the policy as podman sees it and as the job sees it", async () => {
    const inputs = mkdtempSync(join(bench.dataDir, "input-"));
    chmodSync(inputs, 0o755);
    writeFileSync(join(inputs, "data"), "given");
    const script = [
      "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr -s '\\t ' ' '",
      "cat /proc/self/uid_map | tr -s ' '",
      "touch /new 2>/dev/null || echo root-read-only",
      "touch /in/new 2>/dev/null || echo input-read-only",
      "cat /in/data; echo",
      "echo x > /tmp/t && echo tmp-writable",
      "cp /bin/busybox /out/x; /out/x true 2>/dev/null || echo out-noexec",
      "ls /sys/class/net; ls /etc/resolv.conf /etc/hosts 2>/dev/null",
      "env | grep -i proxy; hostname; ulimit -n; exit 0",
    ].join("\n");
    const spec = bench.shell(script, { inputs: [{ hostDir: inputs, path: "/in" }] });
    process.env["http_proxy"] = "http://secret.invalid";
    try {
      await bench.run(spec);
    } finally {
      delete process.env["http_proxy"];
    }
    expect((await bench.stdout(spec.name)).split("\n")).to.deep.equal([
      "CapEff: 0000000000000000",
      "CapBnd: 0000000000000000",
      "NoNewPrivs: 1",
      "Seccomp: 2",
      " 0 100000 65536",
      "root-read-only",
      "input-read-only",
      "given",
      "tmp-writable",
      "out-noexec",
      "lo",
      "job",
      "1024",
      "",
    ]);
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
  });

  it("prepares and starts once, however often it is asked", async () => {
    const spec = bench.shell("echo once");
    await bench.run(spec);
    await bench.run(spec);
    expect(await bench.stdout(spec.name)).to.equal("once\n");
    const other = { ...spec, command: ["/bin/true"] };
    const error = await bench.engine.prepare(other, quiet).catch((thrown: unknown) => thrown);
    expect(error).to.have.property("code", "ENGINE_NAME_TAKEN");
    await bench.engine.cleanup(spec.name, quiet);
    await bench.engine.cleanup(spec.name, quiet);
  });

  it("says what to do when the image is not there", async () => {
    const spec = bench.shell("true", { imageDigest: `sha256:${"0".repeat(64)}` });
    const error = await bench.engine.prepare(spec, quiet).catch((thrown: unknown) => thrown);
    expect(error).to.have.property("code", "IMAGE_NOT_IMPORTED");
    expect(traces(spec.name)).to.deep.equal([]);
  });

  describe("a hostile job", () => {
    const hostile = async (script: string, changes: Partial<AttemptSpec> = {}) => {
      const spec = bench.shell(script, changes);
      const state = await bench.run(spec);
      const outputs = await collectOutputs(await bench.engine.outputDir(spec.name, quiet), spec.outputs, quiet);
      const logs = await bench.engine.logs(spec.name, quiet);
      const text = readFileSync(logs.stdout.path, "utf8");
      const usage = await bench.engine.usage(spec.name, quiet);
      const result = { state, outputs, logs, text, usage, outcome: outcomeOf(state, !outputs.ok) };
      await bench.engine.cleanup(spec.name, quiet);
      expect(traces(spec.name)).to.deep.equal([]);
      return result;
    };

    it("is killed at its memory limit", async () => {
      const { outcome, usage } = await hostile("exec dd if=/dev/zero of=/dev/null bs=200M count=1");
      expect(outcome).to.equal("out-of-memory");
      expect(usage.peakBytes).to.be.within(63 * MIB, 80 * MIB);
    });

    it("is killed when it fills /tmp beyond its memory", async () => {
      const { state } = await hostile("dd if=/dev/zero of=/tmp/a bs=1M count=200; exit 9");
      expect(state.exitCode).to.equal(9); // the sized tmpfs stops it first
    });

    it("cannot fork without end, and dies at once with all it forked", async () => {
      const spec = bench.shell("bomb() { bomb | bomb & }; bomb; sleep 60");
      await bench.engine.prepare(spec, quiet);
      await bench.engine.start(spec.name, quiet);
      const tree = detectCgroups().controllers.get("pids") ?? "";
      const alive = () =>
        Number(readFileSync(join(tree, `berth-${bench.store.id}`, spec.name, "pids.current"), "utf8"));
      let most = 0;
      for (let look = 0; look < 100 && most < 400; look += 1) {
        most = Math.max(most, alive());
        await pause(10);
      }
      expect(most).to.be.within(100, 512 + 3); // the monitor's own threads are in the enclosing cgroup
      await bench.engine.cleanup(spec.name, quiet);
      expect(traces(spec.name)).to.deep.equal([]);
    });

    it("is stopped at its time limit", async () => {
      const { outcome, usage } = await hostile("trap '' TERM; sleep 60", { maxSeconds: 1 });
      expect(outcome).to.equal("timed-out");
      expect(usage.wallMs).to.be.within(900, 4000);
    });

    it("cannot fill the disk with log lines, and does not notice the cap", async () => {
      const { state, logs } = await hostile("yes long-enough-a-line-to-count-as-a-flood & sleep 1; kill %1; exit 4");
      expect(state.exitCode).to.equal(4);
      expect(logs.stdout.truncated).to.equal(true);
      expect(statSync(logs.stdout.path, { throwIfNoEntry: false })?.size ?? logs.stdout.bytes).to.be.at.most(4 * MIB);
    });

    it("cannot write more than its output volume holds", async () => {
      const { state, outputs } = await hostile("dd if=/dev/zero of=/out/big bs=1M count=64", {
        outputs: { maxBytes: 64 * MIB, maxFiles: 9 },
      });
      expect(state.exitCode).to.not.equal(0);
      expect(outputs)
        .to.have.property("bytes")
        .within(8 * MIB, 16 * MIB);
    });

    it("has a sparse file counted with its holes", async () => {
      const { outcome, outputs } = await hostile("dd if=/dev/zero of=/out/sparse bs=1 count=1 seek=4G");
      expect(outcome).to.equal("output-too-large");
      expect(outputs).to.have.nested.property("tooLarge.what", "bytes");
    });

    it("has links and FIFOs left out of its outputs", async () => {
      const { outputs } = await hostile("ln -s /etc/shadow /out/link; mkfifo /out/fifo; echo fine > /out/file");
      expect(outputs).to.deep.include({
        ok: true,
        skipped: [
          { path: "fifo", reason: "fifo" },
          { path: "link", reason: "link" },
        ],
      });
      expect(outputs).to.have.nested.property("files[0].path", "file");
    });
  });

  it("stops politely, then by force, and calls it cancelled", async () => {
    const polite = bench.shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done");
    const stubborn = bench.shell("trap '' TERM; while :; do sleep 0.05; done");
    for (const spec of [polite, stubborn]) {
      await bench.engine.prepare(spec, quiet);
      await bench.engine.start(spec.name, quiet);
    }
    while ((await bench.stdout(polite.name)) !== "ready\n") await pause(20);
    await bench.engine.stop(polite.name, 5000, quiet);
    await bench.engine.stop(stubborn.name, 1000, quiet);
    expect(await bench.engine.inspect(polite.name, quiet)).to.deep.include({
      phase: "exited",
      exitCode: 7,
      cancelled: true,
    });
    const killed = await bench.engine.inspect(stubborn.name, quiet);
    expect(outcomeOf(killed, false)).to.equal("cancelled");
    for (const { name } of [polite, stubborn]) await bench.engine.cleanup(name, quiet);
  });

  it("knows a job as lost whose monitor was killed, and leaves no process of it", async () => {
    const spec = bench.shell("sleep 60");
    await bench.engine.prepare(spec, quiet);
    await bench.engine.start(spec.name, quiet);
    const { State } = await podmanInspect(spec.name);
    const waiting = bench.engine.wait(spec.name, quiet);
    process.kill(State.ConmonPid, "SIGKILL");
    expect((await waiting).phase).to.equal("lost");
    expect(existsSync(`/proc/${State.Pid}/exe`)).to.equal(false);
    await bench.engine.cleanup(spec.name, quiet);
    expect(traces(spec.name)).to.deep.equal([]);
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

  it("carries on in a new process after kill -9, with the whole log", async () => {
    const spec = bench.shell("echo before; while [ ! -e /in/go ]; do sleep 0.05; done; echo after; exit 5");
    const inputs = join(bench.dataDir, "go");
    mkdirSync(inputs);
    const child = spawnChild({ ...spec, inputs: [{ hostDir: inputs, path: "/in" }] });
    await once(child.stdout, "data");
    process.kill(-(child.pid ?? 0), "SIGKILL"); // the whole group, podman's own helpers included
    await once(child, "exit");

    const store = await openPodmanStore(bench.dataDir, quiet);
    const engine = createPodmanEngine({ store, runId: "test", nodeId: "node-a" });
    expect(engine.list().map(({ name }) => name)).to.include(spec.name);
    expect((await engine.inspect(spec.name, quiet)).phase).to.equal("running");
    writeFileSync(join(inputs, "go"), "");
    expect(await engine.wait(spec.name, quiet)).to.deep.include({ phase: "exited", exitCode: 5 });
    const { stdout } = await engine.logs(spec.name, quiet);
    expect(readFileSync(stdout.path, "utf8")).to.equal("before\nafter\n");
    await engine.cleanup(spec.name, quiet);
    expect(traces(spec.name)).to.not.include(spec.name);
  });

  it("runs a job at most once, whenever its process group is killed while preparing and starting", async () => {
    const outcomes: string[] = [];
    for (const delayMs of [350, 550, 650, 750, 850]) {
      const spec = bench.shell("echo ran >> /out/runs; exit 5");
      const child = spawnChild(spec);
      await Promise.race([pause(delayMs), once(child.stdout, "data")]);
      process.kill(-(child.pid ?? 0), "SIGKILL");
      await once(child, "exit");

      const store = await openPodmanStore(bench.dataDir, quiet);
      const engine = createPodmanEngine({ store, runId: "test", nodeId: "node-a" });
      const state = await run(engine, spec);
      const runs = join(await engine.outputDir(spec.name, quiet), "runs");
      outcomes.push(`${state.phase} ${state.exitCode} ${existsSync(runs) ? readFileSync(runs, "utf8") : ""}`);
      await engine.cleanup(spec.name, quiet);
    }
    for (const outcome of outcomes) {
      expect(["exited 5 ran\n", "lost undefined ", "lost undefined ran\n"]).to.include(outcome);
    }
    expect(outcomes).to.include("exited 5 ran\n");
  });

  it("takes away everything of a killed node by its data folder alone", async () => {
    const other = await openEngineBench();
    const spec = other.shell("sleep 60");
    await other.engine.prepare(spec, quiet);
    await other.engine.start(spec.name, quiet);
    const { ConmonPid } = JSON.parse((await other.store.run(["container", "inspect", spec.name], quiet)).stdout)[0]
      .State;
    await reapEngine(other.dataDir, quiet);
    expect(isRunning(ConmonPid)).to.equal(false);
    expect(mountPoints().filter((path) => path.includes(other.dataDir) || path.includes(other.store.id))).to.deep.equal(
      [],
    );
    rmSync(other.dataDir, { recursive: true });
    await reapEngine(other.dataDir, quiet); // nothing there: nothing happens
  });

  it("reaps what a killed process left, except what is to be kept", async () => {
    const [kept, dead] = [bench.shell("sleep 60"), bench.shell("sleep 60")];
    for (const spec of [kept, dead]) {
      await bench.engine.prepare(spec, quiet);
      await bench.engine.start(spec.name, quiet);
    }
    const store = await openPodmanStore(bench.dataDir, quiet);
    const engine = createPodmanEngine({ store, runId: "test", nodeId: "node-a" });
    expect(await engine.reap([kept.name], quiet)).to.include(dead.name);
    expect((await engine.inspect(kept.name, quiet)).phase).to.equal("running");
    expect((await bench.store.run(["container", "exists", dead.name], quiet)).exitCode).to.equal(1);
    expect(mountPoints().filter((path) => path.includes(dead.name))).to.deep.equal([]);
    expect(await engine.release(quiet).catch((error: unknown) => error)).to.have.property("code", "ENGINE_BUSY");
    await engine.cleanup(kept.name, quiet);
  });

  it("leaves nothing on the machine when released", async () => {
    const other = await openEngineBench();
    await other.run(other.shell("true"));
    await other.close();
    expect(mountPoints().filter((path) => path.includes(other.dataDir) || path.includes(other.store.id))).to.deep.equal(
      [],
    );
    expect(existsSync(`/run/berth/${other.store.id}`)).to.equal(false);
    for (const tree of detectCgroups().trees) {
      expect(readdirSync(tree)).to.not.include(`berth-${other.store.id}`);
    }
  });

  it("runs the demo's image: a picture and a table from a real computation", async () => {
    const { dir: layout, digest } = await demoImage();
    await importImage(layout, digest, bench.store, quiet);
    const spec = bench.shell("", {
      imageDigest: digest,
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
