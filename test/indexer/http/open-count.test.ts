import { expect } from "chai";
import { openCountOf } from "../../../indexer/src/http/open-count.ts";
import type { ApiContext } from "../../../indexer/src/http/route.ts";

describe("openCountOf", () => {
  it("counts again in the next second, after a change, and while one may have happened; else not", () => {
    let counted = 0;
    let second = 100;
    const changes = { settled: true, newest: 7 };
    const live = { openCount: () => ++counted };
    const context = { live, changes, now: () => second } as unknown as ApiContext;
    const ask = () => openCountOf(context);
    expect([ask(), ask()]).to.deep.equal([1, 1]);
    second++;
    expect([ask(), ask()]).to.deep.equal([2, 2]);
    changes.newest++;
    expect([ask(), ask()]).to.deep.equal([3, 3]);
    changes.settled = false;
    expect([ask(), ask()]).to.deep.equal([4, 5]);
  });
});
