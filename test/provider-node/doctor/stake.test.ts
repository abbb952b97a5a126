import type { Address } from "@berth/protocol";
import { expect } from "chai";
import { configSchema } from "../../../provider-node/src/config.ts";
import { stakeChecks } from "../../../provider-node/src/doctor/stake.ts";

const token = (digit: string) => `0x${digit.repeat(40)}` as Address;
const [base, second, third] = [token("a"), token("b"), token("c")];

/** The checks of these offers, where so much is staked. */
async function checks(offers: object, stakes: Record<Address, { free: bigint; locked?: bigint }>) {
  const { offers: parsed } = configSchema.parse({ dataDir: "/nowhere", offers });
  return await stakeChecks(parsed, async (asked) => ({ free: 0n, locked: 0n, ...stakes[asked] }));
}

describe("stakeChecks", () => {
  it("looks at the one token of a node without profiles", async () => {
    const [enough, ...none] = await checks({ token: base, maxBond: "10" }, { [base]: { free: 10n } });
    expect(none).to.deep.equal([]);
    expect(enough).to.deep.equal({
      name: "stake",
      status: "ok",
      detail: "10 token units of free stake, 0 locked; bonds up to 10",
    });
    const [short] = await checks({ token: base, maxBond: "10" }, { [base]: { free: 9n } });
    expect(short).to.include({ status: "fail", fix: "Run `berth-node stake AMOUNT --operator-key-file FILE`." });
  });

  it("looks at every token that a profile is paid in, for the largest bond in it, and says for each what to do", async () => {
    const profiles = {
      dear: { maxBond: "50" },
      plain: {},
      other: { token: second, maxBond: "20" },
      last: { token: third, maxBond: "5" },
    };
    const stakes = { [base]: { free: 49n }, [second]: { free: 20n }, [third]: { free: 1n, locked: 5n } };
    const found = await checks({ token: base, maxBond: "10", profiles }, stakes);
    expect(found.map(({ name, status, fix }) => ({ name, status, fix }))).to.deep.equal([
      { name: `stake ${base}`, status: "fail", fix: "Run `berth-node stake AMOUNT --operator-key-file FILE`." },
      { name: `stake ${second}`, status: "ok", fix: undefined },
      {
        name: `stake ${third}`,
        status: "warn", // what is locked comes back
        fix: `Run \`berth-node stake AMOUNT --token ${third} --operator-key-file FILE\`.`,
      },
    ]);
    expect(found[0]?.detail).to.include("bonds up to 50");
  });

  it("looks at the tokens of profiles where the settings name none for all", async () => {
    const found = await checks({ maxBond: "1", profiles: { only: { token: second } } }, {});
    expect(found.map(({ fix }) => fix)).to.deep.equal([
      `Run \`berth-node stake AMOUNT --token ${second} --operator-key-file FILE\`.`,
    ]);
  });
});
