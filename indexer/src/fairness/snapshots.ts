import { type Hex, toJson } from "@berth/protocol";
import type { BookOffer, BookView } from "../book/book.ts";
import type { Database, Query } from "../store/database.ts";
import { leafHash, rootOf, treeOf } from "./merkle.ts";
import { leafText, MOST_OFFERS, type Round, rootOfSnapshot, type Standing, standingOf } from "./snapshot.ts";

/** Milliseconds for which a snapshot can be asked for. */
const KEEP_MS = 7 * 86_400_000;
const PRUNE_MS = 3_600_000;
const PAGE = 500;

/** Sees what decisions see, and keeps it where something comes of them: of the offers only what changed since the last. */
export interface Snapshots {
  /** What a decision sees at this moment; undefined when the book is too large for that. */
  look(book: BookView, size: number, round: Round, atMs: number): Seen | undefined;
}

/** What a decision saw, whatever happens to the book after it. */
export interface Seen {
  /** Stores it, the first time, and returns its root. */
  store(): Promise<Hex>;
}

interface Kept {
  /** What the text was made of; undefined when another process made it. The book replaces both and never changes them. */
  from: { offer: BookOffer; standing: Standing } | undefined;
  text: string;
  hash: Buffer;
}

/** One matcher at a time writes them, one after the other. */
export async function createSnapshots(db: Database): Promise<Snapshots> {
  /** Each offer as it was seen last, and as it was stored last. */
  let kept = new Map<Hex, Kept>();
  const written = new Map<Hex, Kept>();
  let prunedAtMs = 0;
  const stored = await db.query<{ hash: Hex; leaf: string }>(
    "SELECT hex(offer_hash) AS hash, leaf FROM snapshot_leaves WHERE until_round IS NULL",
  );
  for (const { hash, leaf } of stored) written.set(hash, { from: undefined, text: leaf, hash: leafHash(leaf) });
  kept = new Map(written);

  return {
    look(book, size, round, atMs) {
      if (size > MOST_OFFERS) return undefined;
      const seen = new Map<Hex, Kept>();
      for (const offer of book.offers()) {
        seen.set(offer.offerHash, keep(kept.get(offer.offerHash), offer, standingOf(book, offer.offer)));
      }
      kept = seen;
      const text = JSON.stringify(round);
      let root: Hex | undefined;
      return {
        async store() {
          if (root !== undefined) return root;
          const hashes = [...seen.keys()].sort().map((offerHash) => seen.get(offerHash)?.hash as Buffer);
          const made = rootOfSnapshot(text, rootOf(treeOf(hashes)), hashes.length);
          const changed = new Map([...seen].filter(([offerHash, leaf]) => written.get(offerHash)?.text !== leaf.text));
          const gone = [...written.keys()].filter((offerHash) => !seen.has(offerHash));
          await db.transaction((query) => store(query, { root: made, text, atMs, changed, gone }));
          for (const offerHash of gone) written.delete(offerHash);
          for (const [offerHash, leaf] of changed) written.set(offerHash, leaf);
          root = made;
          if (atMs - prunedAtMs > PRUNE_MS) {
            await prune(db, atMs);
            prunedAtMs = atMs;
          }
          return made;
        },
      };
    },
  };
}

/** The leaf of an offer, as it was before where nothing changed. */
function keep(before: Kept | undefined, offer: BookOffer, standing: Standing): Kept {
  // The same terms may have come in again at another place, so the hash alone does not do.
  if (before?.from?.offer === offer && isSame(before.from.standing, standing)) return before;
  const text = leafText(offer, standing);
  const hash = before?.text === text ? before.hash : leafHash(text);
  return { from: { offer, standing }, text, hash };
}

async function store(
  query: Query,
  { root, text, atMs, changed, gone }: { root: Hex; text: string; atMs: number; changed: Map<Hex, Kept>; gone: Hex[] },
): Promise<void> {
  const [row] = await query<{ round: string }>(
    "INSERT INTO snapshots (root, at_ms, round_text) VALUES (unhex($1), $2::bigint, $3) RETURNING round::text AS round",
    [root, String(atMs), text],
  );
  const round = row?.round ?? "0";
  if (gone.length + changed.size > 0) {
    await query(
      `UPDATE snapshot_leaves SET until_round = $1::bigint WHERE until_round IS NULL
         AND offer_hash IN (SELECT unhex(id) FROM json_array_elements_text($2::json) AS id)`,
      [round, toJson([...gone, ...changed.keys()])],
    );
  }
  if (changed.size > 0) {
    const leaves = [...changed].map(([hash, leaf]) => ({ hash, leaf: leaf.text }));
    await query(
      `INSERT INTO snapshot_leaves (offer_hash, from_round, leaf)
       SELECT unhex(r.hash), $1::bigint, r.leaf FROM json_to_recordset($2::json) AS r(hash text, leaf text)`,
      [round, JSON.stringify(leaves)],
    );
  }
}

/** Forgets snapshots that are older than anybody can ask for, and the leaves that only they had. */
async function prune({ transaction }: Pick<Database, "transaction">, nowMs: number): Promise<void> {
  await transaction(async (query) => {
    await query("DELETE FROM snapshots WHERE at_ms < $1::bigint", [String(nowMs - KEEP_MS)]);
    await query(
      `DELETE FROM snapshot_leaves WHERE until_round <= coalesce((SELECT min(round) FROM snapshots),
         (SELECT last_value FROM snapshots_round_seq))`,
    );
  });
}

/** What was published under `root`, without the offers; undefined when it is not known (any more). */
export async function snapshotOf(query: Query, root: Hex): Promise<{ round: number; text: string } | undefined> {
  const [row] = await query<{ round: string; text: string }>(
    "SELECT round::text AS round, round_text AS text FROM snapshots WHERE root = unhex($1) ORDER BY snapshots.round LIMIT 1",
    [root],
  );
  return row === undefined ? undefined : { round: Number(row.round), text: row.text };
}

/** The leaf of one offer in a snapshot; undefined when it is not there. */
export async function leafOf(query: Query, round: number, offerHash: Hex): Promise<string | undefined> {
  const [row] = await query<{ leaf: string }>(
    `SELECT leaf FROM snapshot_leaves WHERE offer_hash = unhex($2) AND from_round <= $1::bigint
       AND (until_round IS NULL OR until_round > $1::bigint)`,
    [String(round), offerHash],
  );
  return row?.leaf;
}

/** The next leaves of a snapshot in their order, after that of `after`. */
export async function leavesOf(query: Query, round: number, after: Hex | undefined): Promise<string[]> {
  const rows = await query<{ leaf: string }>(
    `SELECT leaf FROM snapshot_leaves WHERE from_round <= $1::bigint AND (until_round IS NULL OR until_round > $1::bigint)
       AND offer_hash > unhex($2) ORDER BY offer_hash LIMIT ${PAGE}`,
    [String(round), after ?? "0x"],
  );
  return rows.map(({ leaf }) => leaf);
}

function isSame(a: Standing, b: Standing): boolean {
  const stakes = a.stake.free === b.stake.free && a.stake.locked === b.stake.locked;
  const accepts = a.accepts === b.accepts || a.accepts.length + b.accepts.length === 0;
  return stakes && a.node === b.node && accepts && a.deactivated === b.deactivated;
}
