import { MarketError } from "@berth/protocol";
import { expect } from "chai";
import { startCampaign } from "../../../indexer/src/cluster/campaign.ts";
import type { Lease } from "../../../indexer/src/cluster/lease.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { log } from "../support/running-indexer.ts";

describe("startCampaign", () => {
  let stop: AbortController;
  let leases: number;
  beforeEach(() => {
    stop = new AbortController();
    leases = 0;
  });
  afterEach(() => stop.abort());

  /** A lease that looks lost once it is closed, as one of a server does. */
  function newLease(): Lease {
    leases += 1;
    const lost = new AbortController();
    return { db: {} as Database, lost: lost.signal, close: async () => lost.abort() };
  }
  const candidate = { tryToLead: async () => newLease(), close: async () => {} };
  const campaign = (startLeading: () => Promise<{ done: Promise<void> }>, lease?: Lease) =>
    startCampaign({ candidate, lease, startLeading, stopLeading() {}, signal: stop.signal, log });

  it("ends with what makes leading impossible, with the first lease and with a later one", async () => {
    const fails = async () => {
      throw new MarketError("OUTBOX_WRONG_ACCOUNT", "The transactions are another account's.");
    };
    const first = await campaign(fails, newLease()).catch((error: unknown) => error);
    expect(first).to.have.property("code", "OUTBOX_WRONG_ACCOUNT");
    const later = await campaign(fails);
    expect(await later.done.catch((error: unknown) => error)).to.have.property("code", "OUTBOX_WRONG_ACCOUNT");
    expect(leases).to.equal(2);
  });

  it("tries again when the database was away for a moment", async () => {
    const { promise: leads, resolve } = Promise.withResolvers<void>();
    let tries = 0;
    const { done } = await campaign(async () => {
      tries += 1;
      if (tries < 3) throw new MarketError("DATABASE_UNREACHABLE", "Away.", { retryable: true });
      resolve();
      return { done: new Promise((ended) => stop.signal.addEventListener("abort", () => ended())) };
    });
    await leads;
    stop.abort();
    await done;
    expect([tries, leases]).to.deep.equal([3, 3]);
  });
});
