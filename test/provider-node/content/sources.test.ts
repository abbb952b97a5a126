import { expect } from "chai";
import pino from "pino";
import { sourcesOf } from "../../../provider-node/src/content/sources.ts";
import { endlessServer } from "../../support/endless-server.ts";

const chain = { contentUrl: () => "https://requester.example/" } as unknown as Parameters<typeof sourcesOf>[1]["chain"];
const job = { jobId: `0x${"6".repeat(64)}`, terms: { job: { requester: "0x" } } } as unknown as Parameters<
  typeof sourcesOf
>[0];

describe("sourcesOf", () => {
  it("hangs up on an indexer that talks without end, and asks the others' sources", async () => {
    await using indexer = await endlessServer();
    const said: string[] = [];
    const log = pino({ level: "debug" }, { write: (line: string) => said.push(line) });
    const options = { indexers: [`${indexer.url}/key-of-mine/`], gateways: ["http://gateway"], allowPrivate: false };
    const found = await sourcesOf(
      job,
      { ...options, chain, now: () => 0 },
      { signal: new AbortController().signal, log },
    );
    expect(found).to.deep.equal([
      { url: "https://requester.example", publicOnly: true },
      { url: "http://gateway", publicOnly: false },
    ]);
    expect(await indexer.hungUp).to.be.lessThan(32 * 2 ** 20); // what the sockets between them hold is in this
    expect(said.join(""))
      .to.match(/sent more than/)
      .and.not.contain("key-of-mine");
  });
});
