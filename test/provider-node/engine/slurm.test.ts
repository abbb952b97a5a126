import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { MarketError } from "@berth/protocol";
import { expect } from "chai";
import type { EngineConfig } from "../../../provider-node/src/config/engine.ts";
import type { AttemptSpec } from "../../../provider-node/src/engine/types.ts";
import { type EngineBench, openBench, openTestMachine, quiet } from "../../support/engine.ts";
import { eventually } from "../../support/eventually.ts";
import { missingSlurm, processesWith, type SlurmCluster, startSlurm } from "../../support/slurm.ts";
import { engineConformance } from "./conformance.ts";

describe("a Slurm cluster of two nodes", function () {
  this.timeout(60_000);
  let cluster: SlurmCluster;
  const config = { type: "slurm" } as Extract<EngineConfig, { type: "slurm" }>;

  before(async function () {
    const missing = missingSlurm();
    if (missing !== undefined) {
      console.log(`    skipped: ${missing}`);
      this.skip();
    }
    cluster = await startSlurm();
    config.slurm = cluster.config;
  });
  after(() => cluster?.close());

  engineConformance("slurm engine", {
    config,
    monitorOf: async (_, name) => processesWith(name, "conmon")[0] as number,
    folderOf: ({ dataDir }, name) => {
      const id = createHash("sha256").update(dataDir).digest("hex").slice(0, 12);
      return join(config.slurm.sharedDir, `node-${id}`, "attempts", name);
    },
    startFiles: ["claim"],
  });

  describe("slurm engine on a cluster that has troubles", () => {
    let bench: EngineBench;
    before(async () => {
      bench = await openBench(config);
    });
    after(() => bench?.close());

    const size = (cpuMilli: number, memoryMiB = 64) => ({ resources: { cpuMilli, memoryMiB, diskMiB: 16, gpus: 0 } });
    const started = async (script: string, changes: Partial<AttemptSpec> = {}) => {
      const spec = bench.shell(script, changes);
      await bench.engine.prepare(spec, quiet);
      await bench.engine.start(spec.name, quiet);
      return spec;
    };
    const codeOf = (promise: Promise<unknown>) =>
      promise.then(
        () => "nothing thrown",
        (error: { code: string }) => error.code,
      );
    /** A job that ends with 6 when `go` is called. */
    const startGated = async (changes: Partial<AttemptSpec> = {}) => {
      const hostDir = mkdtempSync(join(bench.dataDir, "go-"));
      chmodSync(hostDir, 0o755);
      const script = "echo before; while [ ! -e /in/go ]; do sleep 0.05; done; echo after; exit 6";
      const spec = await started(script, { inputs: [{ hostDir, path: "/in" }], maxSeconds: 300, ...changes });
      return { spec, go: () => writeFileSync(join(hostDir, "go"), "") };
    };
    const jobsOf = async (name: string) =>
      (await cluster.slurm("squeue", "-h", "-n", name, "-o%i")).split("\n").filter(Boolean);
    const nodeOf = async (name: string) => cluster.slurm("squeue", "-h", "-n", name, "-o%N");
    const cleanup = async (...specs: AttemptSpec[]) => {
      for (const { name } of specs) {
        await bench.engine.cleanup(name, quiet);
        expect(processesWith(name, "")).to.deep.equal([]);
      }
    };

    it("has the right exit codes and whole logs when controller and node daemons are killed in the middle", async () => {
      const [during, after] = [await startGated(), await startGated()];
      const ends = [during, after].map(({ spec }) => bench.engine.wait(spec.name, quiet));
      await cluster.saveState();
      await cluster.killController();
      for (const node of ["c1", "c2"] as const) await cluster.killNode(node);
      expect(await codeOf(bench.engine.inspect(after.spec.name, quiet))).to.equal("ENGINE_CLUSTER_SILENT"); // not lost
      during.go();
      expect(await ends[0]).to.deep.include({ phase: "exited", exitCode: 6 }); // heard of without Slurm
      await cluster.startController();
      for (const node of ["c1", "c2"] as const) await cluster.startNode(node);
      after.go();
      expect(await ends[1]).to.deep.include({ phase: "exited", exitCode: 6, cancelled: false });
      for (const { spec } of [during, after]) expect(await bench.stdout(spec.name)).to.equal("before\nafter\n");
      await cleanup(during.spec, after.spec);
    });

    it("leaves no container when an administrator cancels the job, and calls it lost", async () => {
      const [asked, killed] = [await started("trap '' TERM; sleep 60"), await started("sleep 60")];
      await cluster.slurm("scancel", ...(await jobsOf(asked.name)));
      await cluster.slurm("scancel", "--full", "--signal=KILL", ...(await jobsOf(killed.name)));
      for (const { name } of [asked, killed]) {
        expect((await bench.engine.wait(name, quiet)).phase).to.equal("lost");
        expect(processesWith(name, "conmon")).to.deep.equal([]);
      }
      await cleanup(asked, killed);
    });

    it("buries a run whose supervisor was killed", async () => {
      const spec = await started("sleep 60");
      const supervisors = processesWith(`supervise\0${cluster.config.sharedDir}`, "bash");
      expect(supervisors).to.not.have.length(0);
      for (const pid of supervisors) process.kill(pid, "SIGKILL"); // with a helper of its own, perhaps
      expect((await bench.engine.wait(spec.name, quiet)).phase).to.equal("lost");
      expect(processesWith(spec.name, "conmon")).to.deep.equal([]);
      await cleanup(spec);
    });

    it("runs the command once, though the job is submitted again and again", async () => {
      const { spec, go } = await startGated();
      const [job = ""] = await jobsOf(spec.name);
      const script = /Command=(\S+)/.exec(await cluster.slurm("scontrol", "show", "job", job))?.[1] ?? "";
      for (let again = 0; again < 2; again += 1)
        await cluster.slurm("sbatch", "--output=/dev/null", `--job-name=${spec.name}`, script);
      await bench.engine.start(spec.name, quiet);
      await eventually("the others have given up", async () => (await jobsOf(spec.name)).length === 1);
      go();
      expect(await bench.engine.wait(spec.name, quiet)).to.deep.include({ exitCode: 6 });
      expect(await bench.stdout(spec.name)).to.equal("before\nafter\n");
      await cleanup(spec);
    });

    it("uses both nodes, and lets what does not fit wait, be withdrawn and be stopped before it began", async () => {
      const [one, two] = [await startGated(size(4000)), await startGated(size(4000))];
      expect([await nodeOf(one.spec.name), await nodeOf(two.spec.name)].toSorted()).to.deep.equal(["c1", "c2"]);

      const third = bench.shell("exit 8", size(1000));
      await bench.engine.prepare(third, quiet);
      const late = new AbortController();
      const starting = codeOf(bench.engine.start(third.name, { ...quiet, signal: late.signal }));
      await eventually("it waits in the queue", async () => (await jobsOf(third.name)).length === 1);
      expect((await bench.engine.inspect(third.name, quiet)).phase).to.equal("created");
      late.abort(new MarketError("LATE", "The time to start is over."));
      expect(await starting).to.equal("LATE");
      await eventually("it has left the queue", async () => (await jobsOf(third.name)).length === 0);
      expect((await bench.engine.inspect(third.name, quiet)).phase).to.equal("created");

      const fourth = bench.shell("exit 9", size(1000));
      await bench.engine.prepare(fourth, quiet);
      const waiting = bench.engine.start(fourth.name, quiet);
      await eventually("it waits in the queue", async () => (await jobsOf(fourth.name)).length === 1);
      await bench.engine.kill(fourth.name, quiet);
      await waiting;
      expect(await bench.engine.inspect(fourth.name, quiet)).to.deep.include({ phase: "exited", cancelled: true });
      expect(await bench.stdout(fourth.name)).to.equal("");

      for (const { go } of [one, two]) go();
      expect(await bench.run(third)).to.deep.include({ phase: "exited", exitCode: 8 }); // its time came again
      await cleanup(one.spec, two.spec, third, fourth);
    });

    it("brings home the outputs of many that end at the same time", async () => {
      const specs = Array.from({ length: 6 }, (_, at) => bench.shell(`echo ${at} > /out/file; exit ${at}`));
      for (const state of await Promise.all(specs.map((spec) => bench.run(spec))))
        expect(state.phase).to.equal("exited");
      for (const [at, { name }] of specs.entries()) {
        const dir = await bench.engine.outputDir(name, quiet);
        expect(readFileSync(join(dir, "file"), "utf8")).to.equal(`${at}\n`);
      }
      await cleanup(...specs);
    });

    it("asks Slurm once for all attempts", async () => {
      const binDir = join(cluster.folder, "bin");
      const calls = join(cluster.folder, "calls");
      mkdirSync(binDir);
      writeFileSync(join(binDir, "squeue"), `#!/bin/sh\necho "$*" >> ${calls}\nexec /usr/bin/squeue "$@"\n`, {
        mode: 0o755,
      });
      const gated = await Promise.all([1, 2, 3].map(() => startGated()));
      const slurm = { ...cluster.config, binDir, pollMs: 500 };
      const { engine } = await openTestMachine({ type: "slurm", slurm }, bench.dataDir);
      const from = Date.now();
      const waits = gated.map(({ spec }) => engine.wait(spec.name, quiet));
      const questions = () => (existsSync(calls) ? readFileSync(calls, "utf8") : "").trim().split("\n");
      await eventually("it asks for all three", () =>
        questions().some((line) => gated.every(({ spec }) => line.includes(spec.name))),
      );
      for (const { go } of gated) go();
      for (const state of await Promise.all(waits)) expect(state.exitCode).to.equal(6);
      expect(questions().length).to.be.at.most(Math.ceil((Date.now() - from) / slurm.pollMs) + 1);
      await cleanup(...gated.map(({ spec }) => spec));
    });

    it("refuses what fits no node, or not the partition's time limit", async () => {
      const large = bench.shell("true", size(5000)); // the partition has eight processors
      expect(await codeOf(bench.engine.prepare(large, quiet))).to.equal("ENGINE_JOB_TOO_LARGE");
      const long = bench.shell("true", { maxSeconds: 3600 });
      expect(await codeOf(bench.engine.prepare(long, quiet))).to.equal("ENGINE_JOB_TOO_LARGE");
      expect(bench.engine.list()).to.deep.equal([]);
    });

    it("gives each job the GPUs that Slurm chose for it, and no job another's", async () => {
      const wanting = (gpus: number) => ({ resources: { cpuMilli: 1000, memoryMiB: 64, diskMiB: 16, gpus } });
      const script = "echo $BERTH_GPU; cd /dev; for d in berth-*; do : < $d && echo $d; done";
      const go = mkdtempSync(join(bench.dataDir, "go-"));
      chmodSync(go, 0o755);
      const gated = { ...wanting(1), maxSeconds: 300, inputs: [{ hostDir: go, path: "/in" }] };
      const one = await started(`${script}; while [ ! -e /in/go ]; do sleep 0.05; done`, gated);
      const two = await started(script, wanting(1));
      expect(await bench.engine.wait(two.name, quiet)).to.deep.include({ phase: "exited", exitCode: 0 });
      const both = bench.shell(script, wanting(2));
      await bench.engine.prepare(both, quiet);
      const starting = bench.engine.start(both.name, quiet);
      await eventually("it waits for the GPU that is in use", async () => (await jobsOf(both.name)).length === 1);
      writeFileSync(join(go, "go"), "");
      await starting;
      await Promise.all([one, both].map(({ name }) => bench.engine.wait(name, quiet)));
      const files = cluster.gpus.map((path) => basename(path));
      const alone = files.map((file, at) => `card-${at}\n${file}\n`);
      expect([await bench.stdout(one.name), await bench.stdout(two.name)].toSorted()).to.deep.equal(alone);
      expect((await bench.stdout(both.name)).split("\n").slice(1)).to.deep.equal([...files, ""]);
      const none = await started('echo "[$BERTH_GPU]"; ls -d /dev/berth-* 2>/dev/null || echo none');
      await bench.engine.wait(none.name, quiet);
      expect(await bench.stdout(none.name)).to.equal("[]\nnone\n");
      await cleanup(one, two, both, none);
    });
  });
});
