import type { Rpc } from "@berth/chain";
import { MarketError } from "@berth/protocol";
import { sqlName, type Table } from "../store/table.ts";
import type { Conditions } from "./conditions.ts";
import type { ApiContext } from "./route.ts";

/** How sure an answer is to stay: as new as possible, or as the chain was at its safe or finalized block. */
export const finalities = ["latest", "safe", "finalized"] as const;
export type Finality = (typeof finalities)[number];

/** The tables as they are, or were at a block. */
export interface View {
  finality: Finality;
  /** That block's number; undefined: as they are. */
  height: number | undefined;
}

/** Knows how high the safe and the finalized block are. */
export interface Heights {
  /** Throws FINALITY_UNKNOWN, RPC_UNAVAILABLE. */
  heightOf(finality: Exclude<Finality, "latest">): Promise<number>;
}

/** How long the chain's answer is used again. */
const FRESH_MS = 1_000;

/** `head`: the chain's newest block, as far as is known; with another one, the chain is asked again. */
export function createHeights(
  rpc: Pick<Rpc, "request">,
  head: () => number | null,
  nowMs: () => number = Date.now,
): Heights {
  const known = new Map<string, { atMs: number; at: number | null; height: Promise<number> }>();
  return {
    heightOf(finality) {
      const last = known.get(finality);
      if (last !== undefined && last.at === head() && nowMs() - last.atMs < FRESH_MS) return last.height;
      const height = ask(rpc, finality);
      known.set(finality, { atMs: nowMs(), at: head(), height });
      height.catch(() => known.delete(finality));
      return height;
    },
  };
}

/** Throws FINALITY_UNKNOWN when the chain does not say which block that is, RPC_UNAVAILABLE. */
export async function viewOf(finality: Finality, { heights }: Pick<ApiContext, "heights">): Promise<View> {
  return { finality, height: finality === "latest" ? undefined : await heights.heightOf(finality) };
}

/** What to write for `of` after FROM. */
export function tableIn({ height }: View, of: Table, { param }: Pick<Conditions, "param">): string {
  return height === undefined ? `"${of.name}"` : tableAt(of, `${param(height)}::bigint`);
}

async function ask(rpc: Pick<Rpc, "request">, finality: string): Promise<number> {
  const block = (await rpc.request("eth_getBlockByNumber", [finality, false]).catch((error: unknown) => {
    if (error instanceof MarketError) throw error;
    throw unknown(finality, error);
  })) as { number?: unknown } | null;
  const height = Number(block?.number ?? Number.NaN);
  if (Number.isSafeInteger(height)) return height;
  throw unknown(finality);
}

function unknown(finality: string, cause?: unknown): MarketError {
  return new MarketError("FINALITY_UNKNOWN", `The chain does not say which block is ${finality}.`, {
    hint: "Ask for finality=latest, or give this indexer an RPC that knows.",
    retryable: true,
    cause,
  });
}

/** The rows that no block above `height` touched, and of the others what they were before the first that did. */
function tableAt(of: Table, height: string): string {
  const names = Object.keys(of.columns);
  const key = of.key.map((name) => of.columns[name]?.read(`c."${sqlName(name)}"`)).join(" || '|' || ");
  const above = `u.relation = '${of.name}' AND u.block_number > ${height}`;
  const before = names.map((name) => `${of.columns[name]?.write(`(b.before->>'${name}')`)} AS "${sqlName(name)}"`);
  return `(SELECT ${names.map((name) => `c."${sqlName(name)}"`).join(", ")} FROM "${of.name}" c
     WHERE ${key} NOT IN (SELECT u.key FROM undo u WHERE ${above})
   UNION ALL
   SELECT ${before.join(", ")} FROM
     (SELECT DISTINCT ON (u.key) u.before FROM undo u WHERE ${above} ORDER BY u.key, u.block_number) b
   WHERE b.before IS NOT NULL)`;
}
