import { ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import { configSchema } from "../../../provider-node/src/config.ts";
import { profilesOf, requestersOf } from "../../../provider-node/src/policy/profiles.ts";

const account = (digit: string) => `0x${digit.repeat(40)}` as const;
const offersWith = (offers: object) => configSchema.parse({ offers }).offers;

describe("profilesOf", () => {
  it("is the settings alone where there is no profile", () => {
    const [only, ...others] = profilesOf(offersWith({ baseCharge: 7, region: "eu" }));
    expect(only).to.deep.include({ name: "default", baseCharge: 7n, region: "eu", sharePercent: 100 });
    expect(others).to.deep.equal([]);
    expect(requestersOf({ allow: [] })).to.deep.equal([ZERO_ADDRESS]);
  });

  it("is each profile on top of the settings, which it leaves as they are", () => {
    const profiles = {
      night: { baseCharge: 3, hours: [{ from: 22, to: 6, factor: 0.5 }] },
      friends: { allow: [account("1"), account("2"), account("1")], maxSeconds: 60 },
    };
    const offers = offersWith({ baseCharge: 7, region: "eu", maxBond: "10", profiles });
    const [night, friends, ...others] = profilesOf(offers);
    expect(others).to.deep.equal([]);
    expect(night).to.deep.include({ name: "night", baseCharge: 3n, region: "eu", maxSeconds: 86_400 });
    expect(night?.hours).to.deep.equal([{ from: 22, to: 6, factor: "0.5" }]);
    expect(friends).to.deep.include({ name: "friends", baseCharge: 7n, maxSeconds: 60, maxBond: 10n, hours: [] });
    expect(requestersOf(friends ?? { allow: [] })).to.deep.equal([account("1"), account("2")]);
  });

  for (const [why, offers] of [
    ["no such setting", { profiles: { a: { baseCharges: 1 } } }],
    ["a setting of the whole node", { profiles: { a: { maxActive: 1 } } }],
    ["a name that cannot be one", { profiles: { "a b": {} } }],
    ["a factor that is none", { hours: [{ from: 0, to: 5, factor: "1,5" }] }],
    ["a factor below a millionth", { hours: [{ from: 0, to: 5, factor: 1e-7 }] }],
    ["an hour that no clock has", { hours: [{ from: 0, to: 25, factor: "1" }] }],
    ["hours without one", { hours: [{ from: 5, to: 5, factor: "1" }] }],
    ["no such time zone", { timeZone: "Europe/Atlantis" }],
    ["too many requesters for one profile", { allow: Array.from({ length: 17 }, () => account("1")) }],
    [
      "too many offers",
      {
        allow: Array.from({ length: 16 }, () => account("1")),
        profiles: Object.fromEntries(["a", "b", "c", "d", "e"].map((name) => [name, {}])),
      },
    ],
  ] as [string, object][])
    it(`refuses ${why}`, () => {
      expect(configSchema.safeParse({ offers }).success).to.equal(false);
    });
});
