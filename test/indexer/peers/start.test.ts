import { expect } from "chai";
import type { Intake } from "../../../indexer/src/intake/intake.ts";
import { startPeers } from "../../../indexer/src/peers/peers.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { eventually } from "../../support/eventually.ts";
import { hostilePeer } from "../support/hostile-peer.ts";
import { log } from "../support/running-indexer.ts";

describe("startPeers", () => {
  it("follows a configured peer though the database fails at first, from where it was", async () => {
    const aborter = new AbortController();
    const failing = new Set(["peer_cursors", "order_log"]);
    const query = async (sql: string) => {
      for (const table of ["peer_cursors", "order_log"]) {
        if (!sql.includes(table)) continue;
        if (failing.delete(table)) throw new Error("The database is away.");
        return table === "order_log" ? [{ id: "own" }] : [{ log: "a", after: "7" }];
      }
      return [];
    };
    const db = { query, transaction: async (work: (q: typeof query) => unknown) => work(query) } as unknown as Database;
    await using peer = await hostilePeer((after) => ({ log: "a", items: [], next: after, more: false }));
    const peers = startPeers({
      db,
      deployment: { identity: "0x", tokens: [] } as never,
      intake: {} as Intake,
      urls: [peer.url],
      allowPrivate: false,
      pollMs: 10,
      now: () => 0,
      caughtUp: () => true,
      signal: aborter.signal,
      log,
    });
    try {
      await eventually("it is followed", () => peers.status()[0]?.state === "following", 30_000);
      expect(peers.status()[0]).to.include({ from: "configured", after: 7 });
      expect(peer.asked.find((path) => path.startsWith("/orders"))).to.equal("/orders?after=7&limit=100");
    } finally {
      aborter.abort();
      await peers.done;
    }
  });
});
