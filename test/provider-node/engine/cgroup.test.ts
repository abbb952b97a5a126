import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { detectCgroups, makeCgroup, readCgroup } from "../../../provider-node/src/engine/cgroup.ts";

describe("detectCgroups", () => {
  it("finds every controller of a hybrid machine in its own tree", () => {
    const host = detectCgroups(
      [
        "tmpfs /sys/fs/cgroup tmpfs rw 0 0",
        "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0",
        "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0",
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0",
      ].join("\n"),
    );
    expect(host.version).to.equal(1);
    expect(host.controllers.get("cpuacct")).to.equal("/sys/fs/cgroup/cpu,cpuacct");
    expect(host.trees).to.include("/sys/fs/cgroup/unified");
  });

  it("finds the single tree of version 2", () => {
    const host = detectCgroups("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n");
    expect(host.version).to.equal(2);
    expect(host.controllers.get("memory")).to.equal("/sys/fs/cgroup");
  });
});

/** The kernel's files are imitated by plain ones: this machine may have the other version. */
describe("cgroup version 2 files", () => {
  let tree: string;
  beforeEach(() => {
    tree = mkdtempSync(join(tmpdir(), "berth-cgroup-"));
  });
  afterEach(() => rmSync(tree, { recursive: true }));

  it("turns the controllers on at every level and caps the CPU with room for the monitor", () => {
    const host = detectCgroups(`cgroup2 ${tree} cgroup2 rw 0 0\n`);
    makeCgroup(host, "/berth-x/job", 1000);
    for (const level of ["", "berth-x", "berth-x/job"]) {
      expect(readFileSync(join(tree, level, "cgroup.subtree_control"), "utf8")).to.equal("+cpu +memory +pids");
    }
    expect(readFileSync(join(tree, "berth-x/job/cpu.max"), "utf8")).to.equal("125000 100000");
  });

  it("reads CPU time without the monitor's, the peak and the kernel's kills", () => {
    const host = detectCgroups(`cgroup2 ${tree} cgroup2 rw 0 0\n`);
    const job = join(tree, "job");
    mkdirSync(join(job, "conmon"), { recursive: true });
    writeFileSync(join(job, "cpu.stat"), "usage_usec 5000\nuser_usec 1\n");
    writeFileSync(join(job, "conmon/cpu.stat"), "usage_usec 1000\n");
    writeFileSync(join(job, "memory.peak"), "4096\n");
    writeFileSync(join(job, "memory.events"), "max 3\noom 1\noom_kill 2\n");
    expect(readCgroup(host, "/job")).to.deep.equal({ cpuNs: 4_000_000n, peakBytes: 4096, oomKills: 2 });
  });

  it("knows nothing of a cgroup that is gone", () => {
    expect(readCgroup(detectCgroups(`cgroup2 ${tree} cgroup2 rw 0 0\n`), "/none")).to.equal(undefined);
  });
});
