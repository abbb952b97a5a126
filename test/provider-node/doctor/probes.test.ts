import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { hasStarted, provenCapabilities, runProbes } from "../../../provider-node/src/doctor/probes.ts";
import type { Probe } from "../../../provider-node/src/doctor/types.ts";
import { mountPoints } from "../../../provider-node/src/engine/volume.ts";
import { quiet } from "../../support/engine.ts";

const hasRunsc = spawnSync("runsc", ["--version"]).status === 0;

describe("runProbes", function () {
  this.timeout(60_000);
  let dataDir: string;
  before(() => {
    dataDir = mkdtempSync(join(tmpdir(), "berth-doctor-"));
  });
  after(() => rmSync(dataDir, { recursive: true }));

  for (const type of ["podman", "bubblewrap"] as const)
    it(`proves each promise by a job that tries to break it, on ${type}, and leaves nothing behind`, async () => {
      mkdirSync(join(dataDir, "doctor-4194304")); // of a doctor that was killed: beyond the largest process id
      const probes = await runProbes({ dataDir, engine: { type }, minFreeBytes: 1 }, quiet);
      const gvisor = probes.find(({ capability }) => capability === "gvisor");
      expect(gvisor?.ok, gvisor?.detail).to.equal(type === "podman" ? hasRunsc : undefined);
      if (!hasRunsc && gvisor) expect(gvisor).to.include({ detail: "runsc is not installed" });
      expect(probes.filter(({ ok, capability }) => !ok && capability !== "gvisor")).to.deep.equal([]);
      expect(probes.map(({ name }) => name)).to.deep.equal([
        "runs as root",
        "cgroups",
        "disk free",
        "programs installed",
        "tun device",
        "digest mismatch refused",
        "engine runs hello",
        "memory limit",
        "pids limit",
        "network none is none",
        "output quota holds",
        ...(type === "podman" ? ["gVisor isolates"] : []),
      ]);
      expect(readdirSync(dataDir)).to.deep.equal([]);
      expect(mountPoints().filter((path) => path.startsWith(dataDir))).to.deep.equal([]);
    });

  it("says what is missing and what to do", async () => {
    const probes = await runProbes(
      { dataDir, engine: { type: "bubblewrap" }, minFreeBytes: Number.MAX_SAFE_INTEGER },
      quiet,
    );
    const disk = probes.find(({ name }) => name === "disk free");
    expect(disk).to.have.property("ok", false);
    expect(disk?.fix).to.match(/^Free at least/);
    expect(provenCapabilities(probes)).to.not.include("disk");
  });
});

describe("hasStarted", () => {
  const full = {
    start: (_name: string, { signal }: { signal: AbortSignal }) =>
      new Promise<void>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
  };

  it("waits for a start no longer than it may", async () => {
    expect(await hasStarted(full, "a", 1, quiet)).to.equal(false);
    expect(await hasStarted({ start: async () => {} }, "a", 60_000, quiet)).to.equal(true);
  });

  it("passes on what a start fails with, and that the doctor was stopped", async () => {
    const said = (error: Error) => error.message;
    const broken = { start: () => Promise.reject(new Error("no runtime")) };
    expect(await hasStarted(broken, "a", 60_000, quiet).catch(said)).to.equal("no runtime");
    const stopped = { ...quiet, signal: AbortSignal.abort(new Error("stopped")) };
    const start = async (_name: string, { signal }: { signal: AbortSignal }) => signal.throwIfAborted();
    expect(await hasStarted({ start }, "a", 60_000, stopped).catch(said)).to.equal("stopped");
  });
});

describe("provenCapabilities", () => {
  const probe = (capability: Probe["capability"], ok: boolean): Probe => ({ name: "", capability, ok, detail: "" });

  it("needs every probe of a capability to pass", () => {
    expect(provenCapabilities([probe("limits", true), probe("limits", false), probe("mesh", true)])).to.deep.equal([
      "mesh",
    ]);
  });
});
