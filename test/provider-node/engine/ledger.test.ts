import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { openLedger } from "../../../provider-node/src/engine/ledger.ts";

describe("openLedger", () => {
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "berth-ledger-"));
    path = join(folder, "ledger.jsonl");
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const mount = { kind: "mount", what: "/data/a/out", owner: "a" } as const;
  const container = { kind: "container", what: "a", owner: "a" } as const;

  it("tells a later process what was made and is not gone, in the order of making", () => {
    const ledger = openLedger(path);
    ledger.make(mount);
    ledger.make(container);
    ledger.make({ ...container, what: "b", owner: "b" });
    ledger.gone({ ...container, what: "b", owner: "b" });
    expect(openLedger(path).open()).to.deep.equal([mount, container]);
  });

  it("survives a line torn by a crash, and writes on after it", () => {
    openLedger(path).make(mount);
    appendFileSync(path, '{"op":"make","kind":"conta');
    openLedger(path).make(container);
    expect(openLedger(path).open()).to.deep.equal([mount, container]);
  });

  it("records a repeated making once", () => {
    const ledger = openLedger(path);
    ledger.make(mount);
    ledger.make(mount);
    ledger.gone(mount);
    expect(openLedger(path).open()).to.deep.equal([]);
  });
});
