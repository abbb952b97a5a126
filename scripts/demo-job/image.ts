import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { MarketError } from "@berth/protocol";
import { execa } from "execa";
import { type PackedImage, type PackOptions, packImage } from "../../client/src/image/index.ts";

/** Empty places that the sandbox mounts over; a scratch image must have them. */
const MOUNT_POINTS = ["out", "tmp", "proc", "dev", "sys", "run", "etc"];
const JOB = join(import.meta.dirname, "mandelbrot.mjs");

/** What goes into an image: host file to path inside, and links. */
interface Recipe {
  name: string;
  files: Map<string, string>;
  links: Map<string, string>;
  config: NonNullable<PackOptions["config"]>;
}

/**
 * The demo's image: this Node, the libraries it is linked to, and the Mandelbrot job. Made once for each content and
 * kept in `cacheDir`.
 */
export async function demoImage(cacheDir: string): Promise<PackedImage> {
  const node = realpathSync(process.execPath);
  const { stdout } = await execa("ldd", [node]);
  const libraries = [...stdout.matchAll(/(\/\S+) \(0x/g)].flatMap(([, path]) => path ?? []);
  const files = new Map([
    ["bin/node", node],
    ["job/mandelbrot.mjs", JOB],
  ]);
  for (const path of libraries) files.set(path.slice(1), realpathSync(path));
  const config = {
    entrypoint: ["/bin/node", "/job/mandelbrot.mjs"],
    command: ["640", "480", "1000"],
    env: { PATH: "/bin" },
  };
  return cached({ name: "demo", files, links: new Map(), config }, cacheDir);
}

/** A shell and its tools in 2 MB, for jobs that misbehave. Needs Debian's busybox-static. */
export async function busyboxImage(cacheDir: string): Promise<PackedImage> {
  const busybox = "/bin/busybox";
  if (!existsSync(busybox)) {
    throw new MarketError("TOOL_MISSING", "There is no /bin/busybox.", { hint: "`apt-get install busybox-static`" });
  }
  const { stdout } = await execa(busybox, ["--list"]);
  const tools = stdout.split("\n").filter((name) => name !== "" && name !== "busybox");
  const links = new Map(tools.map((name) => [`bin/${name}`, "busybox"]));
  const config = { command: ["/bin/sh"], env: { PATH: "/bin" } };
  return cached({ name: "busybox", files: new Map([["bin/busybox", busybox]]), links, config }, cacheDir);
}

async function cached({ name, files, links, config }: Recipe, cacheDir: string): Promise<PackedImage> {
  const key = createHash("sha256").update(JSON.stringify([config, [...links], MOUNT_POINTS]));
  for (const [path, source] of files) key.update(`\0${path}\0`).update(readFileSync(source));
  const outDir = join(cacheDir, `${name}-${key.digest("hex").slice(0, 16)}`);
  if (existsSync(outDir)) return read(outDir);
  mkdirSync(cacheDir, { recursive: true });
  const rootfs = mkdtempSync(join(cacheDir, `${name}-rootfs-`));
  try {
    chmodSync(rootfs, 0o755);
    for (const folder of MOUNT_POINTS) mkdirSync(join(rootfs, folder), { mode: 0o755 });
    for (const [path, source] of files) {
      mkdirSync(dirname(join(rootfs, path)), { recursive: true, mode: 0o755 });
      copyFileSync(source, join(rootfs, path));
      chmodSync(join(rootfs, path), basename(path).endsWith(".mjs") ? 0o644 : 0o755);
    }
    for (const [path, target] of links) symlinkSync(target, join(rootfs, path));
    return await packImage({ rootfs, outDir, config });
  } catch (error) {
    if (existsSync(join(outDir, "index.json"))) return read(outDir); // another process made the same one first
    throw error;
  } finally {
    rmSync(rootfs, { recursive: true, force: true });
  }
}

function read(dir: string): PackedImage {
  const json = (path: string) => JSON.parse(readFileSync(join(dir, path), "utf8"));
  const { digest, size } = json("index.json").manifests[0];
  const { config, layers } = json(`blobs/sha256/${digest.slice("sha256:".length)}`);
  return {
    dir,
    digest,
    configDigest: config.digest,
    layerDigest: layers[0].digest,
    bytes: size + config.size + layers[0].size,
  };
}
