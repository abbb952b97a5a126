import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
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
    ledger.make(mount, container);
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

  it("does not grow with what is gone", () => {
    const ledger = openLedger(path);
    ledger.make(mount);
    for (let i = 0; i < 300; i++) {
      const one = { ...container, what: `c${i}`, owner: `c${i}` };
      ledger.make(one, { ...one, kind: "folder" });
      ledger.gone({ ...one, kind: "folder" }, one);
    }
    expect(readFileSync(path, "utf8").split("\n").length).to.be.below(560);
    expect(openLedger(path).open()).to.deep.equal([mount]);
  });

  it("records a repeated making once", () => {
    const ledger = openLedger(path);
    ledger.make(mount);
    ledger.make(mount);
    ledger.gone(mount);
    expect(openLedger(path).open()).to.deep.equal([]);
  });
});
