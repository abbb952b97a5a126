import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { BUBBLEWRAP_POLICY, bubblewrapPlan, rootArgs } from "../../../provider-node/src/engine/bubblewrap-policy.ts";
import { policyHash } from "../../../provider-node/src/engine/sandbox-policy.ts";
import type { AttemptSpec } from "../../../provider-node/src/engine/types.ts";
import { outcomeOf } from "../../../provider-node/src/engine/verdict.ts";
import { mountPoints } from "../../../provider-node/src/engine/volume.ts";
import { type EngineBench, openBench, openTestMachine, quiet } from "../../support/engine.ts";
import { busyboxImage } from "../../support/images.ts";
import { engineConformance } from "./conformance.ts";

const attemptFile = ({ dataDir }: EngineBench, name: string, file: string) =>
  join(dataDir, "bubblewrap/attempts", name, file);

engineConformance("bubblewrap engine", {
  config: { type: "bubblewrap" },
  monitorOf: async (bench, name) => Number(readFileSync(attemptFile(bench, name, "claim"), "utf8")),
  folderOf: (bench, name) => attemptFile(bench, name, ""),
  startFiles: ["claim", "started"],
});

describe("bubblewrap engine", function () {
  this.timeout(60_000);
  let bench: EngineBench;
  before(async () => {
    bench = await openBench({ type: "bubblewrap" });
  });
  after(() => bench?.close());

  it("shows a job nothing of this machine's folders, keys and timers", async () => {
    const script =
      "cat /proc/1/cmdline /proc/1/environ /proc/mounts; for f in keys timer_list kcore; do cat /proc/$f && echo read:$f; done 2>/dev/null";
    const spec = bench.shell(`${script}; ls /sys /sys/devices/system; echo x > /proc/sys/net/ipv4/ip_forward`);
    await bench.run(spec);
    const said = await bench.stdout(spec.name);
    expect(said).to.include("bwrap");
    expect(said)
      .to.not.include("berth-Engine")
      .and.not.include("/run/berth")
      .and.not.match(/read:[kt]/);
    expect(said).to.match(/\/sys:\ndevices\n\n\/sys\/devices\/system:\ncpu\n(node\n)?$/);
    const { stderr } = await bench.engine.logs(spec.name, quiet);
    expect(readFileSync(stderr.path, "utf8")).to.match(/ip_forward: Read-only file system/);
    await bench.engine.cleanup(spec.name, quiet);
  });

  it("starts once when two processes start at the same moment", async () => {
    const spec = bench.shell("echo ran >> /out/runs");
    await bench.engine.prepare(spec, quiet);
    const { engine } = await openTestMachine({ type: "bubblewrap" }, bench.dataDir);
    await Promise.all([bench.engine, engine, bench.engine].map((each) => each.start(spec.name, quiet)));
    expect(await engine.wait(spec.name, quiet)).to.deep.include({ phase: "exited", exitCode: 0 });
    const runs = join(await engine.outputDir(spec.name, quiet), "runs");
    expect(readFileSync(runs, "utf8")).to.equal("ran\n");
    await bench.engine.cleanup(spec.name, quiet);
  });

  it("calls a run lost whose sandbox could not be made, or that a reboot cut short, and never repeats it", async () => {
    const broken = bench.shell("echo ran > /out/ran");
    await bench.engine.prepare(broken, quiet);
    writeFileSync(attemptFile(bench, broken.name, "args"), "--no-such-option\0");
    await bench.engine.start(broken.name, quiet);
    expect((await bench.engine.wait(broken.name, quiet)).phase).to.equal("lost");

    const rebooted = bench.shell("echo ran > /out/ran");
    await bench.engine.prepare(rebooted, quiet);
    const record = attemptFile(bench, rebooted.name, "attempt.json");
    const known = JSON.parse(readFileSync(record, "utf8"));
    writeFileSync(record, JSON.stringify({ ...known, startIntent: { bootId: "of the boot before" } }));
    for (const { name } of [broken, rebooted]) {
      await bench.engine.start(name, quiet);
      expect((await bench.engine.inspect(name, quiet)).phase).to.equal("lost");
      expect(existsSync(join(await bench.engine.outputDir(name, quiet), "ran"))).to.equal(false);
      await bench.engine.cleanup(name, quiet);
    }
  });

  it("tells a job that ran out of memory from one whose child did", async () => {
    const spec = bench.shell("dd if=/dev/zero of=/dev/null bs=200M count=1; exit 0");
    await bench.run(spec);
    expect((await bench.engine.inspect(spec.name, quiet)).exitCode).to.equal(0); // a child was killed, the job went on
    await bench.engine.cleanup(spec.name, quiet);
    const whole = bench.shell("exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    await bench.engine.prepare(whole, quiet);
    await bench.engine.start(whole.name, quiet);
    while ((await bench.engine.inspect(whole.name, quiet)).phase === "running")
      await new Promise((r) => setTimeout(r, 10));
    expect(outcomeOf(await bench.engine.inspect(whole.name, quiet), false)).to.equal("out-of-memory");
    await bench.engine.cleanup(whole.name, quiet);
  });

  it("gives back the space of an attempt while a job runs that started beside it", async () => {
    const [gone, long] = [bench.shell("true"), bench.shell("echo up; sleep 60")];
    await bench.run(gone);
    await bench.engine.prepare(long, quiet);
    await bench.engine.start(long.name, quiet);
    while ((await bench.stdout(long.name)) === "") await new Promise((r) => setTimeout(r, 10));
    const loopsOf = (name: string) =>
      spawnSync("losetup", ["--list", "--noheadings", "--output=BACK-FILE"], { encoding: "utf8" })
        .stdout.split("\n")
        .filter((line) => line.includes(name));
    expect(loopsOf(gone.name)).to.have.length(1);
    await bench.engine.cleanup(gone.name, quiet);
    expect(loopsOf(gone.name)).to.deep.equal([]);
    await bench.engine.cleanup(long.name, quiet);
  });

  it("takes away what podman left when the node changes to it, and the other way round", async () => {
    const other = await openBench({ type: "podman" });
    const left = [other.shell("sleep 60"), other.shell("sleep 60")] as const;
    await other.engine.prepare(left[0], quiet);
    await other.engine.start(left[0].name, quiet);
    const second = await openTestMachine({ type: "bubblewrap" }, other.dataDir);
    expect(mountPoints().filter((path) => path.startsWith(other.dataDir))).to.deep.equal([]);
    expect(readdirSync(join(other.dataDir, "engine/attempts"))).to.deep.equal([]);
    await second.importImage((await busyboxImage()).dir, other.imageDigest, quiet, 2 ** 30);
    await second.engine.prepare(left[1], quiet);
    const third = await openTestMachine({ type: "podman" }, other.dataDir);
    expect(readdirSync(join(other.dataDir, "bubblewrap/attempts"))).to.deep.equal([]);
    await third.engine.release(quiet);
    rmSync(other.dataDir, { recursive: true });
  });

  it("drops an image that was not used lately, but not one that an attempt is made of", async () => {
    const other = await openBench({ type: "bubblewrap" });
    try {
      const digest = other.imageDigest;
      const folder = join(other.dataDir, "bubblewrap/images", digest.replace(":", "-"));
      const age = () => utimesSync(join(folder, "image.json"), 1, 1);
      const spec = other.shell("true");
      await other.engine.prepare(spec, quiet);
      age();
      expect(await other.machine.evictImages(0, quiet)).to.deep.equal([]);
      await other.engine.cleanup(spec.name, quiet);
      expect(await other.machine.evictImages(2 ** 30, quiet)).to.deep.equal([]); // there is room
      expect(await other.machine.evictImages(0, quiet)).to.deep.equal([digest]);
      expect(readdirSync(join(folder, ".."))).to.deep.equal([]);
      expect(await other.machine.hasImage(digest, quiet)).to.equal(false);
    } finally {
      await other.close();
    }
  });
});

describe("bubblewrapPlan", () => {
  const image = {
    entrypoint: ["/e"],
    command: ["c"],
    env: { A: "image" },
    workdir: "/w",
    uid: 0,
    gid: 0,
    home: "/root",
  };
  let rootDir: string;
  before(() => {
    rootDir = mkdtempSync(join(tmpdir(), "berth-Root-"));
    for (const folder of ["bin", "data/deep/x", "data/other", "tmp", "proc"])
      mkdirSync(join(rootDir, folder), { recursive: true });
    symlinkSync("/etc/shadow", join(rootDir, "link"));
    writeFileSync(join(rootDir, "file"), "");
  });
  after(() => rmSync(rootDir, { recursive: true }));
  const plan = (changes: Partial<AttemptSpec> = {}, changed: Partial<typeof image> = {}) =>
    bubblewrapPlan(
      {
        ...{ name: "a", jobId: "0x01", replica: 0, attempt: 1, imageDigest: "", command: [], env: {} },
        resources: { cpuMilli: 100, memoryMiB: 64, diskMiB: 1, gpus: 0 },
        ...{ maxSeconds: 1, inputs: [], outputPath: "/out", outputs: { maxBytes: 1, maxFiles: 1 }, network: "none" },
        ...changes,
      } as AttemptSpec,
      { rootDir, image: { ...image, ...changed }, outputDir: "/host/out", stage: "/stage" },
    );

  it("shows what the image has read-only, and rebuilds the folders above a mount", () => {
    expect(rootArgs(rootDir, "/stage/0", ["/tmp", "/proc", "/data/deep/in", "/link/in"])).to.deep.equal([
      ...["--ro-bind", "/stage/0/bin", "/bin"],
      ...["--dir", "/data", "--dir", "/data/deep", "--ro-bind", "/stage/0/data/deep/x", "/data/deep/x"],
      ...["--ro-bind", "/stage/0/data/other", "/data/other"],
      ...["--ro-bind", "/stage/0/file", "/file"],
    ]);
    expect(rootArgs(rootDir, "/stage/0", []).join(" ")).to.include("--symlink /etc/shadow /link");
  });

  it("puts the command together as podman does", () => {
    expect(plan().command).to.deep.equal(["/e", "c"]);
    expect(plan({ command: ["x"] }).command).to.deep.equal(["/e", "x"]);
    expect(plan({ entrypoint: ["/f"] }).command).to.deep.equal(["/f"]);
    expect(plan({ entrypoint: [], command: ["x"] }).command).to.deep.equal(["x"]);
    const error = (run: () => unknown) => expect(run).to.throw().with.property("code");
    error(() => plan({}, { entrypoint: [], command: [] })).to.equal("SPEC_INVALID");
    error(() => plan({}, { env: { A: "a\0b" } })).to.equal("SPEC_INVALID");
    error(() => plan({ inputs: [{ hostDir: "/a\nb", path: "/in" }] })).to.equal("ENGINE_PATH_REFUSED");
    error(() =>
      plan({ resources: { cpuMilli: 100, memoryMiB: 64, diskMiB: 1, gpus: 1 }, gpuDevices: ["a/b=0"] }),
    ).to.equal("SPEC_REFUSED");
    const env = Object.fromEntries(Array.from({ length: 3000 }, (_, at) => [`V${at}`, ""]));
    error(() => plan({ env })).to.equal("SPEC_REFUSED");
  });

  it("has a policy of its own, which every part of the filter is part of", () => {
    const { seccomp } = BUBBLEWRAP_POLICY;
    const weaker = { ...BUBBLEWRAP_POLICY, seccomp: { ...seccomp, denied: seccomp.denied.slice(1) } };
    expect(new Set([policyHash(), policyHash(BUBBLEWRAP_POLICY), policyHash(weaker)]).size).to.equal(3);
  });
});
