import { execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import { collectOutputs, type OutputFile } from "../../../provider-node/src/output/collect.ts";
import { quiet } from "../../support/engine.ts";

const roomy = { maxBytes: 1_000_000, maxFiles: 100 };

describe("collectOutputs", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-out-"));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  const collect = async (limits = roomy) => {
    const found = await collectOutputs(dir, limits, quiet);
    if (!found.ok) throw new Error(`too large: ${JSON.stringify(found.tooLarge)}`);
    return found;
  };
  const text = async (file: OutputFile | undefined) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of file?.content() ?? []) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
  };

  it("lists regular files with their content, folders walked", async () => {
    mkdirSync(join(dir, "b/c"), { recursive: true });
    writeFileSync(join(dir, "b/c/deep"), "deep");
    writeFileSync(join(dir, "a"), "");
    const { files, bytes } = await collect();
    expect(files.map(({ path }) => path)).to.deep.equal(["a", "b/c/deep"]);
    expect(await text(files[1])).to.equal("deep");
    expect(bytes).to.equal(4);
  });

  it("skips links to files and to folders, FIFOs, sockets and devices, and never waits on one", async () => {
    symlinkSync("/etc/shadow", join(dir, "file-link"));
    symlinkSync("/etc", join(dir, "folder-link"));
    execFileSync("mkfifo", [join(dir, "fifo")]);
    execFileSync("mknod", [join(dir, "null"), "c", "1", "3"]);
    const server = createServer().listen(join(dir, "socket"));
    await once(server, "listening");
    try {
      const { files, skipped } = await collect();
      expect(files).to.deep.equal([]);
      expect(skipped.map(({ path, reason }) => `${path}: ${reason}`)).to.deep.equal([
        "fifo: fifo",
        "file-link: link",
        "folder-link: link",
        "null: device",
        "socket: socket",
      ]);
    } finally {
      server.close();
      await once(server, "close");
    }
  });

  it("takes names with newlines, and skips names that are not UTF-8", async () => {
    writeFileSync(join(dir, "two\nlines"), "x");
    writeFileSync(Buffer.concat([Buffer.from(`${dir}/`), Buffer.from([0xff, 0xfe])]), "y");
    const { files, skipped } = await collect();
    expect(files.map(({ path }) => path)).to.deep.equal(["two\nlines"]);
    expect(skipped.map(({ reason }) => reason)).to.deep.equal(["name is not UTF-8"]);
  });

  it("counts a sparse file with its holes, at once", async () => {
    writeFileSync(join(dir, "sparse"), "");
    truncateSync(join(dir, "sparse"), 2 ** 40);
    expect(await collectOutputs(dir, roomy, quiet)).to.deep.equal({
      ok: false,
      tooLarge: { what: "bytes", limit: 1_000_000, atLeast: 2 ** 40 },
    });
  });

  it("counts hard links once for each name", async () => {
    writeFileSync(join(dir, "a"), "1234567890");
    linkSync(join(dir, "a"), join(dir, "b"));
    expect((await collect()).bytes).to.equal(20);
    expect(await collectOutputs(dir, { ...roomy, maxBytes: 19 }, quiet)).to.have.property("ok", false);
  });

  it("allows exactly the limits and not one more", async () => {
    writeFileSync(join(dir, "a"), "12345");
    writeFileSync(join(dir, "b"), "12345");
    expect((await collect({ maxBytes: 10, maxFiles: 2 })).files).to.have.length(2);
    expect(await collectOutputs(dir, { maxBytes: 9, maxFiles: 2 }, quiet)).to.have.nested.property(
      "tooLarge.what",
      "bytes",
    );
    expect(await collectOutputs(dir, { maxBytes: 10, maxFiles: 1 }, quiet)).to.have.nested.property(
      "tooLarge.what",
      "files",
    );
  });

  it("stops at a flood of folders", async () => {
    for (let at = 0; at < 1100; at += 1) mkdirSync(join(dir, `d${at}`));
    expect(await collectOutputs(dir, { maxBytes: 10, maxFiles: 1 }, quiet)).to.have.nested.property(
      "tooLarge.what",
      "files",
    );
  });

  it("does not go deeper than a sane tree", async () => {
    mkdirSync(join(dir, ...Array<string>(80).fill("d")), { recursive: true });
    expect((await collect()).skipped.map(({ reason }) => reason)).to.deep.equal(["too deep"]);
  });

  it("does not follow a folder that became a link after it was listed", async () => {
    mkdirSync(join(dir, "folder"));
    writeFileSync(join(dir, "folder/passwd"), "mine");
    const { files } = await collect();
    renameSync(join(dir, "folder"), join(dir, "aside"));
    symlinkSync("/etc", join(dir, "folder"));
    expect(await text(files[0]).catch((error: unknown) => error)).to.have.property("code", "OUTPUT_CHANGED");
  });

  it("does not hand on a file that was exchanged after it was listed", async () => {
    writeFileSync(join(dir, "a"), "old");
    const { files } = await collect();
    writeFileSync(join(dir, "b"), "new");
    renameSync(join(dir, "b"), join(dir, "a"));
    expect(await text(files[0]).catch((error: unknown) => error)).to.have.property("code", "OUTPUT_CHANGED");
  });

  it("collects any tree of plain files whole", async () => {
    const part = fc.stringMatching(/^[a-z\n ü]{1,12}$/).filter((name) => name.trim() !== "");
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(part, fc.dictionary(part, fc.string({ maxLength: 100 }), { maxKeys: 4 }), { maxKeys: 4 }),
        async (tree) => {
          rmSync(dir, { recursive: true });
          mkdirSync(dir);
          const expected = new Map<string, string>();
          for (const [folder, files] of Object.entries(tree)) {
            mkdirSync(join(dir, folder));
            for (const [name, content] of Object.entries(files)) {
              writeFileSync(join(dir, folder, name), content);
              expected.set(`${folder}/${name}`, content);
            }
          }
          const { files } = await collect();
          expect(files.map(({ path }) => path).sort()).to.deep.equal([...expected.keys()].sort());
          for (const file of files)
            expect(await text(file)).to.equal(Buffer.from(expected.get(file.path) ?? "").toString());
        },
      ),
      { numRuns: 25 },
    );
  });

  it("closes every folder it opened", async () => {
    mkdirSync(join(dir, "a/b"), { recursive: true });
    const open = () =>
      Number(
        execFileSync("sh", ["-c", `ls -l /proc/${process.pid}/fd | grep -c "${dir}"; true`], { encoding: "utf8" }),
      );
    await collect();
    expect(open()).to.equal(0);
  });
});
