import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readTar } from "@berth/content";
import { expect } from "chai";
import fc from "fast-check";
import { workbench } from "./support.ts";

describe("readTar", () => {
  const bench = workbench();
  afterEach(() => bench.cleanUp());

  const long = `${"folder-with-a-long-name/".repeat(6)}file`;
  const tree: Record<string, Uint8Array> = {
    "a/empty": new Uint8Array(),
    "a/one-block": Buffer.alloc(512, "x"),
    "b/odd": Buffer.alloc(1025, "y"),
    [long]: Buffer.from("found"),
  };
  async function archive(format: string): Promise<Buffer> {
    const dir = await bench.folder();
    for (const [path, bytes] of Object.entries(tree)) {
      mkdirSync(join(dir, path, ".."), { recursive: true });
      writeFileSync(join(dir, path), bytes);
    }
    execFileSync("ln", ["-s", "/etc/passwd", join(dir, "a/link")]);
    return execFileSync("tar", [`--format=${format}`, "--sort=name", "-C", dir, "-c", "."]);
  }
  async function* inPieces(bytes: Uint8Array, size: number) {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
  }
  async function read(stream: AsyncIterable<Uint8Array>, isRead: (at: number) => boolean = () => true) {
    const found: Record<string, Uint8Array | undefined> = {};
    let at = 0;
    for await (const { path, bytes, content } of readTar(stream)) {
      const chunks: Uint8Array[] = [];
      if (isRead(at)) for await (const chunk of content) chunks.push(Buffer.from(chunk));
      found[path] = isRead(at) ? Buffer.concat(chunks) : undefined;
      if (isRead(at)) expect(found[path]).to.have.length(bytes);
      at += 1;
    }
    return found;
  }
  const plain = (files: Record<string, Uint8Array | undefined>) =>
    Object.fromEntries(Object.entries(files).map(([path, bytes]) => [path, Buffer.from(bytes ?? []).toString()]));

  for (const format of ["pax", "ustar"]) {
    it(`finds the files that tar wrote (${format}), however the bytes come, and no links`, async () => {
      const bytes = await archive(format);
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 1, max: bytes.length }), async (size) => {
          expect(plain(await read(inPieces(bytes, size)))).to.deep.equal(plain(tree));
        }),
        { numRuns: 20 },
      );
    });
  }

  it("passes over what nobody reads, or reads in part", async () => {
    const bytes = await archive("pax");
    const found = await read(inPieces(bytes, 100), (at) => at % 2 === 0);
    expect(Object.keys(found).sort()).to.deep.equal(Object.keys(tree).sort());
    for await (const { content } of readTar(inPieces(bytes, 100))) for await (const _ of content) break;
  });

  it("refuses an archive that is cut short at any place, or damaged in a header", async () => {
    const bytes = await archive("pax");
    const end = bytes.findLastIndex((byte) => byte !== 0);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: end }), async (length) => {
        const error = await read(inPieces(bytes.subarray(0, length), 700)).catch((thrown: unknown) => thrown);
        expect(error).to.have.property("code", "SOURCE_ANSWERED");
      }),
      { numRuns: 30 },
    );
    const damaged = Buffer.from(bytes);
    damaged[0] = (damaged[0] ?? 0) ^ 1;
    const error = await read(inPieces(damaged, 700)).catch((thrown: unknown) => thrown);
    expect(error).to.have.property("code", "SOURCE_ANSWERED");
  });
});
