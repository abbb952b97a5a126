import { expect } from "chai";
import { createRateLimit } from "../../../indexer/src/http/rate-limit.ts";

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
