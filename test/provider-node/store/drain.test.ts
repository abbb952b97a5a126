import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { isDraining, setDraining } from "../../../provider-node/src/store/drain.ts";
import { openJournalFile } from "../../../provider-node/src/store/open.ts";

describe("setDraining", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-drain-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it("is seen by another process, survives a restart, and ends", () => {
    const one = openJournalFile(dir);
    const other = openJournalFile(dir);
    expect(isDraining(other)).to.equal(undefined);
    setDraining(one, { reason: "new disk", since: 1000 });
    expect(isDraining(other)).to.deep.equal({ reason: "new disk", since: 1000 });
    one.close();
    other.close();

    const again = openJournalFile(dir);
    expect(isDraining(again)?.reason).to.equal("new disk");
    setDraining(again, { reason: "", since: 2000 });
    expect(isDraining(again)).to.deep.equal({ reason: "", since: 2000 });
    setDraining(again, undefined);
    expect(isDraining(again)).to.equal(undefined);
    again.close();
  });
});
