import { isAbsolute } from "node:path";
import { z } from "zod";
import { path } from "./fields.ts";

const absolute = path.refine(isAbsolute, "must be an absolute path");

/** A registry that knows this node: whose name it gives, and for what. Each file holds one line, for its owner only. */
const accountSchema = z
  .strictObject({
    usernameFile: absolute.optional(),
    passwordFile: absolute.optional(),
    /** A token that the registry takes as it is; in place of the other two. */
    tokenFile: absolute.optional(),
    /** The repositories that the account is used for; `*` is any text. Absent: all that jobs name. */
    repositories: z.array(z.string().min(1).max(255)).min(1).max(64).default(["*"]),
  })
  .refine(
    ({ usernameFile, passwordFile, tokenFile }) =>
      (usernameFile === undefined) === (passwordFile === undefined) &&
      (usernameFile === undefined) !== (tokenFile === undefined),
    "must have a usernameFile and a passwordFile, or a tokenFile",
  );

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
  /** Accounts at registries, by `HOST` or `HOST:PORT`. Registries that are not named are read as anyone may. */
  registries: z
    .record(z.string().regex(/^[a-z0-9.-]{1,253}(:[0-9]{1,5})?$/, "must be HOST or HOST:PORT"), accountSchema)
    .default({}),
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
