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
    database.close();
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  async function explain(job: string, ...flags: string[]): Promise<string> {
    let text = "";
    const run = createRunner(new AbortController().signal, (answer) => {
      text += answer;
    });
    await createProgram(run).parseAsync(["--data-dir", dir, ...flags, "explain", job], { from: "user" });
    return text;
  }

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
    const refused = await explain("0xabcdef").then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(refused).to.deep.include({ code: "JOB_AMBIGUOUS", message: "2 jobs begin with 0xabcdef." });
  });
});
