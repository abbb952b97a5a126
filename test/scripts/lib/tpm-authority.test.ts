import { execFile } from "node:child_process";
import { readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "chai";
import { endorsementSchema, MarketError } from "../../../protocol/src/index.ts";
import {
  activateCredential,
  probeAttester,
  readTpmKeys,
  type Tpm2Config,
  type TpmKeys,
} from "../../../provider-node/src/attest/index.ts";
import { type Swtpm, startSwtpm } from "../../../scripts/lib/swtpm.ts";
import { beginEnrolment, finishEnrolment, initAuthority, openAuthority } from "../../../scripts/lib/tpm-authority.ts";
import { freshTpm, OPERATOR, silent, termsFor } from "../../provider-node/attest/tpm-fixture.ts";

const run = promisify(execFile);
const COMMAND = new URL("../../../scripts/tpm-authority.ts", import.meta.url).pathname;

describe("TPM authority", () => {
  let dir: string;
  let tpm: Swtpm;
  let config: Tpm2Config;
  let keys: TpmKeys;
  before(async () => {
    ({ dir, tpm, config } = await freshTpm());
    keys = await readTpmKeys(config, { log: silent });
  });
  after(async () => {
    await tpm.stop();
    await rm(dir, { recursive: true, force: true });
  });

  it("keeps one private key, readable by its owner only", async () => {
    const folder = join(dir, "kept");
    const { publicKey } = await initAuthority(folder);
    expect((await openAuthority(folder)).publicKey).to.equal(publicKey);
    expect((await stat(join(folder, "authority-key.pem"))).mode & 0o777).to.equal(0o600);
    expect(await codeOf(() => initAuthority(folder))).to.equal("AUTHORITY_EXISTS");
    expect(await codeOf(() => openAuthority(join(dir, "nowhere")))).to.equal("AUTHORITY_MISSING");
  });

  it("endorses a key whose TPM opens the challenge, and only with the right answer", async () => {
    const authority = await initAuthority(join(dir, "endorsing"));
    const pending = beginEnrolment(keys, termsFor(tpm));
    const answer = await activateCredential(config, pending.challenge, { log: silent });
    const endorsement = finishEnrolment(authority, pending, answer);
    expect(endorsement).to.include({
      kind: "software",
      operator: OPERATOR,
      nodeIndex: 3,
      authority: authority.publicKey,
    });
    expect(await codeOf(() => finishEnrolment(authority, pending, new Uint8Array(32)))).to.equal("ENROLMENT_REFUSED");
    expect(await codeOf(() => finishEnrolment(authority, pending, new Uint8Array()))).to.equal("ENROLMENT_REFUSED");
  });

  it("makes a challenge that another TPM cannot open", async () => {
    const other = await freshTpm();
    try {
      const otherKeys = await readTpmKeys(other.config, { log: silent });
      const { challenge } = beginEnrolment(keys, termsFor(tpm));
      expect(await codeOf(() => activateCredential(other.config, challenge, { log: silent }))).to.equal(
        "TPM_COMMAND_FAILED",
      );
      // A genuine endorsement key, but an attestation key that lives elsewhere.
      const mixed = beginEnrolment({ ...keys, akPublic: otherKeys.akPublic }, termsFor(tpm));
      for (const side of [config, other.config])
        expect(await codeOf(() => activateCredential(side, mixed.challenge, { log: silent }))).to.equal(
          "TPM_COMMAND_FAILED",
        );
      expect(await codeOf(() => beginEnrolment({ ...keys, ekPublic: otherKeys.ekPublic }, termsFor(tpm)))).to.equal(
        "EK_CERTIFICATE_REFUSED",
      );
      expect(await codeOf(() => beginEnrolment(keys, termsFor(other.tpm)))).to.equal("EK_CERTIFICATE_REFUSED");
    } finally {
      await other.tpm.stop();
      await rm(other.dir, { recursive: true, force: true });
    }
  });

  it("never calls an emulator hardware", async () => {
    expect(await codeOf(() => beginEnrolment(keys, termsFor(tpm, { kind: "hardware" })))).to.equal("AUTHORITY_KIND");
  });

  it("refuses an endorsement key certificate that does not lead to its CAs now", async () => {
    const refuses = async (change: Parameters<typeof termsFor>[1], certificate = keys.ekCertificate) =>
      expect(
        await codeOf(() => beginEnrolment({ ...keys, ekCertificate: certificate }, termsFor(tpm, change))),
      ).to.equal("EK_CERTIFICATE_REFUSED");
    await refuses({ ekCas: [] });
    await refuses({ ekCas: tpm.ekCaCerts.slice(0, 1) });
    await refuses({ ekCas: tpm.ekCaCerts.slice(1) });
    await refuses({ now: new Date("2001-01-01") });
    const forged = Buffer.from(keys.ekCertificate);
    forged.writeUInt8(forged.readUInt8(forged.length - 1) ^ 1, forged.length - 1);
    await refuses({}, forged);
    await refuses({}, forged.subarray(0, 100));
    await refuses({}, Buffer.from("no certificate"));
  });

  it("takes several CAs in one file, and a certificate with padding behind it", async () => {
    const padded = Buffer.concat([keys.ekCertificate, Buffer.alloc(40, 0xff)]);
    const plain = beginEnrolment(keys, termsFor(tpm)).statement.ekCertSha256;
    const terms = termsFor(tpm, { ekCas: [tpm.ekCaCerts.join("\n")] });
    expect(beginEnrolment({ ...keys, ekCertificate: padded }, terms).statement.ekCertSha256).to.equal(plain);
  });

  it("refuses an attestation key that is not restricted", async () => {
    const akPublic = Buffer.from(keys.akPublic);
    akPublic.writeUInt32BE(akPublic.readUInt32BE(4) & ~(1 << 16), 4);
    expect(await codeOf(() => beginEnrolment({ ...keys, akPublic }, termsFor(tpm)))).to.equal("TPM_KEY_UNFIT");
  });

  it("works from the command line", async () => {
    const folder = join(dir, "cli");
    const { stdout } = await run(process.execPath, [COMMAND, "init", "--dir", folder]);
    const { publicKey } = JSON.parse(stdout) as { publicKey: string };
    const enrol = ["enrol", "--dir", folder, ...tpm.ekCaFiles.flatMap((path) => ["--ek-ca", path]), "--tcti", tpm.tcti];
    const node = ["--state-dir", config.stateDir, "--operator", OPERATOR, "--node-index", "3"];
    const printed = (await run(process.execPath, [COMMAND, ...enrol, ...node])).stdout;
    expect(endorsementSchema.parse(JSON.parse(printed)).authority).to.equal(publicKey);
    expect(JSON.parse(await readFile(join(config.stateDir, "endorsement.json"), "utf8"))).to.deep.equal(
      JSON.parse(printed),
    );
    expect((await probeAttester(config, { log: silent })).available).to.equal(true);
    const failure = (await run(process.execPath, [COMMAND, ...enrol]).catch((error: unknown) => error)) as {
      code: number;
      stderr: string;
    };
    expect(failure.code).to.equal(2);
    expect(failure.stderr).to.match(/--operator is missing/);
  });
});

describe("startSwtpm", () => {
  it("says why a second one in the same folder does not start, and leaves the first alone", async () => {
    const { dir, tpm, config } = await freshTpm();
    try {
      expect(await codeOf(() => startSwtpm({ dir: join(dir, "tpm"), log: silent }))).to.equal("SWTPM_RUNNING");
      expect((await readTpmKeys(config, { log: silent })).akPublic.length).to.be.above(0);
    } finally {
      await tpm.stop();
      await rm(dir, { recursive: true, force: true });
    }
  });

  it("refuses a folder whose path is too long for a socket", async () => {
    expect(await codeOf(() => startSwtpm({ dir: `/tmp/${"x".repeat(100)}`, log: silent }))).to.equal(
      "SWTPM_PATH_TOO_LONG",
    );
  });
});

async function codeOf(action: () => unknown): Promise<string | undefined> {
  try {
    await action();
    return undefined;
  } catch (error) {
    return error instanceof MarketError ? error.code : String(error);
  }
}
