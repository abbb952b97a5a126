import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TAR_END, tarHeader, tarPadding } from "@berth/content";
import type { MarketError } from "@berth/protocol";
import { expect } from "chai";
import { measureOutputs, writeOutputs } from "../../../client/src/sealed/archive.ts";
import { openSealed } from "../../../client/src/sealed/open.ts";
import { seal } from "../../../provider-node/src/output/seal.ts";
import { agePair, bytesOf } from "../../support/age.ts";

type Entry = [path: string, content: string, type?: "file" | "link"];
const tar = (...entries: Entry[]) =>
  Buffer.concat([
    ...entries.map(([path, content, type = "file"]) => {
      const bytes = type === "file" ? content.length : 0;
      const target = type === "link" ? { target: content } : {};
      const header = tarHeader({ path, type, mode: 0o777, bytes, ...target });
      return Buffer.concat([header, Buffer.from(bytes === 0 ? "" : content), tarPadding(bytes)]);
    }),
    TAR_END,
  ]);
/** In small pieces, as a decrypted file comes. */
async function* stream(bytes: Uint8Array) {
  for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
}
const outputs = (files: number, bytes: number) => ({ cid: "b", skipped: [], files, bytes });

describe("outputs that come encrypted", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "berth-sealed-"));
  });
  afterEach(() => rm(dir, { recursive: true }));
  const target = () => join(dir, "result");
  const write = (archive: Uint8Array, files: number, bytes: number) =>
    writeOutputs(stream(archive), outputs(files, bytes), target(), undefined);
  const refusal = async (archive: Uint8Array, files: number, bytes: number) => {
    const caught = await write(archive, files, bytes).catch((error: MarketError) => error);
    const measured = await measureOutputs(stream(archive), outputs(files, bytes)).catch((error: MarketError) => error);
    expect(measured).to.have.property("code", (caught as MarketError).code);
    expect(await readdir(dir)).to.deep.equal([]);
    return (caught as MarketError).code;
  };

  it("are written as they were, folders made", async () => {
    const archive = tar(
      ["skipped.json", '["x: fifo"]'],
      ["outputs/a", "1"],
      ["outputs/b/c", "22"],
      ["outputs/b/d", ""],
    );
    await measureOutputs(stream(archive), outputs(3, 3));
    await write(archive, 3, 3);
    expect((await readdir(target(), { recursive: true })).sort()).to.deep.equal(["a", "b", "b/c", "b/d"]);
    expect(await readFile(join(target(), "b/c"), "utf8")).to.equal("22");
  });

  it("never reach out of the folder, whatever their names", async () => {
    for (const path of ["../evil", "a/../../evil", "/etc/evil", "a//b", "a\\b", ".", "..", "", `${"d/".repeat(200)}f`])
      expect(await refusal(tar([`outputs/${path}`, "x"]), 1, 1), path).to.equal("CONTENT_UNSAFE");
    expect(existsSync(join(dir, "..", "evil"))).to.equal(false);
  });

  it("are written through no link", async () => {
    await write(tar(["outputs/link", "/etc", "link"], ["outputs/link/file", "x"]), 1, 1);
    expect(await readFile(join(target(), "link/file"), "utf8")).to.equal("x");
    expect(existsSync("/etc/file")).to.equal(false);
  });

  it("have each path once", async () => {
    expect(await refusal(tar(["outputs/a", "1"], ["outputs/a", "2"]), 2, 2)).to.equal("CONTENT_UNSAFE");
    expect(await refusal(tar(["outputs/a", "1"], ["outputs/a/b", "2"]), 2, 2)).to.equal("CONTENT_UNSAFE");
    expect(await refusal(tar(["outputs/a/b", "1"], ["outputs/a", "2"]), 2, 2)).to.equal("CONTENT_UNSAFE");
  });

  it("have as many files and bytes as the record says", async () => {
    const archive = tar(["outputs/a", "1"], ["outputs/b", "2"]);
    for (const [files, bytes] of [
      [1, 2],
      [3, 2],
      [2, 1],
      [2, 3],
    ] as const)
      expect(await refusal(archive, files, bytes)).to.equal("RESULT_INVALID");
    expect(await refusal(archive.subarray(0, 1200), 2, 2)).to.equal("RESULT_INVALID");
    expect(await refusal(Buffer.from("no archive".repeat(100)), 2, 2)).to.equal("RESULT_INVALID");
  });

  it("are refused when a bit was changed or the end cut off, and nothing of them stays", async () => {
    const { identity, recipient } = await agePair();
    const content = "x".repeat(200_000);
    const sealed = await bytesOf(seal(stream(tar(["outputs/a", content])), [recipient]));
    const open = (bytes: Uint8Array) =>
      writeOutputs(openSealed(stream(bytes), identity, "outputs"), outputs(1, 200_000), target(), undefined).catch(
        (error: MarketError) => error.code,
      );
    for (const at of [5, 300, 150_000, sealed.length - 1]) {
      const changed = Buffer.from(sealed);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(await open(changed), String(at)).to.equal("RESULT_INVALID");
      expect(await open(sealed.subarray(0, at)), String(at)).to.equal("RESULT_INVALID");
    }
    const longer = Buffer.concat([tar(["outputs/a", content]), Buffer.alloc(300_000)]);
    const padded = await bytesOf(seal(stream(longer), [recipient]));
    expect(await open(padded.subarray(0, 300_000))).to.equal("RESULT_INVALID"); // behind the archive's end
    expect(await readdir(dir)).to.deep.equal([]);
    expect(await open(sealed)).to.equal(undefined);
    expect(await readdir(target())).to.deep.equal(["a"]);
  });

  it("are refused when they are encrypted to somebody else", async () => {
    const [mine, theirs] = [await agePair(), await agePair()];
    const opened = openSealed(seal(stream(tar()), [theirs.recipient]), mine.identity, "outputs");
    const caught = await measureOutputs(opened, outputs(0, 0)).catch((error: MarketError) => error);
    expect(caught).to.have.property("code", "RESULT_INVALID");
    expect((caught as MarketError).hint).to.include("somebody else");
  });
});
