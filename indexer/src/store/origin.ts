import { type Deployment, type Hex, MarketError } from "@berth/protocol";
import type { Database } from "./database.ts";

/**
 * Binds empty data to this chain and market, or checks that it was made for them. `genesis` is the hash of block 0,
 * which tells apart two development chains with the same number. Throws DATA_FOLDER_STALE.
 */
export async function claimOrigin(db: Database, deployment: Deployment, genesis: Hex): Promise<void> {
  const { chainId, fromBlock, identity, staking, market } = deployment;
  await db.query(
    `INSERT INTO origin (chain_id, genesis, from_block, identity, staking, market)
     VALUES ($1::bigint, unhex($2), $3::bigint, unhex($4), unhex($5), unhex($6)) ON CONFLICT DO NOTHING`,
    [String(chainId), genesis, String(fromBlock), identity, staking, market],
  );
  const [row] = await db.query<Record<string, string>>(
    `SELECT chain_id::text AS "chainId", hex(genesis) AS genesis, from_block::text AS "fromBlock",
            hex(identity) AS identity, hex(staking) AS staking, hex(market) AS market FROM origin`,
  );
  const here: Record<string, string> = {
    chainId: String(chainId),
    genesis,
    fromBlock: String(fromBlock),
    identity,
    staking,
    market,
  };
  for (const [field, value] of Object.entries(here)) {
    if (row?.[field] === value.toLowerCase()) continue;
    throw new MarketError(
      "DATA_FOLDER_STALE",
      `The data belongs to another market: its ${names[field]} is ${row?.[field]}, not ${value}.`,
      { hint: "Remove the data folder to index this market from the start, or give another one with --data." },
    );
  }
}

const names: Record<string, string> = {
  chainId: "chain id",
  genesis: "first block of the chain",
  fromBlock: "first block",
  identity: "identity registry",
  staking: "staking contract",
  market: "job market",
};
