import { connectRpc, createOutbox, followChain, type Outbox } from "@berth/chain";
import { type Hex, jobMarketAbi, type Offer, offerHashOf, orderToJson } from "@berth/protocol";
import type { PrivateKeyAccount } from "viem/accounts";
import { createLiveBook, slotOf } from "../../../indexer/src/book/live-book.ts";
import { requireUseful } from "../../../indexer/src/match/batch.ts";
import { DEFAULT_GAS_POLICY } from "../../../indexer/src/match/gas-policy.ts";
import { type Matcher, type MatcherOptions, startMatcher } from "../../../indexer/src/match/matcher.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { putOffer } from "../../../indexer/src/store/orders.ts";
import { postgresOutboxStore } from "../../../indexer/src/store/outbox-store.ts";
import { createFollowerStore, WINDOW } from "../../../indexer/src/sync/follower-store.ts";
import type { TestMarket, TestNode } from "./market.ts";
import { log } from "./running-indexer.ts";

/** A matcher without an API, whose parts a test can exchange. */
export interface LoneMatcher {
  /** Rejects with what ended it. */
  done: Promise<void>;
  stop(): Promise<void>;
}

/** Follows the market into `db` and matches its posted requests; the matcher writes through `mine`. */
export async function startLoneMatcher(
  market: TestMarket,
  db: Database,
  account: PrivateKeyAccount,
  { mine = db, ...more }: { mine?: Database } & Pick<MatcherOptions, "makeEngine"> = {},
): Promise<LoneMatcher> {
  const aborter = new AbortController();
  const { signal } = aborter;
  const { deployment } = market;
  const rpc = await connectRpc({ urls: [market.anvil.url], log, signal });
  const live = createLiveBook(db);
  const startedAt = await market.now();
  await live.load(startedAt);
  let matcher: Matcher | undefined;
  let outbox: Outbox | undefined;
  let blockTime = startedAt;
  const follower = followChain({
    rpc,
    addresses: [deployment.identity, deployment.staking, deployment.market],
    fromBlock: deployment.fromBlock,
    confirmations: 0,
    pollMs: 5,
    windowSize: WINDOW,
    store: createFollowerStore({ db, deployment, onCommitted: live.apply }),
    onBatch: (step) => {
      if (step.type === "blocks") blockTime = Math.max(blockTime, step.blocks.at(-1)?.timestamp ?? 0);
      matcher?.wake();
    },
    signal,
    log,
  });
  follower.done.catch(() => {});
  await follower.synced;
  const start = async () => {
    matcher = await startMatcher({
      db: mine,
      live,
      deployment,
      stage: { rpc, market: deployment.market, from: account.address, abi: jobMarketAbi, signal },
      policy: DEFAULT_GAS_POLICY,
      openOutbox: (onChange) => {
        const settings = { chainId: deployment.chainId, confirmations: 0, pollMs: 5, check: requireUseful };
        outbox = createOutbox({ rpc, account, store: postgresOutboxStore(mine), ...settings, onChange, signal, log });
        outbox.done.catch(() => {});
        return outbox;
      },
      caughtUp: () => follower.status().state === "following",
      bookBlock: () => follower.status().cursor?.number ?? -1,
      now: () => blockTime,
      signal,
      log,
      ...more,
    });
    await matcher.done;
  };
  const done = start();
  done.catch(() => {});
  return {
    done,
    async stop() {
      aborter.abort();
      await Promise.allSettled([done, outbox?.done, follower.done]);
    },
  };
}

/** Stores a signed offer as the intake does. */
export async function storeOffer(
  market: TestMarket,
  db: Database,
  node: TestNode,
  replaced: Partial<Offer>,
): Promise<Hex> {
  const { offer, signature } = await market.offer(node, replaced);
  const offerHash = offerHashOf(market.deployment, offer);
  await putOffer(db.query, {
    offerHash,
    receivedAtMs: 1,
    signer: node.key.address.toLowerCase() as Hex,
    operator: offer.operator,
    index: offer.index,
    token: offer.token,
    expiresAt: offer.expiresAt,
    slot: slotOf(offer),
    offer: orderToJson(offer),
    signature,
  });
  return offerHash;
}
