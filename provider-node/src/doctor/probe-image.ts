import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MarketError } from "@berth/protocol";
import { mustRun } from "../engine/command.ts";
import type { Context } from "../engine/types.ts";

/** Where Debian's busybox-static puts it; a dynamically linked one does not run in an empty root. */
const BUSYBOX = ["/bin/busybox", "/usr/bin/busybox"];
const TOOLS = ["cat", "dd", "dmesg", "echo", "ls", "rm", "sh", "sleep", "true", "wc"];
const PLACES = ["bin", "dev", "etc", "out", "proc", "run", "sys", "tmp"];

/**
 * Builds a 2 MB OCI layout around busybox in `folder`, for jobs that try the sandbox. Returns its manifest digest.
 * @throws MarketError PROBE_IMAGE_UNAVAILABLE when there is no static busybox
 */
export async function buildProbeImage(
  folder: string,
  { signal }: Context,
): Promise<{ layoutDir: string; digest: string }> {
  const busybox = BUSYBOX.find((path) => existsSync(path) && isStatic(path));
  if (!busybox) {
    throw new MarketError(
      "PROBE_IMAGE_UNAVAILABLE",
      "There is no statically linked busybox to build a probe job from.",
      {
        hint: "`apt-get install busybox-static`",
      },
    );
  }
  const rootfs = join(folder, "rootfs");
  const layoutDir = join(folder, "layout");
  const blobs = join(layoutDir, "blobs/sha256");
  for (const place of PLACES) mkdirSync(join(rootfs, place), { recursive: true });
  mkdirSync(blobs, { recursive: true });
  copyFileSync(busybox, join(rootfs, "bin/busybox"));
  chmodSync(join(rootfs, "bin/busybox"), 0o755);
  for (const tool of TOOLS) symlinkSync("busybox", join(rootfs, "bin", tool));
  const tar = join(folder, "layer.tar");
  const flags = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];
  await mustRun("tar", [...flags, `--directory=${rootfs}`, `--file=${tar}`, "--create", "."], {
    signal,
    code: "PROBE_IMAGE_UNAVAILABLE",
    doing: "Packing the probe image",
  });
  const put = (bytes: Uint8Array, mediaType: string) => {
    const hex = createHash("sha256").update(bytes).digest("hex");
    writeFileSync(join(blobs, hex), bytes);
    return { mediaType: `application/vnd.oci.image.${mediaType}`, digest: `sha256:${hex}`, size: bytes.length };
  };
  const putJson = (value: object, mediaType: string) => put(Buffer.from(JSON.stringify(value)), mediaType);
  const layer = put(readFileSync(tar), "layer.v1.tar");
  const config = putJson(
    {
      architecture: process.arch === "x64" ? "amd64" : process.arch,
      os: "linux",
      config: { Env: ["PATH=/bin"] },
      rootfs: { type: "layers", diff_ids: [layer.digest] },
    },
    "config.v1+json",
  );
  const manifest = putJson({ schemaVersion: 2, mediaType: MANIFEST_TYPE, config, layers: [layer] }, "manifest.v1+json");
  return { layoutDir, digest: manifest.digest };
}

const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";

/** A statically linked ELF program names no interpreter. */
function isStatic(path: string): boolean {
  return !readFileSync(path).subarray(0, 4096).includes("/ld-");
}
