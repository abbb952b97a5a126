import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { splitLog } from "../../../provider-node/src/engine/k8s-log.ts";

const TIME = "2026-11-21T05:52:38.822358627+00:00";

describe("splitLog", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "berth-log-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  async function split(raw: string | Buffer, maxBytes = 1000, full = false) {
    writeFileSync(join(folder, "raw"), raw);
    const logs = await splitLog(join(folder, "raw"), folder, { maxBytes, full });
    const read = (name: "stdout" | "stderr") => ({ text: readFileSync(logs[name].path, "latin1"), ...logs[name] });
    return { stdout: read("stdout"), stderr: read("stderr") };
  }

  it("gives each stream its own bytes", async () => {
    const { stdout, stderr } = await split(`${TIME} stdout F one\n${TIME} stderr F two\n${TIME} stdout F \n`);
    expect(stdout.text).to.equal("one\n\n");
    expect(stderr.text).to.equal("two\n");
  });

  it("joins pieces of a line, and adds no newline that the job did not write", async () => {
    const { stdout } = await split(`${TIME} stdout P abc\n${TIME} stdout P def\n${TIME} stdout F \n`);
    expect(stdout.text).to.equal("abcdef");
    const longer = await split(`${TIME} stdout P abc\n${TIME} stdout F \n${TIME} stdout F next\n`);
    expect(longer.stdout.text).to.equal("abc\nnext\n");
  });

  it("keeps bytes that are not text", async () => {
    const raw = Buffer.concat([Buffer.from(`${TIME} stdout F `), Buffer.from([0, 255, 13]), Buffer.from("\n")]);
    expect((await split(raw)).stdout.text).to.equal("\u0000\u00ff\r\n");
  });

  it("keeps at most the cap of each stream and says so", async () => {
    const { stdout, stderr } = await split(`${TIME} stdout F ${"x".repeat(50)}\n${TIME} stderr F ok\n`, 10);
    expect(stdout).to.deep.include({ bytes: 10, truncated: true });
    expect(stderr).to.deep.include({ bytes: 3, truncated: false });
  });

  it("calls both streams truncated when the volume ran full, and skips the torn record", async () => {
    const { stdout, stderr } = await split(`${TIME} stdout F ok\n2026-11-21T0`, 10, true);
    expect(stdout).to.deep.include({ text: "ok\n", truncated: true });
    expect(stderr.truncated).to.equal(true);
  });

  it("treats a log that was never opened as empty", async () => {
    const logs = await splitLog(join(folder, "none"), folder, { maxBytes: 10, full: false });
    expect(logs.stdout).to.deep.include({ bytes: 0, truncated: false });
  });
});
