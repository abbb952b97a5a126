import { execFileSync } from "node:child_process";
import { mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { CID } from "multiformats/cid";
import { failure, makeTree, seeded, workbench } from "./support.ts";

describe("ContentStore#addPath", () => {
  const bench = workbench();
  afterEach(bench.cleanUp);

  it("takes regular files only and says what it left out", async () => {
    const dir = await bench.folder();
    const secret = join(await bench.folder(), "secret");
    await writeFile(secret, "secret");
    await writeFile(join(dir, "plain"), "plain");
    await symlink(secret, join(dir, "link"));
    await symlink("/", join(dir, "root"));
    await writeFile(join(dir, "back\\slash"), "x");
    execFileSync("mkfifo", [join(dir, "pipe")]);

    const store = await bench.store();
    const added = await store.addPath(dir);
    expect(added.files).to.equal(1);
    expect(added.skipped).to.deep.equal([
      { path: "back\\slash", why: "the name is not portable" },
      { path: "link", why: "it is a symbolic link" },
      { path: "pipe", why: "it is not a regular file" },
      { path: "root", why: "it is a symbolic link" },
    ]);
  });

  it("refuses to start at a link", async () => {
    const dir = await bench.folder();
    await symlink("/etc/hostname", join(dir, "link"));
    const error = await failure((await bench.store()).addPath(join(dir, "link")));
    expect(error.code).to.equal("PATH_REFUSED");
  });

  it("stops at the limits on bytes and on entries", async () => {
    const dir = await bench.folder();
    await makeTree(dir);
    const store = await bench.store();
    expect((await failure(store.addPath(dir, { maxBytes: 1024 * 1024 }))).code).to.equal("CONTENT_TOO_LARGE");
    expect((await failure(store.addPath(dir, { maxEntries: 3 }))).code).to.equal("CONTENT_TOO_LARGE");
  });

  it("shards a folder of many subfolders just as one of many files", async () => {
    const dir = await bench.folder();
    for (let index = 0; index < 5000; index++) await mkdir(join(dir, `subfolder-${index}`));
    const store = await bench.store();
    const { cid } = await store.addPath(dir);
    const root = await store.blocks.get(CID.parse(cid));
    expect(root.length).to.be.below(256 * 1024); // as one plain folder it would be larger
    const target = join(await bench.folder(), "out");
    await store.exportTo(cid, target, { maxBytes: 0 });
    expect(await readdir(target)).to.have.lengthOf(5000);
  });

  it("reports progress up to the whole content", async () => {
    const dir = await bench.folder();
    await writeFile(join(dir, "file"), await seeded("progress", 3_000_000));
    const seen: number[] = [];
    await (await bench.store()).addPath(dir, { onProgress: ({ bytes }) => seen.push(bytes) });
    expect(seen.at(-1)).to.equal(3_000_000);
  });

  it("ends with the caller's reason when aborted", async () => {
    const dir = await bench.folder();
    await makeTree(dir);
    const stop = new AbortController();
    const reason = new Error("stop");
    const adding = (await bench.store()).addPath(dir, { signal: stop.signal, onProgress: () => stop.abort(reason) });
    expect(await adding.catch((error: unknown) => error)).to.equal(reason);
  });
});
