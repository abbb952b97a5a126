import type { Address } from "@berth/protocol";
import type { Config } from "../config.ts";
import { type Check, passed } from "../core/check.ts";
import { type Profile, profilesOf } from "../policy/profiles.ts";

/** What is staked in one token, in its units. */
interface Stake {
  free: bigint;
  locked: bigint;
}

/** One check for each token that the offers are made in: is there enough stake for the largest bond in it? */
export async function stakeChecks(
  offers: Config["offers"],
  readStake: (token: Address) => Promise<Stake>,
): Promise<Check[]> {
  const bonds = largestBonds(profilesOf(offers));
  return await Promise.all(
    [...bonds].map(async ([token, maxBond]) => {
      // The flag is needed where the setting names another token, or none.
      const flag = token === offers.token ? "" : ` --token ${token}`;
      return stakeCheck(bonds.size === 1 ? "stake" : `stake ${token}`, maxBond, await readStake(token), flag);
    }),
  );
}

/** The largest bond that offers in each token put up. */
function largestBonds(profiles: readonly Profile[]): Map<Address, bigint> {
  const bonds = new Map<Address, bigint>();
  for (const { token, maxBond } of profiles) {
    if (token !== undefined && maxBond >= (bonds.get(token) ?? 0n)) bonds.set(token, maxBond);
  }
  return bonds;
}

function stakeCheck(name: string, maxBond: bigint, { free, locked }: Stake, flag: string): Check {
  const detail = `${free} token units of free stake, ${locked} locked; bonds up to ${maxBond}`;
  if (free >= maxBond) return passed(name, detail);
  const fix = `Run \`berth-node stake AMOUNT${flag} --operator-key-file FILE\`.`;
  return { name, status: locked > 0n ? "warn" : "fail", detail, fix, without: "jobs that ask for a bond" };
}
