import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Address, JobId } from "@berth/protocol";
import { expect } from "chai";
import { createProgram } from "../../../provider-node/src/cli/program.ts";
import { createRunner } from "../../../provider-node/src/cli/runner.ts";
import { createDecisions } from "../../../provider-node/src/store/decisions.ts";
import { openJournalFile } from "../../../provider-node/src/store/open.ts";

const FIRST: JobId = `0xabcdef1${"0".repeat(57)}` as JobId;
const SECOND: JobId = `0xabcdef2${"0".repeat(57)}` as JobId;
const POSTED: JobId = `0xabc${"1".repeat(61)}` as JobId;

describe("berth-node explain", () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-explain-"));
    const database = openJournalFile(dir);
    const decisions = createDecisions(database);
    const about = { replica: null, what: "posted", requester: `0x${"1".repeat(40)}` as Address, values: {} } as const;
    decisions.record({ ...about, at: 100, jobId: FIRST, code: "PRICE", text: "It pays too little." });
    decisions.record({ ...about, at: 200, jobId: FIRST, code: "DRAINING", text: "The node is \u001b[31mdraining." });
    decisions.record({ ...about, at: 300, jobId: SECOND, code: "PRICE", text: "It pays too little." });
    database.db
      .prepare("INSERT INTO request_events (block, log_index, job_id, kind, request) VALUES (1, 0, ?, 'posted', '{}')")
      .run(POSTED);
    database.close();
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  async function berthNode(...args: string[]): Promise<string> {
    let text = "";
    const run = createRunner(new AbortController().signal, (answer) => {
      text += answer;
    });
    await createProgram(run).parseAsync(["--data-dir", dir, ...args], { from: "user" });
    return text;
  }
  const explain = (job: string, ...flags: string[]) => berthNode(...flags, "explain", job);
  const errorOf = (answer: Promise<string>) =>
    answer.then(
      () => undefined,
      (error: unknown) => error,
    );

  it("says why a job was not taken, the newest reason first", async () => {
    const answer = JSON.parse(await explain("0xABCDEF1", "--json"));
    expect(answer).to.deep.include({ jobId: FIRST, taken: false, replicas: [], transactions: [] });
    expect(answer.sentence).to.equal("The node is \u001b[31mdraining.");
    expect(answer.decisions.map(({ code, at }: { code: string; at: number }) => [code, at])).to.deep.equal([
      ...[["DRAINING", 200] as const, ["PRICE", 100] as const],
    ]);
  });

  it("shows a person what would steer the terminal, and does not do it", async () => {
    const text = await explain(FIRST);
    expect(text).to.match(/in short +The node is \ufffd\[31mdraining\./);
    expect(text).to.match(/not taken \(posted\) +1970-01-01T00:01:40Z {2}PRICE {2}It pays too little\./);
    expect(text).to.not.include("\u001b[31m");
  });

  it("asks for more digits where several jobs begin alike", async () => {
    expect(await errorOf(explain("0xabcdef"))).to.deep.include({
      code: "JOB_AMBIGUOUS",
      message: "2 jobs begin with 0xabcdef.",
    });
  });

  it("says of a posted request that none are taken, or that it was not decided yet", async () => {
    expect(JSON.parse(await explain(POSTED, "--json")).sentence).to.match(
      /takes no posted requests .*acceptPosted is off/,
    );
    const asked = JSON.parse(await explain(POSTED, "--json", "--set", "acceptPosted=true"));
    expect(asked.sentence).to.match(/not decided yet/);
  });

  it("says that a job may be older than what is kept, and so does the list of jobs", async () => {
    const unknown = () => errorOf(explain("0xdeadbe")) as Promise<{ code: string; message: string; hint: string }>;
    expect(await unknown()).to.deep.include({
      ...{ code: "JOB_UNKNOWN", message: "This node has never heard of the job 0xdeadbe." },
    });
    expect(JSON.parse(await berthNode("--json", "jobs"))).to.deep.equal({ jobs: [], keptSince: null });
    const database = openJournalFile(dir);
    database.db.prepare("INSERT INTO meta VALUES ('kept-since', '1700000000')").run();
    database.close();
    const { code, message, hint } = await unknown();
    expect([code, message]).to.deep.equal([
      ...["JOB_UNKNOWN", "This node knows nothing of the job 0xdeadbe, or not any more."],
    ]);
    expect(hint).to.match(/over before 2023-11-14T22:13:20Z are forgotten \(journal\.retentionDays\)/);
    expect(JSON.parse(await berthNode("--json", "jobs"))).to.deep.equal({ jobs: [], keptSince: 1_700_000_000 });
    expect(await berthNode("jobs")).to.match(
      /no such jobs\. Jobs that were over before 2023-11-14T22:13:20Z are forgotten/,
    );
  });
});
