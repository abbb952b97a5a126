import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { lockDataFolder, openJournalFile } from "../../../provider-node/src/store/open.ts";

describe("the journal's files", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-open-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const modes = (...names: string[]) => names.map((name) => statSync(join(dir, name)).mode & 0o777);
  const JOURNAL = ["journal.db", "journal.db-wal", "journal.db-shm"];

  it("are the owner's alone", () => {
    const journal = openJournalFile(dir);
    const lock = lockDataFolder(dir);
    expect(modes(...JOURNAL, "node.lock")).to.deep.equal([0o600, 0o600, 0o600, 0o600]);
    lock.release();
    journal.close();
  });

  it("become so where an older version let everybody read them", () => {
    const before = openJournalFile(dir);
    for (const name of JOURNAL) chmodSync(join(dir, name), 0o644);
    writeFileSync(join(dir, "node.lock"), "", { mode: 0o644 });
    const journal = openJournalFile(dir);
    const lock = lockDataFolder(dir);
    expect(modes(...JOURNAL, "node.lock")).to.deep.equal([0o600, 0o600, 0o600, 0o600]);
    lock.release();
    journal.close();
    before.close();
  });
});
