import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { type ConfigSources, loadConfig, need } from "../../../provider-node/src/config.ts";

describe("loadConfig", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-config-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const load = (sources: Partial<ConfigSources> = {}) =>
    loadConfig({ flags: { dataDir: dir, ...sources.flags }, env: sources.env ?? {}, file: sources.file, cwd: dir });

  it("prefers flags over the environment over the file over defaults", () => {
    writeFileSync(
      join(dir, "config.yaml"),
      "pollMs: 100\nindex: 1\nhttp: { port: 1111, host: 0.0.0.0 }\nconfirmations: 7\n",
    );
    const env = { BERTH_NODE_POLL_MS: "200", BERTH_NODE_HTTP_PORT: "2222" };
    const config = load({ flags: { pollMs: "300" }, env });
    expect(config.pollMs).to.equal(300);
    expect(config.http).to.deep.include({ host: "0.0.0.0", port: 2222 });
    expect(config.confirmations).to.equal(7);
    expect(config.index).to.equal(1);
    expect(config.acceptPosted).to.equal(false);
  });

  it("reads lists, amounts and sections from text", () => {
    const config = load({
      env: {
        BERTH_NODE_RPC_URLS: "http://a:1, http://b:2",
        BERTH_NODE_OFFERS_CPU_RATE_X18: "340282366920938463463374607431768211455",
        BERTH_NODE_ATTESTATION: '{"type":"tpm2","tcti":"swtpm:path=/x","stateDir":"/y"}',
        BERTH_NODE_ACCEPT_POSTED: "true",
      },
    });
    expect(config.rpcUrls).to.deep.equal(["http://a:1", "http://b:2"]);
    expect(config.offers.cpuRateX18).to.equal(2n ** 128n - 1n);
    expect(config.attestation).to.deep.include({ type: "tpm2", pcr: 14 });
    expect(config.acceptPosted).to.equal(true);
  });

  it("takes whole numbers in YAML for amounts", () => {
    writeFileSync(join(dir, "config.yaml"), "offers: { baseCharge: 1500, maxBond: '20' }\n");
    expect(load().offers).to.deep.include({ baseCharge: 1500n, maxBond: 20n });
  });

  it("names every wrong field in one message", () => {
    writeFileSync(join(dir, "config.yaml"), "pollMs: soon\nhttp: { prot: 1 }\n");
    expect(() => load())
      .to.throw(/pollMs[\s\S]*prot|prot[\s\S]*pollMs/)
      .with.property("code", "CONFIG_INVALID");
  });

  it("refuses Docker as the engine with the word what to use", () => {
    for (const engine of ["docker", { type: "docker" }]) {
      expect(() => load({ flags: { engine } }), JSON.stringify(engine))
        .to.throw(/Install podman[\s\S]*at engine/)
        .with.property("code", "CONFIG_INVALID");
    }
    expect(() => load({ flags: { engine: "dokcer" } })).to.throw(/'podman' \| 'bubblewrap' \| 'slurm'/);
  });

  it("refuses a setting in the environment that does not exist", () => {
    expect(() => load({ env: { BERTH_NODE_POL_MS: "1" } })).to.throw(
      "There is no setting behind the environment variable BERTH_NODE_POL_MS",
    );
  });

  it("says which file it could not read", () => {
    expect(() => load({ file: "absent.yaml" }))
      .to.throw(`${dir}/absent.yaml cannot be read`)
      .with.property("code", "CONFIG_UNREADABLE");
    writeFileSync(join(dir, "bad.yaml"), "a: [");
    expect(() => load({ file: "bad.yaml" })).to.throw("neither YAML nor JSON");
  });

  it("resolves paths where they were written", () => {
    writeFileSync(join(dir, "config.yaml"), "deploymentFile: deployment.json\n");
    expect(load().deploymentFile).to.equal(join(dir, "deployment.json"));
    expect(load({ env: { BERTH_DEPLOYMENT: "/there/d.json" } }).deploymentFile).to.equal("/there/d.json");
  });

  it("tells how to set what a command needs", () => {
    expect(() => need(load(), "operator"))
      .to.throw("Who owns this node is not set.")
      .with.property(
        "hint",
        'Give --operator ADDRESS, set BERTH_NODE_OPERATOR, or write "operator" into the configuration file.',
      );
  });
});
