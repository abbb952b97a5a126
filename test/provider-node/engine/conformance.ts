import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { packImage } from "../../../client/src/image/index.ts";
import type { EngineConfig } from "../../../provider-node/src/config/engine.ts";
import { reapEngine } from "../../../provider-node/src/engine/reap.ts";
import type { AttemptSpec, Engine } from "../../../provider-node/src/engine/types.ts";
import { outcomeOf } from "../../../provider-node/src/engine/verdict.ts";
import { asDockerImage } from "../../support/docker-image.ts";
import { type EngineBench, openBench, openTestMachine, quiet } from "../../support/engine.ts";
import { eventually } from "../../support/eventually.ts";
import { busyboxImage } from "../../support/images.ts";
import { hostileJobs } from "./hostile.ts";
import { isRunning, leftOnMachine, processesWith, tracesOf } from "./traces.ts";

const MIB = 1024 * 1024;
const CHILD = join(import.meta.dirname, "../../support/engine-child.ts");

/** What the suite has to be told about an engine. */
export interface EngineUnderTest {
  config: EngineConfig;
  /** The process on this machine that watches over a running attempt: without it nobody can tell how the run ended. */
  monitorOf(bench: EngineBench, name: string): Promise<number>;
  /** How long after its limit a run may go on: a cluster's clock is coarser than a container's. */
  timerSlackMs?: number;
  /** Where it keeps what it knows of an attempt. */
  folderOf(bench: EngineBench, name: string): string;
  /** Files that appear there while a start is under way, in their order. */
  startFiles: readonly string[];
}

/** Registers the tests that every engine must pass, on the real thing. */
export function engineConformance(title: string, subject: EngineUnderTest): void {
  const { config, timerSlackMs = 3000 } = subject;

  describe(`${title} keeps what every engine promises`, function () {
    this.timeout(120_000); // on a machine that does much else
    let bench: EngineBench;
    before(async () => {
      bench = await openBench(config);
    });
    after(() => bench?.close());

    /** Another process that prepares and starts the attempt on the same data folder. */
    const spawnChild = (spec: AttemptSpec) => {
      const file = openSync("/dev/null", "r");
      try {
        return spawn(process.execPath, [CHILD, JSON.stringify(config), bench.dataDir, JSON.stringify(spec)], {
          // The last is a file that no job may get: Node keeps the first sixteen to itself, but not this one.
          stdio: ["ignore", "pipe", "inherit", ...new Array<"ignore">(17).fill("ignore"), file],
          detached: true,
        });
      } finally {
        closeSync(file);
      }
    };
    const started = async (script: string, changes: Partial<AttemptSpec> = {}) => {
      const spec = bench.shell(script, changes);
      await bench.engine.prepare(spec, quiet);
      await bench.engine.start(spec.name, quiet);
      return spec;
    };
    const cleanup = async ({ name }: AttemptSpec) => {
      await bench.engine.cleanup(name, quiet);
      expect(tracesOf(bench, name)).to.deep.equal([]);
    };

    it("says what it runs on", async () => {
      const facts = await bench.engine.probe(quiet);
      expect(facts.engine).to.equal(config.type);
      expect(facts.volume).to.equal("loop-ext4");
      expect(facts.policyHash).to.match(/^0x[0-9a-f]{64}$/);
      expect(facts.policyHash).to.equal(bench.machine.policyHash);
    });

    it("keeps exit code, both streams and outputs of a job, and leaves nothing after its cleanup", async () => {
      const spec = bench.shell("echo said; echo warned >&2; echo kept > /out/file; printf end; exit 3");
      const state = await bench.run(spec);
      expect(state).to.deep.include({ phase: "exited", exitCode: 3, timedOut: false, oomKilled: false });
      expect(state.cancelled).to.equal(false);
      const { stdout, stderr } = await bench.engine.logs(spec.name, quiet);
      expect(readFileSync(stdout.path, "utf8")).to.equal("said\nend");
      expect(stdout).to.deep.include({ bytes: 8, truncated: false });
      expect(readFileSync(stderr.path, "utf8")).to.equal("warned\n");
      const dir = await bench.engine.outputDir(spec.name, quiet);
      expect(readFileSync(join(dir, "file"), "utf8")).to.equal("kept\n");
      expect(bench.engine.list()).to.deep.include({ name: spec.name, jobId: "0x01", replica: 0, attempt: 1 });
      await cleanup(spec);
      expect((await bench.engine.inspect(spec.name, quiet)).phase).to.equal("absent");
      expect(bench.engine.list().map(({ name }) => name)).to.not.include(spec.name);
    });

    it("gives a job its entrypoint, arguments, variables and folder, word for word", async () => {
      const script = 'for w in "$@"; do echo "[$w]"; done; echo "$GREETING"; pwd; echo "$PATH"';
      const spec = bench.shell("", {
        entrypoint: ["/bin/sh", "-c", script, "name"],
        command: ["two  spaces", "", "$HOME `id` \"'", "two\nlines"],
        env: { GREETING: "hi = there\nand $HERE" },
        workdir: "/tmp",
      });
      await bench.run(spec);
      const words = ["[two  spaces]", "[]", "[$HOME `id` \"']", "[two", "lines]", "hi = there", "and $HERE", "/tmp"];
      expect((await bench.stdout(spec.name)).split("\n")).to.deep.equal([...words, "/bin", ""]);
      await cleanup(spec);
    });

    it("runs the image's own command, and tells a signal from running out of memory", async () => {
      const plain = bench.shell("", { command: [] });
      expect(await bench.run(plain)).to.deep.include({ phase: "exited", exitCode: 0 });
      const killed = bench.shell("kill -KILL $$");
      expect(await bench.run(killed)).to.deep.include({ phase: "exited", exitCode: 137, oomKilled: false });
      expect(outcomeOf(await bench.engine.inspect(killed.name, quiet), false)).to.equal("exited");
      for (const spec of [plain, killed]) await cleanup(spec);
    });

    it("runs an image as its own user in its own folder, with mounts among what the image has there", async () => {
      const image = await appImage(bench.dataDir);
      await bench.importImage(image);
      const inputs = mkdtempSync(join(bench.dataDir, "input-"));
      chmodSync(inputs, 0o755);
      writeFileSync(join(inputs, "data"), "given\n");
      const script =
        "id -u; id -g; pwd; echo $HOME; cat own in/data; ls; echo x > out/file; touch new 2>/dev/null && echo wrote; exit 6";
      const spec = bench.shell(script, {
        imageDigest: image.digest,
        inputs: [{ hostDir: inputs, path: "/srv/app/in" }],
        outputPath: "/srv/app/out",
      });
      expect(await bench.run(spec)).to.deep.include({ phase: "exited", exitCode: 6 });
      const words = ["1000", "1001", "/srv/app", "/srv/app", "the image's own", "given", "in", "out", "own"];
      expect((await bench.stdout(spec.name)).split("\n")).to.deep.equal([...words, ""]);
      const { uid, gid } = statSync(join(await bench.engine.outputDir(spec.name, quiet), "file"));
      expect([uid, gid]).to.deep.equal([101_000, 101_001]); // nobody on this machine
      await cleanup(spec);
    });

    it("runs an image in Docker's format as it runs one of OCI's", async () => {
      const layout = mkdtempSync(join(bench.dataDir, "docker-"));
      cpSync((await busyboxImage()).dir, layout, { recursive: true });
      const digest = asDockerImage(layout, bench.imageDigest);
      await bench.importImage({ dir: layout, digest });
      const spec = bench.shell("echo ran", { imageDigest: digest });
      expect(await bench.run(spec)).to.include({ phase: "exited", exitCode: 0 });
      expect(await bench.stdout(spec.name)).to.equal("ran\n");
      await bench.engine.cleanup(spec.name, quiet);
    });

    it("holds the sandbox as the job sees it", async () => {
      const inputs = mkdtempSync(join(bench.dataDir, "input-"));
      chmodSync(inputs, 0o755);
      writeFileSync(join(inputs, "data"), "given");
      const script = [
        "grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|SigIgn):' /proc/self/status | tr -s '\\t ' ' '",
        "awk '$1 == 0 { print \"root is host\", $2 }' /proc/self/uid_map; id -u",
        "for d in / /bin /etc /proc; do touch $d/new 2>/dev/null && echo wrote in $d; done",
        "touch /in/new 2>/dev/null && echo wrote in input",
        "echo 1 > /proc/sys/kernel/panic && echo wrote a sysctl",
        "cat /in/data; echo",
        "echo x > /tmp/t && echo tmp-writable; echo x > /dev/shm/t && echo shm-writable; echo x > /dev/null && echo null",
        "cp /bin/busybox /out/x; /out/x true && echo ran from outputs",
        "cp /bin/busybox /tmp/x; /tmp/x true && echo ran from tmp",
        "tail -n +3 /proc/net/dev | cut -d: -f1; wc -l < /proc/net/route; ls /etc/resolv.conf /etc/hosts",
        "unshare -r true && echo unshared; mount -t tmpfs none /tmp && echo mounted",
        "[ $(ls /proc | grep -c '^[0-9]') -lt 9 ] && echo own processes",
        "env | grep -i -E 'proxy|secret'; hostname; ulimit -n; ulimit -c; exit 0",
      ].join("\n");
      const spec = bench.shell(`exec 2>/dev/null\n${script}`, { inputs: [{ hostDir: inputs, path: "/in" }] });
      process.env["http_proxy"] = "http://secret.invalid";
      try {
        await bench.run(spec);
      } finally {
        delete process.env["http_proxy"];
      }
      const none = "0000000000000000";
      expect((await bench.stdout(spec.name)).split("\n")).to.deep.equal([
        `SigIgn: ${none}`,
        ...["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map((set) => `${set}: ${none}`),
        ...["NoNewPrivs: 1", "Seccomp: 2"],
        ...["root is host 100000", "0"],
        ...["given", "tmp-writable", "shm-writable", "null"],
        ...["    lo", "1"],
        ...["own processes", "job", "1024", "0", ""],
      ]);
      await cleanup(spec);
    });

    it("prepares and starts once, however often it is asked", async () => {
      const spec = bench.shell("echo once >> /out/runs; cat /out/runs");
      await bench.engine.prepare(spec, quiet);
      await bench.engine.prepare(spec, quiet);
      expect((await bench.engine.inspect(spec.name, quiet)).phase).to.equal("created");
      await bench.run(spec);
      await bench.run(spec);
      expect(await bench.stdout(spec.name)).to.equal("once\n");
      const other = { ...spec, command: ["/bin/true"] };
      const error = await bench.engine.prepare(other, quiet).catch((thrown: unknown) => thrown);
      expect(error).to.have.property("code", "ENGINE_NAME_TAKEN");
      await cleanup(spec);
      await cleanup(spec);
    });

    it("says what is wrong with an image that is not there, a spec that cannot be, and an attempt unknown", async () => {
      const codeOf = (promise: Promise<unknown>) =>
        promise.then(
          () => "nothing thrown",
          (error: { code: string }) => error.code,
        );
      const absent = bench.shell("true", { imageDigest: `sha256:${"0".repeat(64)}` });
      expect(await codeOf(bench.engine.prepare(absent, quiet))).to.equal("IMAGE_NOT_IMPORTED");
      const escaping = bench.shell("true", { outputPath: "/out/../etc" });
      expect(await codeOf(bench.engine.prepare(escaping, quiet))).to.equal("SPEC_INVALID");
      for (const { name } of [absent, escaping]) expect(tracesOf(bench, name)).to.deep.equal([]);
      expect(await codeOf(bench.engine.start("never-prepared", quiet))).to.equal("ENGINE_NO_ATTEMPT");
      expect((await bench.engine.inspect("never-prepared", quiet)).phase).to.equal("absent");
    });

    if (config.type !== "podman") {
      it("refuses a job that asks for gVisor, rather than run it without", async () => {
        const spec = bench.shell("echo ran > /out/ran", { isolation: "gvisor" });
        const error = await bench.engine.prepare(spec, quiet).catch((thrown: unknown) => thrown);
        expect(error).to.have.property("code", "SPEC_REFUSED");
        expect(error).to.have.property("hint").that.includes("isolation-gvisor");
        expect((await bench.engine.inspect(spec.name, quiet)).phase).to.equal("absent");
        expect(tracesOf(bench, spec.name)).to.deep.equal([]);
      });
    }

    it("refuses to start in a folder that is not there, and can still be cleaned up", async () => {
      const spec = bench.shell("true", { workdir: "/no/such/folder" });
      await bench.engine.prepare(spec, quiet);
      const error = await bench.engine.start(spec.name, quiet).catch((thrown: unknown) => thrown);
      expect(error).to.have.property("code", "ENGINE_FAILED");
      expect((await bench.engine.inspect(spec.name, quiet)).phase).to.equal("created");
      await cleanup(spec);
    });

    it("lets a command that the image lacks, or that is none, end by itself with a code that says so", async () => {
      for (const command of [["/no/such/command"], ["no-such-command"], ["/etc/passwd"], ["/bin"]]) {
        const state = await bench.run(bench.shell("", { command }));
        expect(state, command.join()).to.deep.include({ phase: "exited", timedOut: false, oomKilled: false });
        expect(state.exitCode, command.join()).to.be.greaterThan(0);
      }
    });

    it("meters what was used: time on the processor, memory touched, time on the clock", async () => {
      const sleeper = await started("sleep 1");
      const worker = await started(
        "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; dd if=/dev/zero of=/dev/null bs=24M count=1",
      );
      const usageOf = async ({ name }: AttemptSpec) => {
        await bench.engine.wait(name, quiet);
        return await bench.engine.usage(name, quiet);
      };
      const [idle, busy] = [await usageOf(sleeper), await usageOf(worker)];
      expect(idle.wallMs).to.be.within(900, 15_000);
      expect(idle.cpuNs > 0n && idle.cpuNs * 2n < busy.cpuNs, `${idle.cpuNs} and ${busy.cpuNs} ns`).to.equal(true);
      expect(busy.cpuNs < BigInt(Math.ceil(busy.wallMs)) * 1_500_000n).to.equal(true); // one core, and some slack
      expect(busy.peakBytes).to.be.within(24 * MIB, 64 * MIB);
      for (const spec of [sleeper, worker]) await cleanup(spec);
    });

    it("shows what a job writes while it runs, where it can", async function () {
      const inputs = mkdtempSync(join(bench.dataDir, "go-"));
      chmodSync(inputs, 0o755);
      const script = "echo one; echo odd >&2; while [ ! -e /in/go ]; do sleep 0.05; done; printf two";
      const spec = bench.shell(script, { inputs: [{ hostDir: inputs, path: "/in" }] });
      const { engine } = bench;
      if (engine.liveLog === undefined) return this.skip();
      await engine.prepare(spec, quiet);
      const [out, err] = [engine.liveLog(spec.name, "stdout"), engine.liveLog(spec.name, "stderr")];
      expect(String(await out.read())).to.equal("");
      await engine.start(spec.name, quiet);
      await eventually("the first line is there", async () => String(await out.read()) === "one\n");
      await eventually("so is the error", async () => String(await err.read()) === "odd\n");
      writeFileSync(join(inputs, "go"), "");
      await engine.wait(spec.name, quiet);
      const rest = String(await out.read());
      const { stdout } = await engine.logs(spec.name, quiet);
      expect(readFileSync(stdout.path, "utf8").startsWith(`one\n${rest}`)).to.equal(true);
      await cleanup(spec);
    });

    hostileJobs(() => bench, { timerSlackMs });

    it("stops politely, then by force, and calls it cancelled", async () => {
      const polite = await started("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done");
      const stubborn = await started("trap '' TERM; echo ready; while :; do sleep 0.05; done");
      const doomed = await started("sleep 60");
      for (const { name } of [polite, stubborn])
        await eventually("it has set its trap", async () => (await bench.stdout(name)) === "ready\n");
      await Promise.all([
        bench.engine.stop(polite.name, 20_000, quiet),
        bench.engine.stop(stubborn.name, 1000, quiet),
        bench.engine.kill(doomed.name, quiet),
      ]);
      const states = await Promise.all([polite, stubborn, doomed].map(({ name }) => bench.engine.inspect(name, quiet)));
      expect(states[0]).to.deep.include({ phase: "exited", exitCode: 7, cancelled: true });
      for (const state of states) expect(outcomeOf(state, false)).to.equal("cancelled");
      await bench.engine.stop(polite.name, 1000, quiet); // the second time changes nothing
      expect(await bench.engine.inspect(polite.name, quiet)).to.deep.equal(states[0]);
      for (const spec of [polite, stubborn, doomed]) await cleanup(spec);
    });

    it("knows a job as lost whose monitor was killed, and leaves no process of it", async () => {
      const marker = `lost-${process.pid}-${Date.now()}`;
      const spec = await started(`while :; do sleep 0.05; done; : ${marker}`);
      await eventually("it runs", () => processesWith(marker).length > 0);
      const waiting = bench.engine.wait(spec.name, quiet);
      process.kill(await subject.monitorOf(bench, spec.name), "SIGKILL");
      expect((await waiting).phase).to.equal("lost");
      await eventually("its processes are gone", () => processesWith(marker).length === 0);
      await bench.engine.start(spec.name, quiet); // not again
      expect((await bench.engine.inspect(spec.name, quiet)).phase).to.equal("lost");
      await cleanup(spec);
    });

    it("carries on in a new process after kill -9, with the whole log", async () => {
      const inputs = mkdtempSync(join(bench.dataDir, "go-"));
      chmodSync(inputs, 0o755);
      const script =
        "ls /proc/self/fd | tr '\\n' ' '; echo before; while [ ! -e /in/go ]; do sleep 0.05; done; echo after; exit 5";
      const spec = bench.shell(script, { inputs: [{ hostDir: inputs, path: "/in" }] });
      await killWhenStarted(spawnChild(spec));

      const { engine } = await openTestMachine(config, bench.dataDir);
      expect(engine.list().map(({ name }) => name)).to.include(spec.name);
      expect((await engine.inspect(spec.name, quiet)).phase).to.equal("running");
      await engine.prepare(spec, quiet);
      await engine.start(spec.name, quiet); // it is running already
      writeFileSync(join(inputs, "go"), "");
      expect(await engine.wait(spec.name, quiet)).to.deep.include({ phase: "exited", exitCode: 5 });
      const { stdout } = await engine.logs(spec.name, quiet);
      expect(readFileSync(stdout.path, "utf8")).to.equal("0 1 2 3 before\nafter\n"); // ls has one of its own
      await engine.cleanup(spec.name, quiet);
      expect(tracesOf(bench, spec.name)).to.deep.equal([]);
    });

    it("meters what was used before and after kill -9, and says the same ever after", async () => {
      const inputs = mkdtempSync(join(bench.dataDir, "go-"));
      chmodSync(inputs, 0o755);
      const burn = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
      const eat = "dd if=/dev/zero of=/dev/null bs=24M count=1 2>/dev/null";
      const script = `${burn}; ${eat}; while [ ! -e /in/go ]; do sleep 0.05; done; ${burn}`;
      const spec = bench.shell(script, { inputs: [{ hostDir: inputs, path: "/in" }] });
      const spentAt = Date.now();
      await killWhenStarted(spawnChild(spec));

      const { engine } = await openTestMachine(config, bench.dataDir);
      writeFileSync(join(inputs, "go"), "");
      expect(await engine.wait(spec.name, quiet)).to.deep.include({ phase: "exited", exitCode: 0 });
      const usage = await engine.usage(spec.name, quiet);
      expect(usage.peakBytes).to.be.within(24 * MIB, 65 * MIB);
      expect(usage.wallMs).to.be.within(1, Date.now() - spentAt);
      expect(usage.cpuNs > 20_000_000n).to.equal(true);
      expect(usage.cpuNs <= BigInt(usage.wallMs + 1000) * 1_000_000n).to.equal(true);
      const next = await openTestMachine(config, bench.dataDir);
      expect(await next.engine.usage(spec.name, quiet)).to.deep.equal(usage);
      await engine.cleanup(spec.name, quiet);
    });

    it("stops a job at its time limit while no process of ours is there to see it", async () => {
      const marker = `alone-${process.pid}-${Date.now()}`;
      const spec = bench.shell(`while :; do sleep 0.05; done; : ${marker}`, { maxSeconds: 2 });
      await killWhenStarted(spawnChild(spec));
      await eventually("its time is over", () => processesWith(marker).length === 0, 2000 + timerSlackMs + 5000);

      const { engine } = await openTestMachine(config, bench.dataDir);
      expect(outcomeOf(await engine.wait(spec.name, quiet), false)).to.equal("timed-out");
      expect((await engine.usage(spec.name, quiet)).wallMs).to.be.within(1500, 2000 + timerSlackMs);
      await engine.cleanup(spec.name, quiet);
      expect(tracesOf(bench, spec.name)).to.deep.equal([]);
    });

    it("runs a job at most once, whenever its process group is killed while preparing and starting", async () => {
      const recordIn = (folder: string) => JSON.parse(readFileSync(join(folder, "attempt.json"), "utf8"));
      const moments: ((folder: string) => boolean)[] = [
        (folder) => existsSync(join(folder, "attempt.json")),
        (folder) => existsSync(join(folder, "attempt.json")) && recordIn(folder).startIntent !== undefined,
        ...subject.startFiles.map((file) => (folder: string) => existsSync(join(folder, file))),
      ];
      const [outcomes, killedWhile]: [string[], string[]] = [[], []];
      for (const hasCome of moments) {
        const spec = bench.shell("echo ran >> /out/runs; exit 5");
        const folder = subject.folderOf(bench, spec.name);
        const hadStarted = await killWhen(spawnChild(spec), () => hasCome(folder));
        killedWhile.push(hadStarted ? "started" : recordIn(folder).startIntent ? "starting" : "preparing");

        const { engine } = await openTestMachine(config, bench.dataDir);
        const state = await runIn(engine, spec);
        const runs = join(await engine.outputDir(spec.name, quiet), "runs");
        outcomes.push(`${state.phase} ${state.exitCode} ${existsSync(runs) ? readFileSync(runs, "utf8") : ""}`);
        await engine.cleanup(spec.name, quiet);
      }
      for (const outcome of outcomes) {
        expect(["exited 5 ran\n", "lost undefined ", "lost undefined ran\n"]).to.include(outcome);
      }
      expect(outcomes).to.include("exited 5 ran\n");
      expect(killedWhile).to.include("preparing").and.to.include("starting");
    });

    it("reaps what a killed process left, except what is to be kept", async () => {
      const [kept, dead] = [await started("sleep 60"), await started("sleep 60")];
      const { engine } = await openTestMachine(config, bench.dataDir);
      expect(await engine.reap([kept.name], quiet)).to.include(dead.name);
      expect((await engine.inspect(kept.name, quiet)).phase).to.equal("running");
      expect(tracesOf(bench, dead.name)).to.deep.equal([]);
      expect(await engine.release(quiet).catch((error: unknown) => error)).to.have.property("code", "ENGINE_BUSY");
      await engine.cleanup(kept.name, quiet);
    });

    it("takes away everything of a killed node by its data folder alone", async () => {
      const other = await openBench(config);
      const spec = other.shell("sleep 60");
      await other.engine.prepare(spec, quiet);
      await other.engine.start(spec.name, quiet);
      const monitor = await subject.monitorOf(other, spec.name);
      await reapEngine(other.dataDir, quiet);
      expect(isRunning(monitor)).to.equal(false);
      expect(leftOnMachine(other)).to.deep.equal([]);
      rmSync(other.dataDir, { recursive: true });
      await reapEngine(other.dataDir, quiet); // nothing there: nothing happens
    });

    it("drops images that no attempt needs when they are too many, and keeps the others", async () => {
      const { digest } = { digest: bench.imageDigest };
      expect(await bench.machine.hasImage(digest, quiet)).to.equal(true);
      expect(await bench.machine.evictImages(0, quiet)).to.deep.equal([]); // it was needed just now
      expect(await bench.machine.hasImage(`sha256:${"0".repeat(64)}`, quiet)).to.equal(false);
      expect(await bench.machine.hasImage(digest, quiet)).to.equal(true);
    });

    it("leaves nothing on the machine when released", async () => {
      const other = await openBench(config);
      await other.run(other.shell("true"));
      await other.close();
      expect(leftOnMachine(other)).to.deep.equal([]);
    });
  });
}

/** An image that has a user and a folder of its own. */
async function appImage(dir: string): Promise<{ dir: string; digest: string }> {
  const rootfs = mkdtempSync(join(dir, "rootfs-"));
  for (const folder of ["bin", "etc", "srv/app", "tmp", "proc", "dev", "sys", "run"])
    mkdirSync(join(rootfs, folder), { recursive: true, mode: 0o755 });
  copyFileSync("/bin/busybox", join(rootfs, "bin/busybox"));
  for (const tool of ["sh", "id", "pwd", "cat", "ls", "touch"]) symlinkSync("busybox", join(rootfs, "bin", tool));
  writeFileSync(join(rootfs, "etc/passwd"), "ana:x:1000:1001::/srv/app:/bin/sh\n");
  writeFileSync(join(rootfs, "srv/app/own"), "the image's own\n");
  const config = { user: "ana", workdir: "/srv/app", env: { PATH: "/bin" } };
  return await packImage({ rootfs, outDir: join(dir, "app-image"), config });
}

async function runIn(engine: Engine, spec: AttemptSpec) {
  await engine.prepare(spec, quiet);
  await engine.start(spec.name, quiet);
  return engine.wait(spec.name, quiet);
}

async function killWhenStarted(child: ChildProcess): Promise<void> {
  await once(child.stdout as NonNullable<typeof child.stdout>, "data");
  await killGroup(child);
}

/** Kills it as soon as it has come to a moment. True: its start was over before that. */
async function killWhen(child: ChildProcess, hasCome: () => boolean): Promise<boolean> {
  const closed = once(child, "close");
  let hasStarted = false;
  child.stdout?.once("data", () => {
    hasStarted = true;
  });
  try {
    await eventually("it comes to where it is killed", () => hasStarted || hasCome(), 60_000);
  } finally {
    await killGroup(child);
  }
  await closed; // what it said last is read by then
  return hasStarted;
}

/** The whole group, the engine's own helpers included. */
async function killGroup(child: ChildProcess): Promise<void> {
  const ended = child.exitCode === null && child.signalCode === null ? once(child, "exit") : undefined;
  process.kill(-(child.pid ?? 0), "SIGKILL");
  await ended;
}
