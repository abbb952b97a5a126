import { execFileSync, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MarketError } from "@berth/protocol";
import { expect } from "chai";
import { identityOf, keyringOf } from "../../../client/src/sealed/keyring.ts";
import { agePair } from "../../support/age.ts";

describe("keyringOf", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "berth-keyring-"));
  });
  afterEach(() => rm(dir, { recursive: true }));
  const code = (promise: Promise<unknown>) =>
    promise.then(
      () => undefined,
      (error: MarketError) => error.code,
    );

  it("keeps what it makes, for its owner only, and finds it by any recipient of a job", async () => {
    const keyring = keyringOf({ dir: join(dir, "new/folder") });
    const { recipient, file } = await keyring.recipient();
    expect((await stat(file)).mode & 0o777).to.equal(0o600);
    expect((await stat(join(dir, "new/folder"))).mode & 0o777).to.equal(0o700);
    const other = (await agePair()).recipient;
    expect(await keyring.find([other, recipient])).to.match(/^AGE-SECRET-KEY-1/);
    expect(await keyring.find([other])).to.equal(undefined);
    expect((await keyring.recipient()).recipient).to.not.equal(recipient);
    const error = await identityOf([other], keyring).catch((thrown: MarketError) => thrown);
    expect(error).to.include({ code: "IDENTITY_MISSING" });
    expect((error as MarketError).hint)
      .to.include("--identity FILE")
      .and.include(other);
  });

  it("writes a file that age-keygen reads, and reads one that it writes", async function () {
    const { recipient, file } = await keyringOf({ dir }).recipient();
    if (spawnSync("age-keygen", ["--version"]).error !== undefined) return this.skip(); // the package age is not installed
    expect(String(execFileSync("age-keygen", ["-y", file])).trim()).to.equal(recipient);
    const theirs = join(dir, "theirs");
    execFileSync("age-keygen", ["-o", theirs], { stdio: "ignore" });
    const named = keyringOf({ dir, file: theirs });
    expect((await named.recipient()).recipient).to.equal(String(execFileSync("age-keygen", ["-y", theirs])).trim());
  });

  it("takes the file that is named and no other, and says when it does not fit", async () => {
    const [mine, theirs] = [await agePair(), await agePair()];
    const file = join(dir, "key");
    await writeFile(file, `# two\n\n${theirs.identity}\r\n${mine.identity}\n`, { mode: 0o600 });
    const keyring = keyringOf({ dir, file });
    expect(await keyring.recipient()).to.deep.equal({ recipient: theirs.recipient, file });
    expect(await keyring.find([mine.recipient])).to.equal(mine.identity);
    expect(await code(keyring.find([(await agePair()).recipient]))).to.equal("IDENTITY_WRONG");
  });

  it("tells a missing file from one that others can read and from one that holds no identity", async () => {
    const { identity } = await agePair();
    const file = join(dir, "key");
    const asked = () => code(keyringOf({ dir, file }).find(["age1"]));
    expect(await asked()).to.equal("IDENTITY_UNREADABLE");
    await writeFile(file, identity, { mode: 0o644 });
    expect(await asked()).to.equal("IDENTITY_EXPOSED");
    const wrong = ["", "# nothing", "hello", `${identity.slice(0, -1)}${identity.endsWith("Q") ? "P" : "Q"}`];
    for (const text of wrong) {
      await rm(file);
      await writeFile(file, text, { mode: 0o600 });
      expect(await asked(), text).to.equal("IDENTITY_INVALID");
      const error = await keyringOf({ dir, file })
        .recipient()
        .catch((thrown: Error) => thrown);
      if (text !== "") expect((error as Error).message).to.not.include(text);
    }
    expect(await readFile(file, "utf8")).to.equal(wrong.at(-1));
  });
});
