import type { Address, Hex } from "@berth/protocol";
import type { Database } from "./open.ts";

/** What the node offers, for those who ask its journal. */
export interface OfferingState {
  /** Unix seconds by the chain's clock. */
  at: number;
  /** The newest offers; `requester` is zero for one that is for everybody. */
  offers: { profile: string; requester: Address; offerHash: Hex; expiresAt: number }[];
  /** What is not offered, and why; `profile` is null where it holds for all of them. */
  withheld: { profile: string | null; reason: string }[];
}

const NAME = "offering";

export function writeOffering({ db }: Pick<Database, "db">, state: OfferingState): void {
  db.prepare("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value").run(
    NAME,
    JSON.stringify(state),
  );
}

/** Undefined until the node ran. */
export function readOffering({ db }: Pick<Database, "db">): OfferingState | undefined {
  const row = db.prepare("SELECT value FROM meta WHERE name = ?").get(NAME) as { value: string } | undefined;
  return row === undefined ? undefined : (JSON.parse(row.value) as OfferingState);
}
