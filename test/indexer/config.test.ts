import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { readConfig } from "../../indexer/src/config.ts";
import { DEFAULT_INTAKE } from "../../indexer/src/intake/limits.ts";
import { DEFAULT_GAS_POLICY } from "../../indexer/src/match/gas-policy.ts";

describe("readConfig", () => {
  const key = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
  let folder: string;
  let matcherKeyFile: string;
  let deployment: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "berth-indexer-config-"));
    matcherKeyFile = join(folder, "matcher.key");
    deployment = join(folder, "deployment.json");
    await writeFile(matcherKeyFile, key);
    const [identity, staking, market, token] = ["1", "2", "3", "4"].map((digit) => `0x${digit.repeat(40)}`);
    const tokens = [{ address: token, symbol: "T", decimals: 6 }];
    await writeFile(deployment, JSON.stringify({ chainId: 1, fromBlock: 1, identity, staking, market, tokens }));
  });
  after(() => rm(folder, { recursive: true, force: true }));
  const read = () => readConfig({ deployment, rpc: ["http://127.0.0.1:1"], matcherKeyFile }, {});

  it("takes the limits of the intake from flags, else from the environment, else leaves them as they are", async () => {
    const told = await readConfig(
      { deployment, rpc: ["http://127.0.0.1:1"], offersPerOperator: "9", offerSeconds: "600" },
      { BERTH_REQUESTS_PER_PAYER: "3", BERTH_OFFERS_PER_OPERATOR: "8" },
    );
    expect(told.intake).to.deep.equal({
      ...DEFAULT_INTAKE,
      offersPerOperator: { plain: 9, staked: 9 },
      requestsPerPayer: { unfunded: 3, funded: 3 },
      maxOfferSeconds: 600,
    });
    expect((await readConfig({ deployment, rpc: ["http://127.0.0.1:1"] }, {})).intake).to.deep.equal(DEFAULT_INTAKE);
  });

  it("takes what the matcher may spend on gas from flags, else from the environment, else gives one coin a day", async () => {
    const token = `0x${"a".repeat(40)}`;
    const said = async (flags: object, env: NodeJS.ProcessEnv = {}) =>
      (await readConfig({ deployment, rpc: ["http://127.0.0.1:1"], ...flags }, env)).gasPolicy;
    expect(await said({})).to.deep.equal({ ...DEFAULT_GAS_POLICY, mostPerDay: undefined });
    const tipWorthX18 = new Map([[token, 5n * 10n ** 17n]]);
    const env = { BERTH_TIP_WORTH: `${token}=0.5`, BERTH_GIVEN_GAS: "7", BERTH_LOST_GAS: "9", BERTH_DAILY_GAS: "8" };
    expect(await said({}, env)).to.deep.equal({ tipWorthX18, givenPerDay: 7n, lostPerDay: 9n, mostPerDay: 8n });
    expect(await said({ givenGas: "0", lostGas: "1" }, env)).to.include({ givenPerDay: 0n, lostPerDay: 1n });
    for (const wrong of [{ givenGas: "1e18" }, { lostGas: "-1" }, { dailyGas: "-1" }, { tipWorth: ["0x12=1"] }]) {
      const error = await said(wrong).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error, JSON.stringify(wrong)).to.include({ code: "CONFIG_INVALID" });
    }
  });

  it("leads when it may, unless a flag or the environment makes it a replica, which needs a server", async () => {
    await chmod(matcherKeyFile, 0o600);
    const said = (flags: object, env: NodeJS.ProcessEnv) =>
      readConfig({ deployment, rpc: ["http://127.0.0.1:1"], ...flags }, env);
    const server = { DATABASE_URL: "postgres://db.example/berth" };
    expect((await said({}, server)).role).to.equal("auto");
    expect((await said({}, { ...server, BERTH_ROLE: "replica" })).role).to.equal("replica");
    expect((await said({ role: "replica" }, { ...server, BERTH_ROLE: "auto" })).role).to.equal("replica");
    const alone = await said({ role: "replica" }, {}).catch((error: unknown) => error);
    expect(alone).to.include({
      code: "CONFIG_INVALID",
      message: "A replica serves what another indexer writes, and has no database of its own.",
    });
    expect(await said({ role: "boss" }, server).catch((error: unknown) => error)).to.include({
      code: "CONFIG_INVALID",
    });
  });

  it("takes a key that only its owner can open", async () => {
    await chmod(matcherKeyFile, 0o600);
    expect((await read()).matcherKey).to.equal(`0x${key}`);
  });

  for (const mode of [0o640, 0o604, 0o620, 0o601]) {
    it(`refuses a key that others can open (mode ${mode.toString(8)})`, async () => {
      await chmod(matcherKeyFile, mode);
      const error = await read().catch((thrown: unknown) => thrown);
      expect(error).to.include({
        code: "KEY_EXPOSED",
        message: `Others on this machine can open the matcher key file ${matcherKeyFile}.`,
      });
      expect((error as { hint: string }).hint).to.contain(`chmod 600 ${matcherKeyFile}`);
    });
  }

  it("says when there is no such file", async () => {
    await rm(matcherKeyFile);
    const error = await read().catch((thrown: unknown) => thrown);
    expect(error).to.include({ code: "MATCHER_KEY_INVALID" });
  });
});
