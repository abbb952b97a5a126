import { expect } from "chai";
import { createAnswerCache } from "../../../indexer/src/http/answer-cache.ts";
import type { TableAnswer } from "../../../indexer/src/http/route.ts";

describe("createAnswerCache", () => {
  const answerOf = (json: string, seq: number, height?: number): TableAnswer => ({
    json,
    snapshot: { seq, home: "ab", tip: undefined },
    view: { finality: height === undefined ? "latest" : "safe", height },
  });
  /** What was made, in order. */
  let made: string[];
  let changes: { settled: boolean; newest: number };
  beforeEach(() => {
    made = [];
    changes = { settled: true, newest: 7 };
  });
  const maker =
    (json: string, seq = changes.newest, height?: number) =>
    async () => {
      made.push(json);
      return answerOf(json, seq, height);
    };
  const text = async (answer: Promise<{ body: Buffer }>) => (await answer).body.toString();

  it("makes an answer once, until something changes", async () => {
    const cache = createAnswerCache(changes);
    expect(await text(cache.answer("/jobs", maker("old")))).to.equal("old");
    expect(await text(cache.answer("/jobs", maker("new")))).to.equal("old");
    changes.newest = 8;
    expect(await text(cache.answer("/jobs", maker("new")))).to.equal("new");
    expect(made).to.deep.equal(["old", "new"]);
  });

  it("lets those who ask the same at once wait for one answer, and tells them all when it fails", async () => {
    const cache = createAnswerCache(changes);
    const failing = async (): Promise<TableAnswer> => {
      made.push("failing");
      throw new Error("no database");
    };
    const both = [cache.answer("/jobs", failing), cache.answer("/jobs", failing)];
    const ends = await Promise.allSettled(both);
    expect(ends.map(({ status }) => status)).to.deep.equal(["rejected", "rejected"]);
    expect(made).to.deep.equal(["failing"]);
    expect(await text(cache.answer("/jobs", maker("then")))).to.equal("then");
  });

  it("keeps nothing while something may have changed, of later tables, or of an earlier block", async () => {
    const cache = createAnswerCache(changes);
    await cache.answer("/later", maker("a", 8));
    await cache.answer("/safe", maker("b", 7, 3));
    changes.settled = false;
    await cache.answer("/jobs", maker("c"));
    expect(cache.etag("/jobs")).to.equal(undefined);
    changes.settled = true;
    for (const url of ["/later", "/safe", "/jobs"]) await cache.answer(url, maker(url));
    expect(made).to.deep.equal(["a", "b", "c", "/later", "/safe", "/jobs"]);
  });

  it("counts what a question costs to keep, and keeps none that is longer than anybody needs", async () => {
    const cache = createAnswerCache(changes, { maxBytes: 100_000 });
    const urls = Array.from({ length: 100 }, (_, i) => `/jobs?${"&".repeat(1900 + (i % 100))}`);
    for (const url of urls) await cache.answer(url, maker("{}"));
    made = [];
    for (const url of [...urls].reverse().slice(0, 20)) await cache.answer(url, maker("{}"));
    expect(made).to.deep.equal([]);
    await cache.answer(urls[0] as string, maker("the oldest"));
    const long = `/jobs?${"&".repeat(3000)}`;
    for (let i = 0; i < 2; i++) await cache.answer(long, maker("long"));
    expect(made).to.deep.equal(["the oldest", "long", "long"]);
  });

  it("marks an answer with its question, the database, what changed there, and the block", async () => {
    const cache = createAnswerCache(changes);
    expect(cache.etag("/jobs")).to.equal(undefined);
    const jobs = (await cache.answer("/jobs", maker("a"))).etag;
    expect(jobs).to.match(/^W\/"ab-7-[0-9a-f]+"$/);
    expect(cache.etag("/jobs")).to.equal(jobs);
    expect(cache.etag("/nodes")).to.not.equal(jobs);
    expect((await cache.answer("/jobs?finality=safe", maker("b", 7, 3))).etag).to.match(/^W\/"ab-7\.3-/);
    changes.newest = 8;
    expect(cache.etag("/jobs")).to.not.equal(jobs);
  });

  it("lets go of what was asked for longest ago when there is too much", async () => {
    const cache = createAnswerCache(changes, { maxBytes: 600 });
    for (const url of ["/a", "/b"]) await cache.answer(url, maker("1234"));
    await cache.answer("/a", maker("again"));
    await cache.answer("/c", maker("1234"));
    made = [];
    await cache.answer("/a", maker("a"));
    expect(made).to.deep.equal([]);
    await cache.answer("/b", maker("b"));
    expect(made).to.deep.equal(["b"]);
  });
});
