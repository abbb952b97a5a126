import { existsSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { expect } from "chai";
import { missingRequirements } from "../../../scripts/lib/requirements.ts";
import { program, scripts } from "../../support/e2e.ts";

const path = process.env["PATH"] ?? "";

describe("what this machine lacks", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "berth-path-"));
  });
  afterEach(() => {
    process.env["PATH"] = path;
    rmSync(folder, { recursive: true, force: true });
  });

  /** A PATH with everything that is needed but `absent`. */
  const pathWithout = (...absent: string[]) => {
    const needed = ["ip", "nsenter", "nft", "podman", "runc", "wg", "wireguard-go", "swtpm", "tpm2_quote", "flock"];
    for (const name of needed.filter((one) => !absent.includes(one))) {
      const found = path
        .split(delimiter)
        .map((part) => join(part, name))
        .find((file) => existsSync(file));
      if (found !== undefined) symlinkSync(found, join(folder, name));
    }
    return folder;
  };

  it("is nothing where everything is installed", async () => {
    process.env["PATH"] = pathWithout();
    expect(await missingRequirements()).to.deep.equal([]);
  });

  it("names podman, what does not work without it, and the packages to install", async () => {
    process.env["PATH"] = pathWithout("podman");
    expect(await missingRequirements()).to.deep.equal([
      {
        what: "podman",
        cost: "nodes cannot run containers",
        fix: "apt-get install --no-install-recommends podman runc conmon",
        fatal: true,
      },
    ]);
  });

  it("goes on without a mesh where WireGuard is missing, and says so", async () => {
    process.env["PATH"] = pathWithout("wg");
    const [missing, ...more] = await missingRequirements();
    expect(more).to.deep.equal([]);
    expect(missing).to.include({ what: "wireguard-tools", fatal: false });
    expect(missing?.cost).to.match(/the mesh is off: nodes run jobs/);
  });

  it("goes on without evidence where the TPM emulator is missing, and says so", async () => {
    process.env["PATH"] = pathWithout("swtpm");
    const [missing, ...more] = await missingRequirements();
    expect(more).to.deep.equal([]);
    expect(missing).to.include({ what: "swtpm and tpm2-tools", fatal: false });
    expect(missing?.cost).to.match(/no attestation/);
  });

  it("is told by the devnet before it makes anything", async () => {
    const env = { PATH: pathWithout("podman") };
    const options = { signal: AbortSignal.timeout(30_000), env };
    const { exitCode, stderr } = await program([scripts.devnet, "--rpc-port", "0", "--indexer-port", "0"], options);
    expect(exitCode).to.equal(1);
    expect(stderr).to.match(/Missing: podman\. Without it nodes cannot run containers\./);
    expect(stderr).to.match(/Error \(REQUIREMENT_MISSING\): Cannot start nodes without podman\./);
    expect(stderr).to.match(/Hint: apt-get install .*podman/);
  }).timeout(30_000);
});
