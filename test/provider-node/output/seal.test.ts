import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readTar } from "@berth/content";
import type { MarketError } from "@berth/protocol";
import { expect } from "chai";
import { openSealed } from "../../../client/src/sealed/open.ts";
import { archiveOutputs, skippedLines } from "../../../provider-node/src/output/archive.ts";
import type { OutputFile } from "../../../provider-node/src/output/collect.ts";
import { assertSealable, seal, sealOnce } from "../../../provider-node/src/output/seal.ts";
import { agePair, bytesOf, openWithAge } from "../../support/age.ts";
import { quiet } from "../../support/engine.ts";

const text = async function* (...pieces: string[]) {
  for (const piece of pieces) yield Buffer.from(piece);
};
const file = (path: string, content: string): OutputFile => ({
  path,
  bytes: Buffer.byteLength(content),
  content: () => text(content),
});

describe("seal", function () {
  this.timeout(30_000);
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-seal-"));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it("gives back the bytes to each recipient's identity, and never the same file twice", async () => {
    const [one, two] = [await agePair(), await agePair()];
    const sealed = await bytesOf(seal(text("for ", "two"), [one.recipient, two.recipient]));
    for (const { identity } of [one, two])
      expect(String(await bytesOf(openSealed(text2(sealed), identity, "x")))).to.equal("for two");
    expect(sealed.includes("for two")).to.equal(false);
    expect((await bytesOf(seal(text("for ", "two"), [one.recipient, two.recipient]))).equals(sealed)).to.equal(false);
  });

  it("streams 32 MiB there and back, of which little is on its way at a time", async () => {
    const { identity, recipient } = await agePair();
    const piece = randomBytes(256 * 1024);
    const [before, after] = [createHash("sha256"), createHash("sha256")];
    let [underWay, most] = [0, 0];
    const large = async function* () {
      for (let at = 0; at < 128; at++) {
        before.update(piece);
        underWay += piece.length;
        most = Math.max(most, underWay);
        yield piece;
      }
    };
    for await (const opened of openSealed(seal(large(), [recipient]), identity, "x")) {
      after.update(opened);
      underWay -= opened.length;
    }
    expect(after.digest("hex")).to.equal(before.digest("hex"));
    expect(most).to.be.lessThan(4 * 1024 * 1024);
  });

  it("is opened by Debian's age, and its archive by tar", async function () {
    const { identity, recipient } = await agePair();
    const archive = () => archiveOutputs([file("a/b", "deep"), file("c", "")], ["d: fifo"]);
    const path = await sealOnce(dir, "outputs", archive, [recipient], quiet);
    writeFileSync(join(dir, "identity"), identity, { mode: 0o600 });
    const opened = openWithAge(path, join(dir, "identity"));
    if (opened === undefined) return this.skip(); // the package age is not installed
    expect(opened.equals(await bytesOf(archive()))).to.equal(true);
    const found: string[] = [];
    for await (const { path: name, content } of readTar(text2(opened))) found.push(`${name}=${await bytesOf(content)}`);
    expect(found).to.deep.equal(['skipped.json=["d: fifo"]', "outputs/a/b=deep", "outputs/c="]);
  });

  it("seals a thing once: what is whole stays, what a crash cut off is made anew", async () => {
    const { recipient } = await agePair();
    writeFileSync(join(dir, "log.age.part"), "half of it");
    const first = await sealOnce(dir, "log", () => text("hello"), [recipient], quiet);
    const bytes = readFileSync(first);
    expect(statSync(first).mode & 0o777).to.equal(0o600);
    const again = await sealOnce(dir, "log", () => text("hello"), [recipient], quiet);
    expect(readFileSync(again).equals(bytes)).to.equal(true);
    expect(readdirSync(dir)).to.deep.equal(["log.age"]);
  });

  it("leaves no whole file when the content fails on the way", async () => {
    const { recipient } = await agePair();
    const failing = async function* () {
      yield Buffer.alloc(100_000);
      throw new Error("changed while it was read");
    };
    const caught = await sealOnce(dir, "outputs", failing, [recipient], quiet).catch((error: Error) => error.message);
    expect(caught).to.equal("changed while it was read");
    expect(readdirSync(dir)).to.not.include("outputs.age");
  });

  it("knows before the run whom nothing can be encrypted to", async () => {
    const { recipient } = await agePair();
    await assertSealable([recipient]);
    const typo = `${recipient.slice(0, -1)}${recipient.endsWith("q") ? "p" : "q"}`;
    // The point at zero: with it every shared secret is zero.
    const zero = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z";
    for (const bad of [typo, zero]) {
      const error = await assertSealable([recipient, bad]).catch((thrown: MarketError) => thrown);
      expect(error, bad).to.have.property("code", "SPEC_REFUSED");
    }
  });
});

describe("skippedLines", () => {
  it("lists what was left out, as far as a document has room", () => {
    const long = "\n".repeat(3000);
    const many = Array.from({ length: 200 }, (_, at) => ({ path: `${at}`, reason: "fifo" as const }));
    expect(skippedLines(many)).to.have.length(100);
    const wide = skippedLines(many.map(({ reason }) => ({ path: long, reason })));
    expect(wide).to.have.length(10);
  });
});

async function* text2(bytes: Uint8Array) {
  yield bytes;
}
