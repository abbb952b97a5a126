import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { createProgram } from "../../../provider-node/src/cli/program.ts";
import { createRunner } from "../../../provider-node/src/cli/runner.ts";
import { loadConfig, type Setting } from "../../../provider-node/src/config.ts";

describe("berth-node config explain", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-settings-"));
  });
  afterEach(() => {
    rmSync(dir, { recursive: true, force: true });
    for (const name of Object.keys(process.env)) if (name.startsWith("BERTH_NODE_")) delete process.env[name];
  });

  async function explain(...flags: string[]): Promise<Map<string, Setting>> {
    let text = "";
    const run = createRunner(new AbortController().signal, (answer) => {
      text += answer;
    });
    const args = ["--data-dir", dir, "--json", ...flags, "config", "explain"];
    await createProgram(run).parseAsync(args, { from: "user" });
    const { settings } = JSON.parse(text) as { settings: Setting[] };
    return new Map(settings.map((setting) => [setting.path, setting]));
  }

  it("tells for every setting who says so", async () => {
    writeFileSync(join(dir, "config.yaml"), "pollMs: 100\nconfirmations: 7\nindex: 1\noffers: { baseCharge: 5 }\n");
    process.env["BERTH_NODE_POLL_MS"] = "200";
    process.env["BERTH_NODE_INDEX"] = "2";
    const settings = await explain("--set", "index=3");
    const file = join(dir, "config.yaml");
    expect(settings.get("index")).to.deep.equal({ path: "index", value: 3, source: "flag", from: null });
    const variable = { source: "environment", from: "BERTH_NODE_POLL_MS" };
    expect(settings.get("pollMs")).to.deep.equal({ path: "pollMs", value: 200, ...variable });
    expect(settings.get("confirmations")).to.deep.include({ value: 7, source: "file", from: file });
    expect(settings.get("offers.baseCharge")).to.deep.include({ value: "5", source: "file", from: file });
    expect(settings.get("acceptPosted")).to.deep.include({ value: false, source: "default", from: null });
    expect(settings.get("kuboUrl")).to.deep.include({ value: null, source: "default" });
    expect(settings.has("http")).to.equal(false);
  });

  it("shows no key that an address holds", async () => {
    const settings = await explain(
      "--rpc",
      "https://me:pass@rpc.example/v3/secret",
      "--rpc",
      "https://b.example?key=secret",
    );
    expect(settings.get("rpcUrls")?.value).to.deep.equal(["https://rpc.example/…", "https://b.example/…"]);
    expect(JSON.stringify([...settings.values()])).to.not.match(/secret|pass/);
  });

  it("reads any setting from a file that a variable names", async () => {
    const file = join(dir, "rpc-urls");
    writeFileSync(file, "https://rpc.example/v3/secret,https://b.example\n");
    process.env["BERTH_NODE_RPC_URLS_FILE"] = file;
    const config = loadConfig({ flags: { dataDir: dir }, env: process.env, cwd: dir });
    expect(config.rpcUrls).to.deep.equal(["https://rpc.example/v3/secret", "https://b.example"]);
    process.env["BERTH_NODE_RPC_URLS_FILE"] = join(dir, "absent");
    expect(() => loadConfig({ flags: { dataDir: dir }, env: process.env, cwd: dir }))
      .to.throw("that BERTH_NODE_RPC_URLS_FILE names cannot be read")
      .with.property("code", "CONFIG_UNREADABLE");
  });

  it("takes no setting that there is not, however deep", () => {
    const load = (flags: object) => loadConfig({ flags: { dataDir: dir, ...flags }, env: {}, cwd: dir });
    expect(() => load({ http: { prot: "1" } }))
      .to.throw('There is no setting "http.prot".')
      .with.property("code", "CONFIG_INVALID");
    expect(load({ attestation: { type: "none" } }).attestation).to.deep.equal({ type: "none" });
  });
});
