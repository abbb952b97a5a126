import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { expect } from "chai";
import { configSchema } from "../../../provider-node/src/config.ts";
import { chooseDevices, readCdiDevices } from "../../../provider-node/src/engine/cdi.ts";
import { createPodmanEngine } from "../../../provider-node/src/engine/podman.ts";
import { capacityOf, gpusIn, machineChecks } from "../../../provider-node/src/jobs/doctor.ts";
import { createProof } from "../../../provider-node/src/jobs/proof.ts";
import { openEngineBench, type PodmanBench, quiet } from "../../support/engine.ts";

const CDI = "/var/run/cdi";

describe("CDI files", () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-cdi-"));
    const node = (path: string) => ({ containerEdits: { deviceNodes: [{ path }] } });
    const devices = [
      { name: "10", ...node("/dev/g10") },
      { name: "2", ...node("/dev/g2") },
      { name: "uuid-2", ...node("/dev/g2") },
      { name: "all", containerEdits: { deviceNodes: [{ path: "/dev/g2" }, { path: "/dev/g10" }] } },
    ];
    writeFileSync(join(dir, "a.json"), JSON.stringify({ cdiVersion: "0.5.0", kind: "berth.test/gpu", devices }));
    writeFileSync(
      join(dir, "b.yaml"),
      'cdiVersion: "0.5.0"\nkind: berth.test/other\ndevices:\n  - name: 0\n    containerEdits:\n      env: [A=1]\n',
    );
    writeFileSync(join(dir, "c.json"), "{");
    writeFileSync(join(dir, "d.txt"), JSON.stringify({ kind: "berth.test/hidden", devices }));
  });
  after(() => rmSync(dir, { recursive: true }));

  it("are read as JSON and YAML, and each device counts once", () => {
    const found = readCdiDevices([dir, join(dir, "absent")]);
    const names = ["gpu=2", "gpu=10", "gpu=all", "gpu=uuid-2", "other=0"].map((name) => `berth.test/${name}`);
    expect(found.map(({ name }) => name)).to.deep.equal(names);
    expect(found.at(-1)).to.deep.include({ nodes: [], env: ["A=1"] });
    expect(chooseDevices("auto", found)).to.deep.equal(["berth.test/gpu=2", "berth.test/gpu=10", "berth.test/other=0"]);
    expect(chooseDevices(["x.test/gpu=1", "x.test/gpu=1"], found)).to.deep.equal(["x.test/gpu=1"]);
  });

  it("stay proven where a check finds none of them free, and not where it fails", () => {
    const probe = { name: "GPUs", capability: "gpu", detail: "", devices: ["p/gpu=0", "p/gpu=1"] } as const;
    expect(gpusIn([{ ...probe, ok: true }], [])).to.deep.equal(probe.devices);
    expect(gpusIn([{ ...probe, ok: false, isUntried: true }], ["p/gpu=0"])).to.deep.equal(["p/gpu=0"]);
    expect(gpusIn([{ ...probe, ok: false }], ["p/gpu=0"])).to.deep.equal([]);
  });
});

describe("GPUs by CDI", function () {
  this.timeout(180_000);
  const kind = `berth.test/t${randomBytes(4).toString("hex")}`;
  const file = join(CDI, `${kind.replace("/", "-")}.json`);
  // Like /dev/null, which is no GPU, but a device all the same.
  const nodes = [0, 1, 2].map((at) => `/dev/${kind.replace("/", "-")}-${at}`);
  const isNewFolder = !existsSync(CDI);
  const [first, second, locked] = [`${kind}=0`, `${kind}=1`, `${kind}=2`];
  let bench: PodmanBench;
  before(async () => {
    mkdirSync(CDI, { recursive: true });
    for (const [at, node] of nodes.entries()) {
      execFileSync("mknod", [`--mode=${at === 2 ? "0600" : "0666"}`, node, "c", "1", "3"]);
    }
    const devices = [0, 1, 2].map((at) => ({
      name: String(at),
      containerEdits: {
        env: [`BERTH_GPU_${at}=it's ${at}`],
        deviceNodes: [{ path: nodes[at] }],
      },
    }));
    writeFileSync(file, JSON.stringify({ cdiVersion: "0.5.0", kind, devices }));
    bench = await openEngineBench();
  });
  after(async () => {
    await bench?.close();
    for (const path of [file, ...nodes]) rmSync(path, { force: true });
    if (isNewFolder) rmdirSync(CDI);
  });

  const engineOf = () =>
    createPodmanEngine({ store: bench.store, runId: "test", nodeId: "node-a", gpuDevices: () => [first, second] });
  const wanting = (gpus: number, script: string) =>
    bench.shell(script, { resources: { cpuMilli: 500, memoryMiB: 64, diskMiB: 16, gpus } });
  const codeOf = (promise: Promise<unknown>) =>
    promise.then(
      () => "nothing thrown",
      (error: { code: string }) => error.code,
    );
  const seen = "env | grep ^BERTH_GPU | sort; cd /dev; ls -d berth*";

  it("are given to one attempt at a time, also by a node that starts anew, and are free again after its end", async () => {
    const engine = engineOf();
    const holder = wanting(1, `${seen}; sleep 60`);
    await engine.prepare(holder, quiet);
    await engine.start(holder.name, quiet);
    const restarted = engineOf();
    const other = wanting(1, seen);
    await restarted.prepare(other, quiet);
    await restarted.prepare(other, quiet);
    const third = wanting(1, seen);
    expect(await codeOf(restarted.prepare(third, quiet))).to.equal("ENGINE_NO_GPU");
    await restarted.start(other.name, quiet);
    await restarted.wait(other.name, quiet);
    expect(await bench.stdout(other.name)).to.equal(`BERTH_GPU_1=it's 1\n${basename(nodes[1] as string)}\n`);
    await restarted.prepare(third, quiet);
    const both = wanting(2, seen);
    expect(await codeOf(restarted.prepare(both, quiet))).to.equal("ENGINE_NO_GPU");
    await engine.kill(holder.name, quiet);
    await restarted.start(third.name, quiet);
    await restarted.wait(third.name, quiet);
    await restarted.prepare(both, quiet);
    await restarted.start(both.name, quiet);
    await restarted.wait(both.name, quiet);
    expect(await bench.stdout(both.name)).to.equal(
      `BERTH_GPU_0=it's 0\nBERTH_GPU_1=it's 1\n${nodes
        .slice(0, 2)
        .map((path) => basename(path))
        .join("\n")}\n`,
    );
    for (const { name } of [holder, other, third, both]) await engine.cleanup(name, quiet);
  });

  it("are not given twice to attempts that are prepared at once", async () => {
    const engine = engineOf();
    const specs = [1, 2, 3].map(() => wanting(1, "true"));
    const codes = await Promise.all(specs.map((spec) => codeOf(engine.prepare(spec, quiet))));
    expect(codes.sort()).to.deep.equal(["ENGINE_NO_GPU", "nothing thrown", "nothing thrown"]);
    for (const { name } of specs) await engine.cleanup(name, quiet);
  });

  it("are left alone by the checks while a job has them, keep what they proved before, and are given to no job while they are tried", async function () {
    this.timeout(120_000);
    const { dataDir } = bench;
    const gpus = { devices: [first, second, locked] };
    const config = configSchema.parse({ dataDir, gpus, mesh: { enabled: false } });
    let tried: (readonly string[])[] = [];
    const check = async () => {
      tried = [];
      const { checks, proven } = await machineChecks(config, quiet, { onGpus: (those) => tried.push(those) });
      return [checks.find(({ name }) => name === `GPU ${first}`)?.status, proven.gpus];
    };
    expect(await check()).to.deep.equal(["ok", [first, second]]);
    const engine = engineOf();
    const holder = wanting(1, "sleep 60");
    await engine.prepare(holder, quiet);
    expect(await check()).to.deep.equal(["warn", [first, second]]);
    expect(tried).to.deep.equal([[second, locked], []]);
    await engine.cleanup(holder.name, quiet);

    const proof = createProof(quiet.log, () => true);
    proof.note({
      checks: [],
      proven: { containers: true, mesh: false, gvisor: false, gpus: [first, second], attestation: "none" },
    });
    proof.tries([second, locked]);
    expect(proof.gpus()).to.deep.equal([first]);
    proof.tries([]);
    expect(proof.gpus()).to.deep.equal([first, second]);
  });

  it("are proven by a job that can open them, and only those are offered", async () => {
    const dataDir = mkdtempSync(join(tmpdir(), "berth-doctor-"));
    try {
      const capacity = { cpuMilli: 1000, memoryMiB: 512, diskMiB: 512 };
      const gpus = { devices: [second, locked, `${kind}=7`] };
      const config = configSchema.parse({ dataDir, gpus, offers: { capacity }, mesh: { enabled: false } });
      expect(capacityOf(config), "before the first checks").to.deep.equal({ ...capacity, gpus: 0 });
      const { checks, proven } = await machineChecks(config, quiet);
      const tried = checks.filter(({ name }) => name.startsWith("GPU "));
      expect(tried.map(({ name, status }) => [name, status])).to.deep.equal([
        [`GPU ${second}`, "ok"],
        [`GPU ${locked}`, "fail"],
        [`GPU ${kind}=7`, "fail"],
      ]);
      expect(proven).to.deep.include({ containers: true, gpus: [second] });
      expect(capacityOf(config)).to.deep.equal({ ...capacity, gpus: 1 });
    } finally {
      rmSync(dataDir, { recursive: true });
    }
  });
});
