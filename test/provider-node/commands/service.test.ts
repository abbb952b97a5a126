import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { exitCodes } from "../../../provider-node/src/cli/exit-codes.ts";

const root = join(import.meta.dirname, "../../..");
const main = join(root, "provider-node/src/main.ts");
const unit = readFileSync(join(root, "packaging/berth-node.service"), "utf8");
/** Of 10; an engine that runs as root and mounts volumes cannot go far below. */
const MAX_EXPOSURE = 7.2;

describe("berth-node.service", function () {
  this.timeout(120_000);
  let dir: string;
  let file: string;

  before(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-service-"));
    file = join(dir, "berth-node.service");
    // systemd-analyze wants the programs to be there.
    writeFileSync(file, unit.replace(/^ExecStart=\S+/m, `ExecStart=${process.execPath}`));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  /** Skips the test, with a word, where the machine does not have the program. */
  function needs(context: Mocha.Context, program: string): void {
    const found = (process.env["PATH"] ?? "").split(":").some((folder) => existsSync(join(folder, program)));
    if (found) return;
    process.stderr.write(`      skipped: ${program} is not installed (apt-get install systemd util-linux)\n`);
    context.skip();
  }

  it("is a unit that systemd takes without a word", function () {
    needs(this, "systemd-analyze");
    const { status, stdout, stderr } = spawnSync("systemd-analyze", ["verify", file], { encoding: "utf8" });
    const about = `${stdout}${stderr}`.split("\n").filter((line) => line.includes("berth-node.service"));
    expect(about).to.deep.equal([]);
    expect(status).to.equal(0);
  });

  it(`exposes less than ${MAX_EXPOSURE} of 10, by systemd's own measure`, function () {
    needs(this, "systemd-analyze");
    const args = ["security", "--offline=true", "--no-pager", file];
    const { stdout } = spawnSync("systemd-analyze", args, { encoding: "utf8" });
    const exposure = Number(/Overall exposure level.*: (\d+\.\d+)/.exec(stdout)?.[1]);
    expect(exposure, stdout).to.be.lessThan(MAX_EXPOSURE);
  });

  it("leaves containers running, restarts after a failure and not after a wrong setting", () => {
    expect(settings("KillMode")).to.deep.equal(["process"]);
    expect(settings("Restart")).to.deep.equal(["on-failure"]);
    expect(settings("RestartPreventExitStatus")).to.deep.equal([String(exitCodes.usage)]);
    expect(settings("SuccessExitStatus")).to.deep.equal([String(exitCodes.interrupted)]);
    expect(Number(settings("TimeoutStopSec")[0])).to.be.greaterThan(30);
  });

  it("gives the node no mounts of its own, for volumes must outlive it", () => {
    const own = ["ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectKernelTunables"];
    const more = ["ProtectControlGroups", "ProtectProc", "PrivateMounts", "ReadOnlyPaths", "ProtectKernelLogs"];
    for (const name of [...own, ...more, "ProtectKernelModules", "InaccessiblePaths", "BindPaths", "ProtectHostname"])
      expect(settings(name), name).to.deep.equal([]);
  });

  it("keeps what the container engine needs: doctor proves it with these capabilities alone", function () {
    needs(this, "setpriv");
    const allowed = settings("CapabilityBoundingSet")
      .flatMap((line) => line.split(" "))
      .map((name) => `+${name.replace(/^CAP_/, "").toLowerCase()}`)
      .join(",");
    const args = ["--no-new-privs", `--bounding-set=-all,${allowed}`, ...doctor()];
    const held = spawnSync("setpriv", args, { encoding: "utf8" });
    const { checks, proven } = JSON.parse(held.stdout || "{}");
    expect(proven?.containers, `${held.stderr}${JSON.stringify(checks)}`).to.equal(true);
  });

  function doctor(): string[] {
    const dataDir = join(dir, "node");
    const flags = ["--data-dir", dataDir, "--run-id", `s${(process.pid % 46656).toString(36)}`, "--json"];
    return [process.execPath, main, ...flags, "--set", "mesh.enabled=false", "doctor"];
  }
});

/** All values of a setting, in their order. */
function settings(name: string): string[] {
  return [...unit.matchAll(new RegExp(`^${name}=(.*)$`, "gm"))].map(([, value]) => value ?? "");
}
