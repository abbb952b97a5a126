import { expect } from "chai";
import { createRateLimit } from "../../../indexer/src/http/rate-limit.ts";
import type { ApiContext } from "../../../indexer/src/http/route.ts";
import { startServer } from "../../../indexer/src/http/server.ts";
import { log } from "../support/running-indexer.ts";

describe("createRateLimit", () => {
  it("gives a burst, then what time brings back; each sender for itself", () => {
    let nowMs = 0;
    const limit = createRateLimit({ burst: 2, perSecond: 1 }, () => nowMs);
    limit.take("a");
    limit.take("a");
    expect(() => limit.take("a")).to.throw("Too many calls came from this address.");
    limit.take("b");
    nowMs = 1000;
    limit.take("a");
    expect(() => limit.take("a"))
      .to.throw()
      .with.property("code", "RATE_LIMITED");
  });

  it("makes a refused order cost more than a good one", () => {
    const limit = createRateLimit({ burst: 10, perSecond: 1 }, () => 0);
    for (const _ of [1, 2]) {
      limit.take("junk");
      limit.refuse("junk");
    }
    expect(() => limit.take("junk"))
      .to.throw()
      .with.property("code", "RATE_LIMITED");
  });
});

describe("the limit of questions", () => {
  for (const path of ["/openapi.json", "/docs", "/metrics", "/health"]) {
    it(`holds for ${path}`, async () => {
      const readLimit = createRateLimit({ burst: 0, perSecond: 1 }, () => 0);
      // A refused question needs nothing else.
      const context = { readLimit } as ApiContext;
      const server = await startServer({ host: "127.0.0.1", port: 0 }, context, { log });
      try {
        const answer = await fetch(`${server.url}${path}`);
        expect(answer.status).to.equal(429);
        expect(await answer.json()).to.include({ code: "RATE_LIMITED", retryable: true });
      } finally {
        await server.close();
      }
    });
  }
});
