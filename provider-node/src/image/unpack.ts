import { createHash } from "node:crypto";
import {
  chmodSync,
  constants,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { digestSchema, MarketError, parseImageJson } from "@berth/protocol";
import { z } from "zod";
import type { Context } from "../engine/types.ts";
import { type LayerEntry, readLayerTar } from "./layer-tar.ts";
import { compressionOf } from "./media-types.ts";
import type { VerifiedImage } from "./verify.ts";

/** What an image says about running it. */
export interface ImageConfig {
  entrypoint: string[];
  command: string[];
  env: Record<string, string>;
  workdir: string;
  uid: number;
  gid: number;
  home: string;
}

export interface UnpackOptions {
  /** Host id that the image's root becomes; the others follow it. */
  firstHostId: number;
  /** How many ids there are. */
  ids: number;
}

/** Each entry costs an inode, however small the layer. */
const MAX_ENTRIES = 1_000_000;
const MAX_LINKS = 40;
/** Names that stand for something of a lower layer being gone. */
const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";
/** Places that the sandbox mounts over. */
const MOUNT_POINTS = ["dev", "proc", "sys", "tmp"];
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const words = z
  .array(z.string())
  .nullish()
  .transform((list) => list ?? []);
const configSchema = z.object({
  config: z
    .object({
      Env: words,
      Entrypoint: words,
      Cmd: words,
      WorkingDir: z.string().nullish(),
      User: z.string().nullish(),
    })
    .nullish(),
  rootfs: z.object({ diff_ids: z.array(digestSchema) }),
});

/**
 * Unpacks a verified image into the folder `root`, layer on layer. Nothing in it can reach beyond that folder: links on
 * the way to an entry are followed as inside the image, devices are left out, set-id bits dropped. What was unpacked is
 * hashed once more, for the layout may have changed since it was verified.
 * @throws MarketError IMAGE_REFUSED, IMAGE_TOO_LARGE, IMAGE_DIGEST_MISMATCH
 */
export async function unpackImage(
  layoutDir: string,
  image: VerifiedImage,
  root: string,
  options: UnpackOptions,
  context: Context,
): Promise<ImageConfig> {
  const blob = (digest: string) => join(layoutDir, "blobs/sha256", digest.slice("sha256:".length));
  const configBytes = readFileSync(blob(image.configDigest));
  mustMatch(image.configDigest, `sha256:${createHash("sha256").update(configBytes).digest("hex")}`);
  const { config, rootfs } = configSchema.parse(parseImageJson(configBytes, "config"));

  mkdirSync(root, { recursive: true });
  const tree = createTree(root, options);
  for (const [at, { digest, mediaType }] of image.layers.entries()) {
    const hash = createHash("sha256");
    const layer = tree.layer();
    const stream = layerStream(blob(digest), mediaType, hash, context.signal);
    for await (const entry of readLayerTar(stream)) await layer.apply(entry);
    mustMatch(rootfs.diff_ids[at] ?? "", `sha256:${hash.digest("hex")}`);
  }
  for (const name of MOUNT_POINTS) tree.folder(name);
  chmodSync(root, 0o755);

  const env: Record<string, string> = { PATH: DEFAULT_PATH };
  for (const line of config?.Env ?? []) {
    const [name = "", ...value] = line.split("=");
    if (name !== "") env[name] = value.join("=");
  }
  const user = userOf(config?.User || "0", tree);
  for (const id of [user.uid, user.gid]) tree.hostId(id);
  return {
    entrypoint: config?.Entrypoint ?? [],
    command: config?.Cmd ?? [],
    env,
    workdir: config?.WorkingDir || "/",
    ...user,
  };
}

/**
 * The host path of `inside` as a process whose root is `root` would find it: links lead to places in `root` only. A link in
 * the last part is followed when `last` is set. Parts that do not exist are taken as they are.
 * @throws MarketError IMAGE_REFUSED when links lead in circles
 */
export function resolveInside(root: string, inside: string, { last }: { last: boolean }): string {
  const todo = inside.split("/");
  let done: string[] = [];
  let links = 0;
  while (todo.length > 0) {
    const part = todo.shift() as string;
    if (part === "" || part === ".") continue;
    if (part === "..") {
      done.pop();
      continue;
    }
    const path = join(root, ...done, part);
    const isLast = todo.every((left) => left === "" || left === ".");
    const isLink = lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
    if (!isLink || (isLast && !last)) {
      done.push(part);
      continue;
    }
    links += 1;
    if (links > MAX_LINKS) throw refused(`has links that lead in circles at "${inside}"`);
    const target = readlinkSync(path);
    if (target.startsWith("/")) done = [];
    todo.unshift(...target.split("/"));
  }
  return join(root, ...done);
}

type Tree = ReturnType<typeof createTree>;

function createTree(root: string, { firstHostId, ids }: UnpackOptions) {
  let entries = 0;
  const hostId = (id: number): number => {
    if (id < ids) return firstHostId + id;
    throw refused(`has a file of user or group ${id}; the sandbox knows ${ids} ids`);
  };
  /** The folder in which an entry is to be, made when a layer forgot it. */
  const folder = (inside: string): string => {
    const path = resolveInside(root, inside, { last: true });
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found?.isDirectory()) return path;
    if (found) throw refused(`has a file where "${inside}" should be a folder`);
    const made: string[] = [];
    for (let at = path; at !== root && !lstatSync(at, { throwIfNoEntry: false }); at = dirname(at)) made.unshift(at);
    for (const at of made) {
      count();
      mkdirSync(at, { mode: 0o755 });
      lchownSync(at, firstHostId, firstHostId);
    }
    return path;
  };
  const count = () => {
    entries += 1;
    if (entries <= MAX_ENTRIES) return;
    throw new MarketError("IMAGE_TOO_LARGE", `The image has more than ${MAX_ENTRIES} files; this node takes no more.`, {
      hint: "Use a smaller image.",
    });
  };

  /** One layer on top of those applied before. */
  const layer = () => {
    const own = new Set<string>();
    const removeLower = (parent: string): void => {
      for (const child of readdirSync(parent, { withFileTypes: true })) {
        const path = join(parent, child.name);
        if (!own.has(path)) remove(path);
        else if (child.isDirectory()) removeLower(path);
      }
    };
    const apply = async (entry: LayerEntry): Promise<void> => {
      const parts = entry.path.split("/").filter((part) => part !== "" && part !== ".");
      if (parts.includes("..")) throw refused(`has the path "${entry.path}"`);
      const name = parts.pop();
      if (name === undefined) return; // the root itself
      const parent = folder(parts.join("/"));
      if (name === OPAQUE) {
        return removeLower(parent);
      }
      if (name.startsWith(WHITEOUT)) {
        const hidden = name.slice(WHITEOUT.length);
        if (hidden === "" || hidden === "." || hidden === "..") throw refused(`has the path "${entry.path}"`);
        if (!own.has(join(parent, hidden))) remove(join(parent, hidden));
        return;
      }
      if (entry.type === "special") return;
      count();
      const path = join(parent, name);
      await put(entry, path);
      // Opaque marks hide what is below, so every folder on the way to a new entry is of this layer too.
      for (let at = path; at !== root; at = dirname(at)) own.add(at);
    };
    return { apply };
  };

  const put = async (entry: LayerEntry, path: string): Promise<void> => {
    const [uid, gid] = [hostId(entry.uid), hostId(entry.gid)];
    const mode = entry.mode & 0o1777;
    switch (entry.type) {
      case "folder":
        if (!lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) {
          remove(path);
          mkdirSync(path);
        }
        lchownSync(path, uid, gid);
        return chmodSync(path, mode);
      case "link":
        remove(path);
        symlinkSync(entry.target, path);
        return lchownSync(path, uid, gid);
      case "hard-link": {
        const target = resolveInside(root, entry.target, { last: false });
        const found = lstatSync(target, { throwIfNoEntry: false });
        if (!found || found.isDirectory())
          throw refused(`has a hard link to "${entry.target}", which is no file of it`);
        if (target === path) return;
        remove(path);
        return linkSync(target, path);
      }
      case "file":
        remove(path);
        return await writeFile(entry, path, { uid, gid, mode });
    }
  };

  return { root, layer, folder, hostId };
}

async function writeFile(
  entry: LayerEntry,
  path: string,
  { uid, gid, mode }: { uid: number; gid: number; mode: number },
): Promise<void> {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    for await (const piece of entry.content) await file.write(piece);
    await file.chown(uid, gid);
    await file.chmod(mode);
  } finally {
    await file.close();
  }
  lutimesSync(path, entry.modifiedAt, entry.modifiedAt); // programs compare a source's time with its compiled form's
}

function remove(path: string): void {
  rmSync(path, { recursive: true, force: true });
}

/** `name`, `id`, `name:group` or `id:id`; names are looked up in the image. */
function userOf(text: string, tree: Tree): { uid: number; gid: number; home: string } {
  const [user = "", group] = text.split(":");
  const isId = (word: string) => /^\d{1,9}$/.test(word);
  const line = rowsOf("etc/passwd", tree).find(([name, , uid]) => (isId(user) ? uid === user : name === user));
  const uid = isId(user) ? user : line?.[2];
  const gid =
    group === undefined
      ? (line?.[3] ?? "0")
      : isId(group)
        ? group
        : rowsOf("etc/group", tree).find(([name]) => name === group)?.[2];
  if (uid === undefined || gid === undefined || !isId(uid) || !isId(gid)) {
    throw refused(`is to run as "${text}", whom it does not know`);
  }
  return { uid: Number(uid), gid: Number(gid), home: line?.[5] || (uid === "0" ? "/root" : "/") };
}

const MAX_TABLE_BYTES = 1024 * 1024;

function rowsOf(inside: string, { root }: Tree): string[][] {
  const path = resolveInside(root, inside, { last: true });
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found?.isFile() || found.size > MAX_TABLE_BYTES) return [];
  return readFileSync(path, "utf8")
    .split("\n")
    .map((line) => line.split(":"));
}

/** The layer's unpacked bytes, hashed as they pass. */
async function* layerStream(
  path: string,
  mediaType: string,
  hash: { update(bytes: Uint8Array): unknown },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const stored = file.createReadStream({ autoClose: false, highWaterMark: 1024 * 1024 });
    for await (const chunk of compose(stored, mediaType)) {
      signal.throwIfAborted();
      hash.update(chunk as Uint8Array);
      yield chunk as Uint8Array;
    }
  } finally {
    await file.close();
  }
}

function compose(stored: Readable, mediaType: string): Readable {
  const compression = compressionOf(mediaType);
  if (compression === "gzip") return stored.compose(createGunzip()) as Readable;
  return compression === "zstd" ? (stored.compose(createZstdDecompress()) as Readable) : stored;
}

function mustMatch(expected: string, actual: string): void {
  if (expected === actual) return;
  throw new MarketError("IMAGE_DIGEST_MISMATCH", `${expected} should be unpacked, but the bytes are ${actual}.`, {
    hint: "The layout changed while it was read. Import it from a folder that nobody writes to.",
  });
}

function refused(how: string): MarketError {
  return new MarketError("IMAGE_REFUSED", `The image ${how}.`);
}
