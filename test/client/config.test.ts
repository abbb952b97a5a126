import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MarketError } from "@berth/protocol";
import { expect } from "chai";
import { environmentNames, loadConfig, readDeployment, readTrust, type Settings } from "../../client/src/config.ts";

describe("the configuration of berth", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "berth-config-"));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  const caught = (run: () => unknown): MarketError => {
    try {
      run();
    } catch (error) {
      return error as MarketError;
    }
    throw new Error("nothing was thrown");
  };
  const load = (sources: { flags?: Settings; env?: Record<string, string>; file?: string }) =>
    loadConfig({ flags: {}, env: {}, cwd: dir, ...sources });

  it("works without any: a local chain, content in the user's data folder", () => {
    const config = load({ env: { XDG_DATA_HOME: "/data" } });
    expect(config).to.deep.include({ rpcUrls: ["http://127.0.0.1:8545"], contentHost: "127.0.0.1", contentPort: 0 });
    expect(config.contentDir).to.equal("/data/berth/content");
  });

  it("takes flags over environment over file over defaults, setting by setting", async () => {
    const file = join(dir, "berth.yaml");
    await writeFile(file, "indexerUrl: http://file.example\ntoken: FILE\ncontentHost: 10.0.0.1\nkeyFile: keys/mine\n");
    const env = {
      BERTH_INDEXER: "http://env.example",
      BERTH_TOKEN: "ENV",
      BERTH_RPC_URL: "http://a.example,http://b.example",
    };
    const config = load({ file, env, flags: { token: "FLAG", rpcUrls: undefined } });
    expect(config).to.deep.include({
      token: "FLAG",
      indexerUrl: "http://env.example",
      contentHost: "10.0.0.1",
      rpcUrls: ["http://a.example", "http://b.example"],
    });
    expect(load({ env: { BERTH_CONFIG: file } }).token).to.equal("FILE");
  });

  it("resolves a relative path from where it was written", async () => {
    const file = join(dir, "berth.yaml");
    await writeFile(file, "keyFile: keys/mine\ndeploymentFile: ../there.json\n");
    const config = loadConfig({ flags: { contentDir: "content" }, env: {}, file, cwd: "/elsewhere" });
    expect(config.keyFile).to.equal(join(dir, "keys/mine"));
    expect(config.deploymentFile).to.equal(join(dir, "../there.json"));
    expect(config.contentDir).to.equal("/elsewhere/content");
  });

  it("has an environment variable for every setting, each with its own name", () => {
    const names = Object.values(environmentNames);
    expect(new Set(names).size).to.equal(names.length);
    for (const name of names) expect(name).to.match(/^BERTH_[A-Z_]+$/);
  });

  it("names a misspelt setting, and a wrong value with its place", async () => {
    const file = join(dir, "berth.yaml");
    await writeFile(file, "indexerURL: http://x.example\n");
    expect(caught(() => load({ file })).message).to.include('"indexerURL"');
    expect(caught(() => load({ flags: { contentPort: "70000" } })).message).to.include("contentPort");
    expect(caught(() => load({ flags: { indexerUrl: "ftp://x" } })).message).to.include("must be an http(s) URL");
    expect(caught(() => load({ file: "absent.yaml" })).code).to.equal("CONFIG_UNREADABLE");
  });

  it("says how to name the market, and when its file is no record", async () => {
    expect(caught(() => readDeployment({ deploymentFile: undefined })).hint).to.include("--deployment FILE");
    const file = join(dir, "deployment.json");
    await writeFile(file, "{");
    expect(caught(() => readDeployment({ deploymentFile: file })).code).to.equal("DEPLOYMENT_UNREADABLE");
    await writeFile(file, '{"chainId": 1}');
    expect(caught(() => readDeployment({ deploymentFile: file })).code).to.equal("DEPLOYMENT_INVALID");
  });

  it("trusts no TPM authority unless a file names it", async () => {
    expect(readTrust({ tpmAuthoritiesFile: undefined })).to.deep.equal({ tpmAuthorities: [] });
    const file = join(dir, "authorities.json");
    const authority = { publicKey: `0x${"a".repeat(64)}`, kind: "software" };
    await writeFile(file, JSON.stringify([authority]));
    expect(readTrust({ tpmAuthoritiesFile: file })).to.deep.equal({ tpmAuthorities: [authority] });
    await writeFile(file, JSON.stringify([{ ...authority, kind: "trusted" }]));
    expect(caught(() => readTrust({ tpmAuthoritiesFile: file })).code).to.equal("AUTHORITIES_INVALID");
  });
});
