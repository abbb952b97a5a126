import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { attemptRecords } from "../../../provider-node/src/engine/attempt-record.ts";
import { openLedger } from "../../../provider-node/src/engine/ledger.ts";
import type { AttemptSpec } from "../../../provider-node/src/engine/types.ts";
import { mountSmallDisk, type SmallDisk } from "../../support/small-disk.ts";

const PAGE = 4096;

/** The system writes part of what has no room as a whole, and does not call that an error. */
describe("on a disk that is full", () => {
  let dir: string;
  let folder: string;
  let disk: SmallDisk;

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), "berth-full-"));
    folder = join(dir, "disk");
    disk = await mountSmallDisk(folder, join(dir, "disk.img"), 4);
  });

  afterEach(async () => {
    await disk.unmount();
    rmSync(dir, { recursive: true });
  });

  it("the ledger knows all that it said was noted, and what is noted once there is room", () => {
    const path = join(folder, "ledger.jsonl");
    const ledger = openLedger(path);
    const made = (at: number) => ({ kind: "container", what: `container-${at}`, owner: `owner-${at}` }) as const;
    const noted: ReturnType<typeof made>[] = [];
    const note = () => {
      const next = made(noted.length);
      ledger.make(next);
      noted.push(next);
    };
    // Part of the next few has room yet, in the last page of the file.
    while (statSync(path).size < PAGE - 300) note();
    disk.fill();
    expect(() => {
      for (;;) note();
    })
      .to.throw()
      .with.property("code", "ENOSPC");
    disk.makeRoom();
    note();
    expect(openLedger(path).open()).to.deep.equal(noted);
  });

  it("the record of an attempt stays the one that it was", () => {
    const records = attemptRecords(join(folder, "attempts"));
    const spec: AttemptSpec = {
      name: "berth-a",
      jobId: "0x01",
      replica: 0,
      attempt: 0,
      imageDigest: `sha256:${"0".repeat(64)}`,
      command: ["/bin/true"],
      env: { WORDS: "many ".repeat(2000) },
      resources: { cpuMilli: 1000, memoryMiB: 64, diskMiB: 16, gpus: 0 },
      maxSeconds: 30,
      inputs: [],
      outputPath: "/out",
      outputs: { maxBytes: 1024, maxFiles: 10 },
      network: "none",
    };
    const record = { spec, imageId: "image" };
    records.write(record);
    disk.fill(2 * PAGE);
    const write = () => records.write({ ...record, madeAs: "berth-a" });
    expect(write).to.throw().with.property("code", "ENOSPC");
    expect(records.read("berth-a")).to.deep.equal(record);
    disk.makeRoom();
    write();
    expect(records.read("berth-a")).to.have.property("madeAs", "berth-a");
  });
});
