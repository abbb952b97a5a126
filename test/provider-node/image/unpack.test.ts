import { createHash } from "node:crypto";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { expect } from "chai";
import { type ImageConfig, resolveInside, unpackImage } from "../../../provider-node/src/image/unpack.ts";
import { verifyOciLayout } from "../../../provider-node/src/image/verify.ts";
import { quiet } from "../../support/engine.ts";

const IDS = { firstHostId: 100_000, ids: 65_536 };

interface Entry {
  name: string;
  /** As in the header: "0" file, "1" hard link, "2" link, "3" device, "5" folder. */
  type?: string;
  body?: string;
  target?: string;
  mode?: number;
  uid?: number;
  gid?: number;
}

describe("unpackImage", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "berth-Unpack-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const root = () => join(folder, "root");
  const unpack = async (layers: (Entry[] | Buffer)[], config: object = {}): Promise<ImageConfig> => {
    const { dir, digest } = layout(folder, layers, config);
    return await unpackImage(dir, await verifyOciLayout(dir, digest, quiet), root(), IDS, quiet);
  };
  const codeOf = (layers: Entry[][], config?: object) =>
    unpack(layers, config).then(
      () => "nothing thrown",
      (error: { code?: string; message: string }) => error.code ?? error.message,
    );
  const text = (path: string) => readFileSync(join(root(), path), "utf8");

  it("lays layer on layer: later files win, marks hide what was below", async () => {
    await unpack([
      [
        { name: "./a/", type: "5" },
        { name: "a/old", body: "1" },
        { name: "a/gone", body: "1" },
        { name: "b/x/deep", body: "1" },
        { name: "c/keep", body: "1" },
        { name: "was-file", body: "1" },
        { name: "was-folder/in", body: "1" },
      ],
      [
        { name: "a/.wh.gone" },
        { name: "a/old", body: "2" },
        { name: "b/x/new", body: "2" },
        { name: "b/.wh..wh..opq" }, // hides what is below, wherever in its layer it comes
        { name: "was-file", type: "5" },
        { name: "was-folder", body: "2" },
      ],
    ]);
    expect(readdirSync(join(root(), "a"))).to.deep.equal(["old"]);
    expect(text("a/old")).to.equal("2");
    expect(readdirSync(join(root(), "b/x"))).to.deep.equal(["new"]);
    expect(text("c/keep")).to.equal("1");
    expect(lstatSync(join(root(), "was-file")).isDirectory()).to.equal(true);
    expect(text("was-folder")).to.equal("2");
    for (const name of ["dev", "proc", "sys", "tmp"]) expect(existsSync(join(root(), name))).to.equal(true);
  });

  it("reads compressed layers and long names", async () => {
    const long = `${"n".repeat(90)}/${"m".repeat(90)}/file`;
    const gnu = tar([
      { name: "././@LongLink", type: "L", body: `${long}-gnu\0` },
      { name: "cut", body: "gnu" },
    ]);
    const record = ` path=${long}-pax\n`;
    const pax = tar([
      { name: "pax", type: "x", body: `${record.length + 3}${record}` },
      { name: "cut", body: "pax" },
    ]);
    await unpack([gzipSync(gnu), zstdCompressSync(pax)]);
    expect(text(`${long}-gnu`)).to.equal("gnu");
    expect(text(`${long}-pax`)).to.equal("pax");
  });

  it("gives files the sandbox's ids and drops set-id bits, devices and pipes", async () => {
    await unpack([
      [
        { name: "bin/su", body: "x", mode: 0o6755, uid: 0 },
        { name: "home", type: "5", mode: 0o700, uid: 1000, gid: 1001 },
        { name: "device", type: "3" },
        { name: "pipe", type: "6" },
        { name: "link", type: "2", target: "bin/su", uid: 7 },
      ],
    ]);
    const su = lstatSync(join(root(), "bin/su"));
    expect([su.uid, su.gid, su.mode & 0o7777]).to.deep.equal([100_000, 100_000, 0o755]);
    const home = lstatSync(join(root(), "home"));
    expect([home.uid, home.gid, home.mode & 0o7777]).to.deep.equal([101_000, 101_001, 0o700]);
    expect(lstatSync(join(root(), "link")).uid).to.equal(100_007);
    for (const name of ["device", "pipe"]) expect(existsSync(join(root(), name))).to.equal(false);
  });

  it("writes nothing beyond its folder, whatever links and names say", async () => {
    const outside = join(folder, "outside");
    mkdirSync(outside);
    writeFileSync(join(outside, "file"), "safe");
    await unpack([
      [
        { name: "abs", type: "2", target: outside },
        { name: "up", type: "2", target: "../outside" },
        { name: "usr/lib/", type: "5" },
        { name: "lib", type: "2", target: "usr/lib" },
      ],
      [
        { name: "abs/file", body: "evil" },
        { name: "up/file", body: "evil" },
        { name: "lib/so", body: "1" },
        { name: "/rooted", body: "1" },
        { name: "up/.wh.file" },
        { name: "name", type: "1", target: "abs/file" },
      ],
    ]);
    expect(readdirSync(outside)).to.deep.equal(["file"]);
    expect(readFileSync(join(outside, "file"), "utf8")).to.equal("safe");
    expect(text("usr/lib/so")).to.equal("1"); // a link inside the image leads where it would in the image
    expect(text("rooted")).to.equal("1");
    expect(text(`${outside}/file`)).to.equal("evil"); // the image's own folder of that name
    expect(readlinkSync(join(root(), "lib"))).to.equal("usr/lib");
  });

  it("refuses what climbs, loops, links to nothing, or has ids that the sandbox has not", async () => {
    const loop: Entry[] = [
      { name: "a", type: "2", target: "b" },
      { name: "b", type: "2", target: "a" },
      { name: "a/x", body: "1" },
    ];
    const bad: Entry[][] = [
      [{ name: "../x", body: "1" }],
      [{ name: "a/../../x", body: "1" }],
      loop,
      [{ name: "x", type: "1", target: "nothing" }],
      [{ name: "x", type: "1", target: "../../etc/passwd" }],
      [{ name: "x", body: "1", uid: 70_000 }],
      [{ name: "a/.wh..", body: "" }],
      [
        { name: "x", body: "1" },
        { name: "x/y", body: "1" },
      ],
      [{ name: "x", type: "S", body: "1" }],
    ];
    for (const entries of bad) {
      expect(await codeOf([entries]), JSON.stringify(entries)).to.equal("IMAGE_REFUSED");
      rmSync(root(), { recursive: true, force: true });
    }
    expect(existsSync(join(folder, "x"))).to.equal(false);
  });

  it("refuses a layout that changed after it was verified", async () => {
    const { dir, digest } = layout(folder, [[{ name: "x", body: "1" }]], {});
    const image = await verifyOciLayout(dir, digest, quiet);
    const blob = join(dir, "blobs/sha256", (image.layers[0]?.digest ?? "").slice("sha256:".length));
    writeFileSync(blob, tar([{ name: "x", body: "2" }]));
    const error = await unpackImage(dir, image, root(), IDS, quiet).catch((thrown: unknown) => thrown);
    expect(error).to.have.property("code", "IMAGE_DIGEST_MISMATCH");
  });

  it("reads what the image says about running it, and looks its user up in it", async () => {
    const users: Entry[] = [
      { name: "etc/passwd", body: "root:x:0:0::/root:/bin/sh\nana:x:1000:1001::/home/ana:/bin/sh\n" },
      { name: "etc/group", body: "staff:x:50:\n" },
    ];
    const config = { Env: ["A=b=c", "EMPTY="], Entrypoint: ["/e"], Cmd: ["c"], WorkingDir: "/w", User: "ana:staff" };
    expect(await unpack([users], config)).to.deep.equal({
      entrypoint: ["/e"],
      command: ["c"],
      env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", A: "b=c", EMPTY: "" },
      workdir: "/w",
      ...{ uid: 1000, gid: 50, home: "/home/ana" },
    });
    expect(await unpack([users])).to.deep.include({ uid: 0, gid: 0, home: "/root", workdir: "/" });
    expect(await unpack([users], { User: "1000" })).to.deep.include({ uid: 1000, gid: 1001 });
    expect(await unpack([users], { User: "4000:5" })).to.deep.include({ uid: 4000, gid: 5, home: "/" });
    for (const User of ["bob", "ana:nobody", "70000"])
      expect(await codeOf([users], { User })).to.equal("IMAGE_REFUSED");
  });
});

describe("resolveInside", () => {
  it("finds what a process would find whose root is that folder", () => {
    const root = mkdtempSync(join(tmpdir(), "berth-Unpack-"));
    try {
      mkdirSync(join(root, "usr/bin"), { recursive: true });
      symlinkSync("/usr/bin", join(root, "bin"));
      symlinkSync("../../../../etc/shadow", join(root, "usr/bin/up"));
      symlinkSync("/etc", join(root, "usr/bin/abs"));
      expect(resolveInside(root, "/bin/sh", { last: true })).to.equal(join(root, "usr/bin/sh"));
      expect(resolveInside(root, "/bin", { last: false })).to.equal(join(root, "bin"));
      expect(resolveInside(root, "bin/up", { last: true })).to.equal(join(root, "etc/shadow"));
      expect(resolveInside(root, "bin/abs/x", { last: true })).to.equal(join(root, "etc/x"));
      expect(resolveInside(root, "../../..", { last: true })).to.equal(root);
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});

/** An OCI layout of these layers. */
function layout(folder: string, layers: (Entry[] | Buffer)[], config: object): { dir: string; digest: string } {
  const dir = join(folder, "layout");
  const blobs = join(dir, "blobs/sha256");
  mkdirSync(blobs, { recursive: true });
  const put = (bytes: Uint8Array, mediaType: string) => {
    const hex = createHash("sha256").update(bytes).digest("hex");
    writeFileSync(join(blobs, hex), bytes);
    return { mediaType: `application/vnd.oci.image.${mediaType}`, digest: `sha256:${hex}`, size: bytes.length };
  };
  const digestOf = (bytes: Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  const packed = layers.map((layer) => {
    if (!Buffer.isBuffer(layer)) return { put: put(tar(layer), "layer.v1.tar"), diff: digestOf(tar(layer)) };
    const isGzip = layer[0] === 0x1f;
    const plain = isGzip ? gunzipSync(layer) : zstdDecompressSync(layer);
    return { put: put(layer, `layer.v1.tar+${isGzip ? "gzip" : "zstd"}`), diff: digestOf(plain) };
  });
  const json = (value: object, mediaType: string) => put(Buffer.from(JSON.stringify(value)), mediaType);
  const rootfs = { type: "layers", diff_ids: packed.map(({ diff }) => diff) };
  const manifest = json(
    {
      schemaVersion: 2,
      config: json({ os: "linux", architecture: "amd64", config, rootfs }, "config.v1+json"),
      layers: packed.map((layer) => layer.put),
    },
    "manifest.v1+json",
  );
  return { dir, digest: manifest.digest };
}

/** A tar archive, by hand, so that it can say what no tool would write. */
function tar(entries: Entry[]): Buffer {
  const blocks = entries.flatMap(({ name, type = "0", body = "", target = "", mode = 0o644, uid = 0, gid = 0 }) => {
    const header = Buffer.alloc(512);
    header.write(name, 0, 100);
    const number = (value: number, at: number, length: number) =>
      header.write(value.toString(8).padStart(length - 1, "0"), at, length - 1);
    number(mode, 100, 8);
    number(uid, 108, 8);
    number(gid, 116, 8);
    number(body.length, 124, 12);
    number(1_700_000_000, 136, 12);
    header.write(type, 156);
    header.write(target, 157, 100);
    header.write("ustar\0", 257);
    header.fill(" ", 148, 156);
    number(
      header.reduce((sum, byte) => sum + byte, 0),
      148,
      8,
    );
    const padded = Buffer.alloc(Math.ceil(body.length / 512) * 512);
    padded.write(body);
    return [header, padded];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}
