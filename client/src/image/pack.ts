import { createHash } from "node:crypto";
import { constants, createReadStream, createWriteStream } from "node:fs";
import { lstat, mkdir, mkdtemp, open, readdir, readlink, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { TAR_END, type TarEntry, tarHeader, tarPadding } from "@berth/content";
import { MarketError } from "@berth/protocol";

export interface PackOptions {
  /** The folder that becomes the image's root. */
  rootfs: string;
  /** The OCI layout is made here; must not exist. */
  outDir: string;
  config?: { entrypoint?: string[]; command?: string[]; env?: Record<string, string>; workdir?: string; user?: string };
  /** As OCI names it: `amd64`, `arm64`. Default: this machine's. */
  architecture?: string;
  /** 0 stores the layer plain (the default, and the one that gives the same digest with every zlib); 1–9 is gzip. */
  gzipLevel?: number;
  signal?: AbortSignal;
}

export interface PackedImage {
  dir: string;
  /** `sha256:<hex>` of the manifest: the identity of the image. */
  digest: string;
  configDigest: string;
  layerDigest: string;
  /** All blobs together. */
  bytes: number;
}

/**
 * Packs a folder into an OCI layout with one layer. The same tree gives the same digest: sorted names, no times, no
 * owners. Modes, empty folders and symbolic links are kept; hard links become files.
 * @throws MarketError PACK_REFUSED when the tree holds a device, FIFO, socket or a name that is not UTF-8
 */
export async function packImage(options: PackOptions): Promise<PackedImage> {
  const { rootfs, outDir, config = {}, architecture = ociArchitecture(), gzipLevel = 0 } = options;
  const signal = options.signal ?? new AbortController().signal;
  await mkdir(dirname(outDir), { recursive: true });
  const draft = await mkdtemp(`${outDir}.new-`);
  try {
    const blobs = join(draft, "blobs/sha256");
    await mkdir(blobs, { recursive: true });
    const layer = await writeLayer(rootfs, blobs, { gzipLevel, signal });
    const configBlob = await putJson(blobs, {
      created: "1970-01-01T00:00:00Z",
      architecture,
      os: "linux",
      config: {
        ...(config.user === undefined ? {} : { User: config.user }),
        Env: Object.entries(config.env ?? { PATH: DEFAULT_PATH }).map(([key, value]) => `${key}=${value}`),
        ...(config.entrypoint === undefined ? {} : { Entrypoint: config.entrypoint }),
        ...(config.command === undefined ? {} : { Cmd: config.command }),
        ...(config.workdir === undefined ? {} : { WorkingDir: config.workdir }),
      },
      rootfs: { type: "layers", diff_ids: [layer.diffId] },
    });
    const layerType = `application/vnd.oci.image.layer.v1.tar${gzipLevel > 0 ? "+gzip" : ""}`;
    const manifest = await putJson(blobs, {
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: {
        mediaType: "application/vnd.oci.image.config.v1+json",
        digest: configBlob.digest,
        size: configBlob.bytes,
      },
      layers: [{ mediaType: layerType, digest: layer.digest, size: layer.bytes }],
    });
    const platform = { os: "linux", architecture };
    const entry = { mediaType: MANIFEST_TYPE, digest: manifest.digest, size: manifest.bytes, platform };
    await writeFile(join(draft, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
    await writeFile(join(draft, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
    await rename(draft, outDir);
    return {
      dir: outDir,
      digest: manifest.digest,
      configDigest: configBlob.digest,
      layerDigest: layer.digest,
      bytes: layer.bytes + configBlob.bytes + manifest.bytes,
    };
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** This machine's architecture in OCI's words. */
function ociArchitecture(): string {
  return process.arch === "x64" ? "amd64" : process.arch;
}

async function writeLayer(
  rootfs: string,
  blobs: string,
  { gzipLevel, signal }: { gzipLevel: number; signal: AbortSignal },
) {
  const path = join(blobs, "layer.new");
  const plain = meter();
  const stored = meter();
  const source = Readable.from(layerChunks(rootfs), { objectMode: false, highWaterMark: 1024 * 1024 });
  const sink = createWriteStream(path);
  if (gzipLevel > 0)
    await pipeline(source, plain.pass, createGzip({ level: gzipLevel }), stored.pass, sink, { signal });
  else await pipeline(source, plain.pass, sink, { signal });
  const { digest, bytes } = gzipLevel > 0 ? stored.sum() : plain.sum();
  await rename(path, join(blobs, digest.slice("sha256:".length)));
  return { digest, bytes, diffId: plain.sum().digest };
}

async function* layerChunks(rootfs: string): AsyncGenerator<Buffer> {
  for await (const entry of walk(rootfs, "")) {
    yield tarHeader(entry);
    if (entry.type !== "file") continue;
    const file = await open(join(rootfs, entry.path), constants.O_RDONLY | constants.O_NOFOLLOW);
    let left = entry.bytes;
    for await (const chunk of createReadStream("", { fd: file, highWaterMark: 1024 * 1024 })) {
      left -= (chunk as Buffer).length;
      yield chunk as Buffer;
    }
    if (left !== 0)
      throw new MarketError("PACK_CHANGED", `"${entry.path}" changed while it was packed.`, { retryable: true });
    yield tarPadding(entry.bytes);
  }
  yield TAR_END;
}

async function* walk(rootfs: string, folder: string): AsyncGenerator<TarEntry> {
  const names = await readdir(join(rootfs, folder), { encoding: "buffer" });
  for (const raw of names.sort(Buffer.compare)) {
    const name = raw.toString("utf8");
    if (!Buffer.from(name).equals(raw)) throw refuse(join(folder, name), "its name is not UTF-8");
    const path = folder === "" ? name : `${folder}/${name}`;
    const stats = await lstat(join(rootfs, path));
    const mode = stats.mode & 0o7777;
    if (stats.isSymbolicLink()) {
      yield { path, type: "link", mode: 0o777, bytes: 0, target: await readlink(join(rootfs, path)) };
    } else if (stats.isDirectory()) {
      yield { path, type: "folder", mode, bytes: 0 };
      yield* walk(rootfs, path);
    } else if (stats.isFile()) {
      yield { path, type: "file", mode, bytes: stats.size };
    } else {
      throw refuse(path, "it is a device, FIFO or socket");
    }
  }
}

function refuse(path: string, reason: string): MarketError {
  return new MarketError("PACK_REFUSED", `"${path}" cannot be packed: ${reason}.`, {
    hint: "Remove it from the folder.",
  });
}

async function putJson(blobs: string, value: object): Promise<{ digest: string; bytes: number }> {
  const bytes = Buffer.from(JSON.stringify(value));
  const hex = createHash("sha256").update(bytes).digest("hex");
  await writeFile(join(blobs, hex), bytes);
  return { digest: `sha256:${hex}`, bytes: bytes.length };
}

/** Hashes and counts what passes. */
function meter() {
  const hash = createHash("sha256");
  let bytes = 0;
  let digest: string | undefined;
  return {
    pass: async function* (source: AsyncIterable<Buffer>) {
      for await (const chunk of source) {
        hash.update(chunk);
        bytes += chunk.length;
        yield chunk;
      }
    },
    sum: () => {
      digest ??= `sha256:${hash.digest("hex")}`;
      return { digest, bytes };
    },
  };
}
