import { z } from "zod";
import { canonicalBytes } from "./canonical.ts";
import { MarketError } from "./errors.ts";
import { parseWith } from "./order-json.ts";

/** `sha256:` and 64 lower-case hexadecimal digits, as OCI writes digests. */
export const digestSchema = z
  .string()
  .regex(/^sha256:[0-9a-f]{64}$/, 'must be "sha256:" and 64 lower-case hexadecimal digits; tags are refused');
/** A CIDv1 in base32, as every program here writes it. */
export const cidSchema = z.string().regex(/^b[a-z2-7]{20,120}$/, "must be a CIDv1 in base32 (it starts with b)");

const absolutePath = z
  .string()
  .max(255)
  .regex(/^\/(?!\/)[^\0]*$/, "must be an absolute path")
  .refine((path) => !path.split("/").some((part) => part === ".." || part === "."), "must not contain . or ..");
const envName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, "must be letters, digits and underscores");
const reserved = ["/proc", "/sys", "/dev", "/run"];
const mountPath = absolutePath.refine(
  (path) => path !== "/" && !reserved.some((root) => path === root || path.startsWith(`${root}/`)),
  `must not be / or below ${reserved.join(", ")}`,
);

/**
 * Where an image's bytes may be had, besides IPFS: `oci://host[:port]/repository`, a registry; `https://…/folder/` or
 * `https://…/file.tar`, an OCI layout. Never trusted: every byte is checked against the image's digest.
 */
export const imageSourceSchema = z.union(
  [
    z
      .string()
      .max(512)
      .regex(/^oci:\/\/[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?(\/[a-z0-9]+([._-]+[a-z0-9]+)*)+$/),
    z
      .string()
      .max(512)
      .regex(/^https?:\/\/[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?\/([A-Za-z0-9._~%+-]+\/)*([A-Za-z0-9._~%+-]+\.tar)?$/),
  ],
  "must be oci://HOST/REPOSITORY without a tag, or an http(s) address that ends with / (a layout folder) or .tar",
);

const imageSchema = z
  .strictObject({
    /** Digest of the OCI platform manifest: the identity of the image. */
    digest: digestSchema,
    /** The OCI layout folder on IPFS: where the bytes are. */
    cid: cidSchema.optional(),
    /** Other places that have the image, best first; asked before IPFS. */
    sources: z.array(imageSourceSchema).min(1).max(8).optional(),
  })
  .refine(({ cid, sources }) => cid !== undefined || sources !== undefined, "must have a cid, sources, or both")
  .meta({ anyOf: [{ required: ["cid"] }, { required: ["sources"] }] });

/** Who can open an age file: an X25519 public key, as `age-keygen -y` prints it. Its checksum is for age to check. */
const ageRecipientSchema = z
  .string()
  .regex(/^age1[02-9ac-hj-np-z]{58}$/, "must be an X25519 recipient of age (age1 and 58 characters)");

/** What to run, version 1. Every field is in base units; unknown fields are refused. */
export const specSchema = z.strictObject({
  version: z.literal(1),
  image: imageSchema,
  /** Replaces the image's entrypoint. */
  entrypoint: z.array(z.string().max(4096)).max(256).optional(),
  /** Arguments; replaces the image's command when not empty. */
  command: z.array(z.string().max(65_536)).max(1024),
  env: z.record(envName, z.string().max(65_536)),
  workdir: absolutePath.optional(),
  /** Content mounted read-only before the start. */
  inputs: z.array(z.strictObject({ cid: cidSchema, path: mountPath })).max(64),
  /** The one folder whose content becomes the result. */
  outputs: z.strictObject({
    path: mountPath,
    maxBytes: z
      .int()
      .min(0)
      .max(2 ** 44),
    maxFiles: z.int().min(0).max(1_000_000),
    /** Publish outputs and logs as age files that these alone can open. The limits above are of what is in them. */
    encryptTo: z.array(ageRecipientSchema).min(1).max(8).optional(),
  }),
  resources: z.strictObject({
    cpuMilli: z.int().min(10).max(1_024_000),
    memoryMiB: z
      .int()
      .min(8)
      .max(2 ** 31),
    diskMiB: z
      .int()
      .min(0)
      .max(2 ** 31),
    gpus: z.int().min(0).max(64),
  }),
  network: z.strictObject({ mode: z.enum(["none", "mesh", "egress"]) }),
  timeouts: z.strictObject({
    /** Seconds from the match until the command must run (fetching included). */
    startSeconds: z.int().min(1).max(86_400),
    /** Seconds that the command may run. Equals the request's `maxSeconds`. */
    runSeconds: z.int().min(1).max(31_536_000),
  }),
  isolation: z.enum(["container", "gvisor", "vm"]),
  /** May the command be started again after a crash of the machine? */
  idempotent: z.boolean(),
  verification: z.enum(["optimistic", "attested", "quorum"]),
  /** Evidence the node must attach to the result. */
  attestation: z.enum(["none", "tpm2", "exec"]),
  /** Seconds after the result for which the node keeps the outputs. */
  retentionSeconds: z.int().min(0).max(31_536_000),
});

export type Spec = z.infer<typeof specSchema>;

/** Checks a spec from outside. Throws SPEC_INVALID with every wrong field named. */
export function parseSpec(value: unknown): Spec {
  const spec = parseWith(specSchema, value, { code: "SPEC_INVALID", what: "The spec" });
  const paths = [...spec.inputs.map((input) => input.path), spec.outputs.path];
  const clash = paths.find((path, at) =>
    paths.some((other, also) => also !== at && `${other}/`.startsWith(`${path}/`)),
  );
  if (clash !== undefined) {
    throw new MarketError("SPEC_INVALID", `The spec mounts two things at or below ${clash}.`, {
      hint: "Give every input and the outputs a folder of their own.",
    });
  }
  if (spec.outputs.encryptTo !== undefined && spec.verification === "quorum") {
    throw new MarketError("SPEC_INVALID", "The spec asks for a quorum on outputs that are encrypted.", {
      hint: "Equal outputs differ once encrypted, so nobody could compare them: leave out encryptTo or the quorum.",
    });
  }
  canonicalBytes(spec);
  return spec;
}

/** JSON Schema (draft 2020-12) of a spec, for editors. */
export function specJsonSchema(): object {
  return { $id: "urn:berth:spec:1", title: "Berth job spec", ...z.toJSONSchema(specSchema) };
}
