import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import {
  JOB,
  jobProcess,
  MONITOR,
  makeJobCgroup,
  oomKillsOf,
  procsFiles,
} from "../../../provider-node/src/engine/bubblewrap-cgroup.ts";
import type { CgroupHost } from "../../../provider-node/src/engine/cgroup.ts";

const PATH = "/berth-0/attempt";
const RESOURCES = { cpuMilli: 1500, memoryMiB: 64, diskMiB: 1, gpus: 0 };

/** Folders in the place of the kernel's file systems: this machine has only one of the two versions. */
describe("a job's cgroup", () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "berth-Cgroup-"));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const v1 = (): CgroupHost => {
    const controllers = new Map(
      ["cpu", "cpuacct", "memory", "pids", "name=systemd"].map((name) => [name, join(root, name)]),
    );
    return { version: 1, controllers, trees: [...controllers.values()] };
  };
  const v2 = (): CgroupHost => ({
    version: 2,
    controllers: new Map(["cpu", "memory", "pids"].map((name) => [name, root])),
    trees: [root],
  });
  const read = (...parts: string[]) => readFileSync(join(root, ...parts), "utf8");

  it("has its limits on the job alone, in every tree of version 1", () => {
    mkdirSync(join(root, "memory", PATH, JOB), { recursive: true });
    writeFileSync(join(root, "memory", PATH, JOB, "memory.memsw.limit_in_bytes"), "-1"); // where swap is accounted
    makeJobCgroup(v1(), PATH, RESOURCES);
    makeJobCgroup(v1(), PATH, RESOURCES);
    expect(read("memory", PATH, JOB, "memory.limit_in_bytes")).to.equal("67108864");
    expect(read("memory", PATH, JOB, "memory.memsw.limit_in_bytes")).to.equal("67108864");
    expect(existsSync(join(root, "memory", PATH, JOB, "memory.swappiness"))).to.equal(false);
    expect(read("pids", PATH, JOB, "pids.max")).to.equal("512");
    expect(read("cpu", PATH, JOB, "cpu.cfs_quota_us")).to.equal("150000");
    expect(read("cpu", PATH, "cpu.cfs_quota_us")).to.equal("175000"); // with the monitor's share
    expect(procsFiles(v1(), PATH, MONITOR)).to.have.length(5);
  });

  it("has its limits on the job alone, in the one tree of version 2", () => {
    mkdirSync(join(root, PATH, JOB), { recursive: true });
    writeFileSync(join(root, PATH, JOB, "memory.swap.max"), "max");
    makeJobCgroup(v2(), PATH, RESOURCES);
    expect(read(PATH, JOB, "memory.max")).to.equal("67108864");
    expect(read(PATH, JOB, "memory.swap.max")).to.equal("0");
    expect(read(PATH, JOB, "pids.max")).to.equal("512");
    expect(read(PATH, JOB, "cpu.max")).to.equal("150000 100000");
    expect(read(PATH, "cgroup.subtree_control")).to.equal("+cpu +memory +pids");
    expect(procsFiles(v2(), PATH, JOB)).to.deep.equal([join(root, PATH, JOB, "cgroup.procs")]);
  });

  it("counts the kernel's kills in both versions, and none where it is gone", () => {
    for (const [host, folder, file] of [
      [v1(), "memory", "memory.oom_control"],
      [v2(), "", "memory.events"],
    ] as const) {
      expect(oomKillsOf(host, PATH)).to.equal(0);
      mkdirSync(join(root, folder, PATH, JOB), { recursive: true });
      writeFileSync(join(root, folder, PATH, JOB, file), "oom_kill_disable 0\nunder_oom 0\noom 7\noom_kill 2\n");
      expect(oomKillsOf(host, PATH)).to.equal(2);
    }
  });

  it("finds no process of a job where there is none, nor one that is of no namespace", () => {
    expect(jobProcess(v2(), PATH, 2)).to.equal(undefined);
    mkdirSync(join(root, PATH, JOB), { recursive: true });
    writeFileSync(join(root, PATH, JOB, "cgroup.procs"), `${process.pid}\n4194304\n`);
    expect(jobProcess(v2(), PATH, 2)).to.equal(undefined);
  });
});
