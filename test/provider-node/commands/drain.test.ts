import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { createProgram } from "../../../provider-node/src/cli/program.ts";
import { createRunner } from "../../../provider-node/src/cli/runner.ts";
import type { DrainAnswer } from "../../../provider-node/src/commands/drain.ts";
import { openJournalFile } from "../../../provider-node/src/store/open.ts";
import { eventually } from "../../support/eventually.ts";
import { startCommand } from "../daemon/node-process.ts";

describe("berth-node drain, on a stopped node", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-drain-"));
    openJournalFile(dir).close();
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  async function drain(...flags: string[]): Promise<DrainAnswer> {
    let text = "";
    const run = createRunner(new AbortController().signal, (answer) => {
      text += answer;
    });
    await createProgram(run).parseAsync(["--data-dir", dir, "--json", "drain", ...flags], { from: "user" });
    return JSON.parse(text);
  }

  /** The node has followed the chain, so it may have made offers. */
  function hasRun(): void {
    const database = openJournalFile(dir);
    database.db.prepare("INSERT INTO blocks VALUES (1, '0x1', 1)").run();
    database.close();
  }

  it("is remembered, with its reason and since when, until it is called off", async () => {
    const first = await drain("--reason", "a new disk");
    expect(first).to.deep.include({ running: false, busy: [], transactions: 0, offersUntil: null });
    expect(first.draining?.reason).to.equal("a new disk");
    expect((await drain()).draining).to.deep.equal(first.draining);
    expect((await drain("--reason", "a new roof")).draining).to.deep.equal({ ...first.draining, reason: "a new roof" });
    expect((await drain("--off")).draining).to.equal(null);
  });

  it("waits for nothing where nothing can be left", async () => {
    expect(await drain("--wait")).to.deep.include({ busy: [], offersUntil: null });
  });

  it("waits until the last offer has expired, says so, and stops politely", async () => {
    hasRun();
    const waiting = startCommand(["--data-dir", dir, "--json", "drain", "--wait"]);
    await eventually("it says what it waits for", () => waiting.stderr().includes("offers until "), 60_000);
    waiting.kill("SIGTERM");
    expect((await waiting.ended).code).to.equal(130);
    const { draining, offersUntil } = await drain();
    expect(offersUntil).to.equal((draining?.since ?? 0) + 10 + 600);
  });
});
