import { execFileSync } from "node:child_process";
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { keyFromHex, loadOrCreateKey, publicHalf } from "../../../provider-node/src/mesh/keys.ts";

describe("loadOrCreateKey", () => {
  let folder: string;
  let keyFile: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "berth-mesh-keys-"));
    keyFile = join(folder, "keys", "wg.key");
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it("makes a key once, for its owner only, and leaves no draft", async () => {
    const first = await loadOrCreateKey(keyFile);
    expect(await loadOrCreateKey(keyFile)).to.deep.equal(first);
    expect((await stat(keyFile)).mode & 0o777).to.equal(0o600);
    expect(await readdir(join(folder, "keys"))).to.deep.equal(["wg.key"]);
  });

  it("gives every start the same key when several begin at once", async () => {
    const keys = await Promise.all([1, 2, 3, 4].map(() => loadOrCreateKey(keyFile)));
    expect(new Set(keys.map((key) => key.publicKey)).size).to.equal(1);
  });

  it("tells the public key that `wg pubkey` tells", async function () {
    if (!hasWg()) return this.skip();
    const { publicKey, wgKey } = await loadOrCreateKey(keyFile);
    const told = execFileSync("wg", ["pubkey"], { input: await readFile(keyFile), encoding: "utf8" }).trim();
    expect(publicKey).to.equal(told);
    expect(keyFromHex(wgKey)).to.equal(told);
    expect(wgKey).to.match(/^0x[0-9a-f]{64}$/);
  });

  it("clamps on its own: bits that X25519 ignores do not change the public key", () => {
    const plain = Buffer.alloc(32, 0x55);
    const clamped = Buffer.from(plain);
    clamped.writeUInt8(0x50, 0);
    expect(publicHalf(clamped)).to.deep.equal(publicHalf(plain));
  });

  it("refuses a file that others can read", async () => {
    await loadOrCreateKey(keyFile);
    await chmod(keyFile, 0o640);
    await expectRejection(loadOrCreateKey(keyFile), "Others on this machine can open the WireGuard key");
  });

  it("refuses a file without a key", async () => {
    for (const text of ["", "not a key", `${Buffer.alloc(31).toString("base64")}\n`]) {
      await loadOrCreateKey(keyFile);
      await writeFile(keyFile, text);
      await expectRejection(loadOrCreateKey(keyFile), "does not hold a WireGuard private key");
      await rm(keyFile);
    }
  });
});

async function expectRejection(promise: Promise<unknown>, message: string): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).to.be.instanceOf(Error).with.property("message").that.includes(message);
}

function hasWg(): boolean {
  try {
    execFileSync("wg", ["--version"]);
    return true;
  } catch {
    return false;
  }
}
