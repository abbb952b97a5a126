import { isAbsolute } from "node:path";
import { z } from "zod";
import { path } from "./fields.ts";

const absolute = path.refine(isAbsolute, "must be an absolute path");

/** Where images may come from, how many are kept, and whose signatures they need. */
export const imagesSchema = z.strictObject({
  /** Images that no job needs are dropped, least recently used first, when all of them have more MiB than this. */
  cacheMiB: z.int().min(0).default(32_768),
  /** Blobs as fetched from registries and web servers, kept for images that share them; likewise. */
  blobCacheMiB: z.int().min(0).default(4096),
  /** Seconds after its last use for which an image that came from IPFS is served to other nodes. */
  shareSeconds: z.int().min(0).max(31_536_000).default(3600),
  /** Folders with OCI layouts of the operator's own: asked before any place that a job names. */
  files: z.array(absolute).max(32).default([]),
  /** Not empty: only images with a signature that one of these rules accepts are run. */
  policy: z
    .array(
      z.strictObject({
        /** The name that the signature must give the image (`docker-reference`); `*` is any text. Absent: any. */
        match: z.string().min(1).max(255).optional(),
        /** Files with public keys (PEM; ECDSA P-256 or Ed25519), any of which may have signed. */
        keys: z.array(absolute).min(1).max(32),
      }),
    )
    .max(32)
    .default([]),
});
