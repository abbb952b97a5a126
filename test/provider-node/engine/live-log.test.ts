import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import { splitLog } from "../../../provider-node/src/engine/k8s-log.ts";
import { openLiveLog } from "../../../provider-node/src/engine/live-log.ts";

const TIME = "2026-11-21T05:52:38.822358627+00:00";

describe("openLiveLog", () => {
  let folder: string;
  let raw: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "berth-live-"));
    raw = join(folder, "raw");
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it("gives what was added since the last read, of one stream", async () => {
    const log = openLiveLog(raw, "stdout", 1000);
    expect(String(await log.read())).to.equal("");
    writeFileSync(raw, `${TIME} stdout F one\n${TIME} stderr F other\n${TIME} stdout F two\n`);
    expect(String(await log.read())).to.equal("one\ntwo\n");
    expect(String(await log.read())).to.equal("");
    appendFileSync(raw, `${TIME} stdout F thr`);
    expect(String(await log.read())).to.equal("");
    appendFileSync(raw, "ee\n");
    expect(String(await log.read())).to.equal("three\n");
  });

  it("stops at the cap", async () => {
    writeFileSync(raw, `${TIME} stdout F ${"x".repeat(50)}\n`);
    const log = openLiveLog(raw, "stdout", 10);
    expect(String(await log.read())).to.equal("x".repeat(10));
    appendFileSync(raw, `${TIME} stdout F more\n`);
    expect(String(await log.read())).to.equal("");
  });

  it("is at every moment a beginning of the log at the end, wherever the file is cut", async () => {
    const line = fc.tuple(
      fc.constantFrom("stdout", "stderr"),
      fc.constantFrom("P", "F"),
      fc.stringMatching(/^[a-c]{0,5}$/),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(line),
        fc.array(fc.nat(400)),
        fc.integer({ min: 1, max: 40 }),
        async (lines, cuts, cap) => {
          const text = lines.map(([stream, kind, words]) => `${TIME} ${stream} ${kind} ${words}\n`).join("");
          writeFileSync(raw, text);
          const { stdout } = await splitLog(raw, folder, { maxBytes: cap, full: false });
          const whole = readFileSync(stdout.path, "utf8");
          const log = openLiveLog(raw, "stdout", cap);
          let seen = "";
          for (const cut of [...cuts.toSorted((a, b) => a - b), text.length]) {
            writeFileSync(raw, text.slice(0, cut));
            seen += String(await log.read());
            expect(whole.startsWith(seen)).to.equal(true);
          }
          expect(seen).to.equal(whole);
        },
      ),
      { numRuns: 50 },
    );
  });
});
