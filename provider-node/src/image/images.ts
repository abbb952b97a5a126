import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type ImagePlace, openRegistry, openWebFile, openWebLayout, type Source } from "@berth/content";
import { MarketError, type Spec } from "@berth/protocol";
import { z } from "zod";
import type { imagesSchema } from "../config/images.ts";
import { freeBytesOf } from "../disk.ts";
import type { Context } from "../log.ts";
import { openAccounts } from "./accounts.ts";
import { openBlobFolder } from "./blobs.ts";
import { unpackArchive } from "./fetch/archive.ts";
import { findLayout, openFolder } from "./fetch/file.ts";
import { fetchLayout } from "./fetch/layout.ts";
import { signaturesAt } from "./fetch/signatures.ts";
import { type ImageSignature, loadSignaturePolicy } from "./signature-policy.ts";

export interface BringOptions {
  /** Becomes the OCI layout. What is there is removed first, and between two places. */
  target: string;
  maxBytes: number;
  /** Fetches the layout `cid` from IPFS to `target`. Returns the bytes fetched. */
  fromIpfs(cid: string, target: string): Promise<number>;
  /** Verifies the layout and takes it into the engine's store. Where it throws, the next place is tried. */
  use(layoutDir: string): Promise<void>;
}

/** Where images come from, and whether they may run here. */
export interface Images {
  /** Does the signature policy accept this image, by what is known here? */
  isAccepted(digest: string): boolean;
  /**
   * Can it be known, without the image, that the policy accepts no signature of it? Asks the places that can tell: where one
   * cannot (IPFS, an archive) or does not answer, it is not known.
   */
  isUnsigned(image: Spec["image"], context: Context): Promise<boolean>;
  /**
   * Gets an image from the first place that has it: the operator's folders, what the job names, IPFS. Returns the bytes
   * fetched. Throws CONTENT_UNAVAILABLE (retryable), IMAGE_UNSIGNED, DISK_LOW, what `use` and IPFS throw.
   */
  bring(image: Spec["image"], options: BringOptions, context: Context): Promise<number>;
  /** Other nodes that may have it. */
  peersFor(digest: string): Source[];
  /** Until when an image used now is served to others; undefined when it is not. */
  shareUntil(): number | undefined;
  /** Drops blobs that were not used lately, until those left are within the bound, or all of them on a `tight` disk. */
  evict(tight: boolean): Promise<number>;
}

export interface ImagesOptions {
  /** Blobs and accepted signatures are kept here. */
  dir: string;
  settings: z.infer<typeof imagesSchema>;
  /** Ask places that a job names in private networks and on this machine too. */
  allowPrivate: boolean;
  minFreeBytes: number;
  peersFor(digest: string): Source[];
  /** Unix seconds by the chain's clock. */
  now(): number;
  /** A place that sends nothing for this long is left. Default 30 s. */
  stallMs?: number;
}

/** One way to the image. */
interface Way {
  /** For this node's log alone. */
  name: string;
  /** For the result, which everyone reads: of what was answered it says nothing, for requesters choose whom we ask. */
  kind: string;
  fetch(): Promise<number>;
}

const MIB = 2 ** 20;
/** What the image itself is, or who signed it: another try at the same place changes nothing. */
const settledCodes = [
  ...["IMAGE_DIGEST_MISMATCH", "IMAGE_BLOB_MISSING", "IMAGE_REFERENCE_REFUSED", "IMAGE_REFUSED", "IMAGE_TOO_LARGE"],
  ...["IMAGE_UNSIGNED", "CONTENT_TOO_LARGE", "CONTENT_INVALID", "CONTENT_UNSAFE", "CID_INVALID"],
];
const envelopeSchema = z.object({
  form: z.enum(["simple", "statement"]).default("simple"),
  payload: z.base64(),
  signature: z.base64(),
});

/** Opens the images' own folder. Throws CONFIG_* when a key of the policy or the file of an account cannot be used. */
export function openImages(options: ImagesOptions): Images {
  const { dir, settings, allowPrivate, minFreeBytes, stallMs } = options;
  const policy = loadSignaturePolicy(settings.policy);
  const accounts = openAccounts(settings.registries);
  const blobs = openBlobFolder(join(dir, "blobs"));
  const signatures = join(dir, "signatures");
  mkdirSync(signatures, { recursive: true });
  const web = { publicOnly: !allowPrivate, stallMs };

  const isAccepted = (digest: string) => {
    if (policy.isEmpty) return true;
    const known = readSignature(signatures, digest);
    return known !== undefined && policy.accepts(digest, known);
  };

  /** Looks for a signature that the policy accepts, and remembers it. Throws IMAGE_UNSIGNED. */
  const accept = async (digest: string, place: ImagePlace, context: Context) => {
    if (isAccepted(digest)) return;
    const reasons: string[] = [];
    for await (const signature of signaturesAt(place, digest, context)) {
      const reason = policy.refusal(digest, signature);
      if (reason !== undefined) {
        reasons.push(reason);
        continue;
      }
      writeSignature(signatures, digest, signature);
      context.log.info({ image: digest }, "signature of the image accepted");
      return;
    }
    context.log.info(
      { image: digest, signatures: reasons.length, reasons: [...new Set(reasons)] },
      "no signature of the image accepted",
    );
    throw new MarketError("IMAGE_UNSIGNED", `The image ${digest} has no signature that this node accepts.`, {
      hint: "Sign this digest (`cosign sign --key KEY NAME@DIGEST`) with a key that the operator trusts, or choose another node.",
    });
  };

  const assertRoomFor = async (bytes: number) => {
    const free = () => freeBytesOf(dir) - minFreeBytes;
    if (free() < bytes) await blobs.evict(0);
    if (free() >= bytes) return;
    throw new MarketError("DISK_LOW", `An image of ${bytes} bytes has no room beside the disk's reserve.`, {
      hint: "Free some space, or lower images.cacheMiB, images.blobCacheMiB or minFreeMiB.",
      retryable: true,
    });
  };

  const placeOf = (source: string): ImagePlace | undefined => {
    if (source.startsWith("oci:")) return openRegistry(source, { ...web, account: accounts.for(source) });
    return source.endsWith("/") ? openWebLayout(source, web) : undefined;
  };

  return {
    isAccepted,
    async isUnsigned({ digest, cid, sources = [] }, context) {
      if (isAccepted(digest)) return false;
      const own = await findLayout(settings.files, digest);
      const places = [...(own === undefined ? [] : [openFolder(own)]), ...sources.map(placeOf)];
      let isKnown = cid === undefined;
      for (const place of places) {
        try {
          if (place === undefined) isKnown = false;
          else {
            await accept(digest, place, context);
            return false;
          }
        } catch (error) {
          context.signal.throwIfAborted();
          isKnown &&= error instanceof MarketError && error.code === "IMAGE_UNSIGNED";
        }
      }
      return isKnown;
    },
    async bring({ digest, cid, sources = [] }, { target, maxBytes, fromIpfs, use }, context) {
      const { signal, log } = context;
      const fromPlace = (place: ImagePlace) => async () => {
        const beforeLayers = async (bytes: number) => {
          await accept(digest, place, context);
          await assertRoomFor(bytes);
        };
        return await fetchLayout({ place, digest, target, blobs, maxBytes, beforeLayers }, context);
      };
      const whole = (fetch: () => Promise<number>) => async () => {
        const bytes = await fetch();
        await accept(digest, openFolder(target), context);
        return bytes;
      };
      const own = await findLayout(settings.files, digest);
      const ways: Way[] = [
        ...(own === undefined ? [] : [{ name: own, kind: "the node's own folder", fetch: fromPlace(openFolder(own)) }]),
        ...sources.map((source): Way => {
          const place = placeOf(source);
          if (place !== undefined) {
            const kind = source.startsWith("oci:") ? "a registry" : "a web folder";
            return { name: source, kind, fetch: fromPlace(place) };
          }
          const archive = whole(async () => {
            await using opened = await openWebFile(source, signal, web);
            return await unpackArchive(opened, target, maxBytes);
          });
          return { name: source, kind: "an archive", fetch: archive };
        }),
        ...(cid === undefined ? [] : [{ name: cid, kind: "IPFS", fetch: whole(() => fromIpfs(cid, target)) }]),
      ];

      const failures: { way: Way; error: MarketError }[] = [];
      for (const way of ways) {
        signal.throwIfAborted();
        await rm(target, { recursive: true, force: true });
        try {
          const bytes = await way.fetch();
          await use(target);
          log.info({ image: digest, from: way.name, bytes }, "image brought in");
          return bytes;
        } catch (error) {
          signal.throwIfAborted();
          if (!isOfPlace(error)) throw error;
          failures.push({ way, error });
          log.warn(
            { image: digest, from: way.name, code: error.code, reason: error.message },
            "image not had from here",
          );
        } finally {
          await rm(target, { recursive: true, force: true });
        }
      }
      throw reasonOf(digest, failures);
    },
    peersFor: options.peersFor,
    shareUntil: () => (settings.shareSeconds === 0 ? undefined : options.now() + settings.shareSeconds),
    evict: (tight) => blobs.evict(tight ? 0 : settings.blobCacheMiB * MIB),
  };
}

/** Is the place to blame, so that another may do better? Not this machine, nor the engine. */
function isOfPlace(error: unknown): error is MarketError {
  if (!(error instanceof MarketError)) return false;
  const { code } = error;
  return settledCodes.includes(code) || code.startsWith("SOURCE_") || code === "CONTENT_UNAVAILABLE";
}

/** What the whole try failed with: settled only when every place was heard. */
function reasonOf(digest: string, failures: { way: Way; error: MarketError }[]): MarketError {
  const open = failures.find(({ error }) => !settledCodes.includes(error.code));
  const [first] = failures;
  if (first !== undefined && open === undefined) return first.error;
  if (open?.error.code === "CONTENT_UNAVAILABLE" && failures.length === 1) return open.error;
  const asked = [...new Set(failures.map(({ way }) => way.kind))].join(", ");
  return new MarketError("CONTENT_UNAVAILABLE", `No place delivered the image ${digest}; asked: ${asked || "none"}.`, {
    hint: "The node's log has what each place answered.",
    retryable: true,
    cause: open?.error,
  });
}

function readSignature(folder: string, digest: string): ImageSignature | undefined {
  try {
    const { form, payload, signature } = envelopeSchema.parse(JSON.parse(readFileSync(fileOf(folder, digest), "utf8")));
    return { form, payload: Buffer.from(payload, "base64"), signature: Buffer.from(signature, "base64") };
  } catch {
    return undefined; // none, or half of one: it is looked for again
  }
}

function writeSignature(folder: string, digest: string, { form, payload, signature }: ImageSignature): void {
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
  const file = fileOf(folder, digest);
  try {
    writeFileSync(`${file}.part`, JSON.stringify({ form, payload: base64(payload), signature: base64(signature) }));
    renameSync(`${file}.part`, file);
  } finally {
    rmSync(`${file}.part`, { force: true });
  }
}

function fileOf(folder: string, digest: string): string {
  return join(folder, `${digest.replace(":", "-")}.json`);
}
