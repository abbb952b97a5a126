import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { configSchema } from "../../../provider-node/src/config.ts";
import type { Probe } from "../../../provider-node/src/doctor/types.ts";
import { containersIn, machineChecks } from "../../../provider-node/src/jobs/doctor.ts";
import { quiet } from "../../support/engine.ts";

const probe = (changes: Partial<Probe>): Probe => ({
  ...{ name: "", capability: "container", ok: true, detail: "" },
  ...changes,
});
const good = [probe({}), probe({ capability: "limits" })];

describe("containersIn", () => {
  const both = (...probes: Probe[]) => [true, false].map((before) => containersIn([...good, ...probes], before));

  it("needs every probe but those of what a node can be without", () => {
    expect(both()).to.deep.equal([true, true]);
    for (const capability of ["container", "limits", "network-none", "output-limit", "image-verification"] as const)
      expect(both(probe({ ok: false, capability }))).to.deep.equal([false, false]);
    for (const capability of ["mesh", "gvisor", "gpu", "disk"] as const)
      expect(both(probe({ ok: false, capability }))).to.deep.equal([true, true]);
    expect(containersIn([], true)).to.equal(false);
  });

  it("leaves what was known where a full cluster let nothing be tried", () => {
    expect(both(probe({ ok: false, isUntried: true }))).to.deep.equal([true, false]);
    expect(both(probe({ ok: false, isUntried: true }), probe({ ok: false }))).to.deep.equal([false, false]);
  });
});

describe("machineChecks", function () {
  this.timeout(60_000);
  let dataDir: string;
  before(() => {
    dataDir = mkdtempSync(join(tmpdir(), "berth-doctor-"));
  });
  after(() => rmSync(dataDir, { recursive: true }));

  it("finds too little of the disk free below minFreeMiB, which says nothing of what the machine can do", async () => {
    const config = { dataDir, engine: { type: "bubblewrap" }, mesh: { enabled: false }, minFreeMiB: 1_000_000_000 };
    const { checks, proven } = await machineChecks(configSchema.parse(config), quiet);
    const disk = checks.find(({ name }) => name === "disk free");
    expect(disk).to.deep.include({ status: "fail", without: "running jobs" });
    expect(disk?.fix).to.match(/^Free at least 976562\.5 GiB/);
    expect(proven.containers).to.equal(true);
  });
});
