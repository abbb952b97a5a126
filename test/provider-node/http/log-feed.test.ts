import type { JobId } from "@berth/protocol";
import { MarketError } from "@berth/protocol";
import { expect } from "chai";
import type { AttemptState } from "../../../provider-node/src/core/states.ts";
import type { Engine, LiveLog } from "../../../provider-node/src/engine/types.ts";
import { feedLog, type LogEvent, type LogRequest, type LogTools } from "../../../provider-node/src/http/log-feed.ts";
import type { AttemptRow } from "../../../provider-node/src/store/journal.ts";
import { aSpec } from "../../support/specs.ts";

const jobId = `0x${"1".repeat(64)}` as JobId;
const REQUEST: LogRequest = { jobId, replica: 0, stream: "stdout", from: 0, attempt: null, follow: true };

function row(attempt: number, state: AttemptState, more: Partial<AttemptRow> = {}): AttemptRow {
  return { jobId, replica: 0, attempt, state, since: 0, outcome: null, message: "", facts: {}, ...more };
}
const ended = (attempt: number, text: string, truncated = false) =>
  row(attempt, "published", {
    outcome: "exited",
    facts: { exitCode: 3, stdout: { cid: text, bytes: text.length, truncated } },
  });

/** A node whose attempt is each of `rows` in turn, and whose engine has `live` by attempt. */
function node(rows: (AttemptRow | undefined)[], live: Record<number, string[]> = {}): LogTools {
  const rest = [...rows];
  const engine = {
    liveLog(name: string): LiveLog {
      const pieces = [...(live[Number(name)] ?? [])];
      return { read: async () => Buffer.from(pieces.shift() ?? "") };
    },
  } as unknown as Engine;
  return {
    journal: { attempt: () => (rest.length > 1 ? rest.shift() : rest[0]) },
    engine: () => engine,
    nameOf: ({ attempt }) => String(attempt),
    content: {
      async getBytes(cid) {
        if (cid === "gone") throw new MarketError("CONTENT_NOT_FOUND", "It is not here.");
        return new TextEncoder().encode(cid);
      },
    },
  };
}

async function feed(tools: LogTools, request: Partial<LogRequest> = {}): Promise<{ text: string; events: LogEvent[] }> {
  const events: LogEvent[] = [];
  for await (const event of feedLog(tools, { ...REQUEST, ...request }, new AbortController().signal))
    events.push(event);
  const text = events.map((event) => (event.type === "log" ? new TextDecoder().decode(event.bytes) : "|")).join("");
  return { text, events };
}

describe("feedLog", () => {
  it("goes from the engine to the store without a loss or a double", async () => {
    const tools = node([row(0, "fetching"), row(0, "running"), ended(0, "one two three")], { 0: ["one ", "two"] });
    const { text, events } = await feed(tools);
    expect(text).to.equal("one two three|");
    expect(events.map((event) => (event.type === "log" ? event.from : event.bytes))).to.deep.equal([0, 4, 7, 13]);
    expect(events.at(-1)).to.deep.include({ type: "end", outcome: "exited", exitCode: 3, truncated: false });
  });

  it("begins where it is told, in either place", async () => {
    expect((await feed(node([row(0, "running"), ended(0, "abcdef")], { 0: ["abc"] }), { from: 2 })).text).to.equal(
      "cdef|",
    );
    expect((await feed(node([ended(0, "abcdef")]), { from: 4, attempt: 0 })).text).to.equal("ef|");
    expect((await feed(node([ended(0, "abcdef")]), { from: 99 })).text).to.equal("|");
  });

  it("begins anew with a new attempt", async () => {
    const { events } = await feed(
      node([row(0, "running"), row(1, "running"), ended(1, "xyz")], { 0: ["lost"], 1: ["x"] }),
    );
    expect(events.map(({ type, attempt }) => `${type} ${attempt}`)).to.deep.equal(["log 0", "log 1", "log 1", "end 1"]);
    expect(events[1]).to.deep.include({ from: 0 });
    expect((await feed(node([ended(1, "xyz")]), { from: 2, attempt: 0 })).text).to.equal("xyz|");
  });

  it("reads the log of a job whose outputs are encrypted from the engine alone, also after its end", async () => {
    const { outputs } = aSpec();
    const spec = aSpec({ outputs: { ...outputs, encryptTo: ["age1"] } });
    const over = ended(0, "abcdef");
    const sealed = { ...over, facts: { ...over.facts, spec } };
    expect((await feed(node([row(0, "running"), sealed], { 0: ["abc", "", "def"] }))).text).to.equal("abcdef|");
    expect((await feed(node([sealed], { 0: ["abcdef"] }), { from: 2 })).text).to.equal("cdef|");
    const error = await feed(node([sealed])).catch((thrown: MarketError) => thrown);
    expect(error).to.include({ code: "LOG_GONE" });
    expect((error as MarketError).hint).to.include("identity");
  });

  it("does not wait where nobody follows", async () => {
    const { text, events } = await feed(node([row(0, "running")], { 0: ["so far"] }), { follow: false });
    expect(text).to.equal("so far|");
    expect(events.at(-1)).to.deep.include({ outcome: null, phase: "running", bytes: 6 });
    expect((await feed(node([row(0, "fetching")]), { follow: false })).text).to.equal("|");
  });

  it("ends where no result will come, and where there is no log", async () => {
    expect((await feed(node([row(0, "running"), row(0, "cancelled")], { 0: ["half"] }))).text).to.equal("half|");
    const refused = row(0, "collected", { outcome: "spec-invalid", message: "It is wrong." });
    expect((await feed(node([refused]))).events).to.deep.equal([
      {
        ...{ type: "end", attempt: 0, phase: "publishing", outcome: "spec-invalid", exitCode: null },
        message: "It is wrong.",
        bytes: 0,
        truncated: false,
      },
    ]);
  });

  it("says that a log is no longer kept, and that a replica is not known", async () => {
    const codeOf = async (tools: LogTools) =>
      await feed(tools).then(
        () => "none",
        (error: MarketError) => error.code,
      );
    expect(await codeOf(node([ended(0, "gone")]))).to.equal("LOG_GONE");
    expect(await codeOf(node([undefined]))).to.equal("JOB_UNKNOWN");
  });

  it("says that the job wrote more than is kept", async () => {
    expect((await feed(node([ended(0, "cut", true)]))).events.at(-1)).to.deep.include({ truncated: true });
  });
});
