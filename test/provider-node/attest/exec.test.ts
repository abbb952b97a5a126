import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { evidenceSchema, MarketError } from "../../../protocol/src/index.ts";
import { attesterConfigSchema, createAttester, probeAttester } from "../../../provider-node/src/attest/index.ts";
import { IMAGE, REPORT, silent } from "./tpm-fixture.ts";

describe("exec attester", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "berth-test-exec-"));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  /** A configuration whose program is this shell script. */
  const program = async (script: string, settings: object = {}) => {
    const path = join(dir, "program");
    await writeFile(path, `#!/bin/sh\n${script}\n`);
    await chmod(path, 0o755);
    return attesterConfigSchema.parse({ type: "exec", command: [path, "--flag"], ...settings });
  };
  const attest = async (script: string, settings: object = {}, signal?: AbortSignal) => {
    const attester = createAttester(await program(script, settings), { log: silent });
    return attester.attest({ reportData: REPORT, imageDigest: IMAGE, phase: "start", ...(signal && { signal }) });
  };
  const answer = '{"format":"test/v1","evidence":"aGVsbG8="}';

  it("gives the program the request and publishes its answer", async () => {
    const evidence = await attest(
      `printf '{"format":"test/v1","evidence":"%s","collateral":["aGVsbG8="]}' "$(base64 -w0)"`,
    );
    expect(evidenceSchema.parse(evidence)).to.include({ type: "exec", format: "test/v1", reportData: REPORT });
    if (evidence.type !== "exec") throw new Error("not reached");
    const request = JSON.parse(Buffer.from(evidence.evidence, "base64").toString());
    expect(request).to.deep.equal({ version: 1, phase: "start", reportData: REPORT, imageDigest: IMAGE });
    expect(evidence.collateral).to.deep.equal(["aGVsbG8="]);
  });

  it("passes on only the configured environment", async () => {
    const script = `test "$1 $GREETING" = "--flag hello" && test -z "$HOME" && echo '${answer}'`;
    expect(await attest(script, { env: { GREETING: "hello" } })).to.include({ format: "test/v1" });
  });

  const failures: [what: string, script: string, settings: object, code: string, message: RegExp][] = [
    ["fails", "echo no device >&2; exit 3", {}, "ATTEST_PROGRAM_FAILED", /ended with code 3: no device/],
    ["runs too long", "sleep 60", { timeoutMs: 200 }, "ATTEST_PROGRAM_SLOW", /ran past 200 ms/],
    ["prints too much", "yes", { maxOutputBytes: 1024 }, "ATTEST_PROGRAM_TALKATIVE", /more than 1024 bytes/],
    ["prints no JSON", "echo hello", {}, "ATTEST_PROGRAM_ANSWER", /it is not JSON/],
    ["adds a field", `echo '{"format":"a","evidence":"aGVsbG8=","more":1}'`, {}, "ATTEST_PROGRAM_ANSWER", /more/],
    ["prints bad base64", `echo '{"format":"a","evidence":"?"}'`, {}, "ATTEST_PROGRAM_ANSWER", /evidence/],
  ];
  for (const [what, script, settings, code, message] of failures) {
    it(`refuses a program that ${what}`, async () => {
      const error = await attest(script, settings).catch((thrown: unknown) => thrown);
      expect(error).to.be.instanceOf(MarketError);
      expect(error).to.include({ code });
      expect((error as MarketError).message).to.match(message);
    });
  }

  it("refuses a program that is not there", async () => {
    const config = attesterConfigSchema.parse({ type: "exec", command: [join(dir, "missing")] });
    const probe = await probeAttester(config, { log: silent });
    expect(probe).to.include({ type: "exec", available: false });
    expect(probe.detail).to.match(/ENOENT/);
  });

  it("asks the program as a probe for doctor", async () => {
    const config = await program(`grep -q '"phase":"probe"' && echo '${answer}'`);
    const probe = await probeAttester(config, { log: silent });
    expect(probe).to.include({ available: true });
    expect(probe.detail).to.match(/answers in the format test\/v1/);
  });

  it("stops the program when its caller aborts", async () => {
    const reason = new Error("no longer wanted");
    const attempt = attest("sleep 60", {}, AbortSignal.any([AbortSignal.timeout(100)]));
    expect(((await attempt.catch((error: unknown) => error)) as Error).name).to.equal("TimeoutError");
    const aborted = attest("sleep 60", {}, AbortSignal.abort(reason));
    expect(await aborted.catch((error: unknown) => error)).to.equal(reason);
  });
});

describe("none attester", () => {
  it("makes a document that claims nothing", async () => {
    const attester = createAttester({ type: "none" }, { log: silent, clock: () => new Date(0) });
    const evidence = await attester.attest({ reportData: REPORT, imageDigest: IMAGE, phase: "start" });
    expect(evidenceSchema.parse(evidence)).to.deep.equal({
      version: 1,
      type: "none",
      format: "none",
      reportData: REPORT,
      producedAt: "1970-01-01T00:00:00.000Z",
    });
    expect((await attester.probe()).available).to.equal(true);
  });
});

describe("attesterConfigSchema", () => {
  it("names an unknown field and refuses a register that can be reset", () => {
    const tpm = { type: "tpm2", tcti: "device:/dev/tpmrm0", stateDir: "/var/lib/node" };
    expect(attesterConfigSchema.parse(tpm)).to.include({ pcr: 14 });
    expect(() => attesterConfigSchema.parse({ ...tpm, pcr: 16 })).to.throw(/pcr/);
    expect(() => attesterConfigSchema.parse({ ...tpm, colour: "red" })).to.throw(/colour/);
  });
});
