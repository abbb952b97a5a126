import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Puts beside an image, in its layout, the manifest that Docker would have for it. Returns that manifest's digest. */
export function asDockerImage(
  layoutDir: string,
  digest: string,
  change: (manifest: DockerManifest) => void = () => {},
): string {
  const blob = (name: string) => join(layoutDir, "blobs/sha256", name.slice("sha256:".length));
  const { config, layers } = JSON.parse(readFileSync(blob(digest), "utf8")) as DockerManifest;
  const manifest: DockerManifest = {
    schemaVersion: 2,
    mediaType: "application/vnd.docker.distribution.manifest.v2+json",
    config: { ...config, mediaType: "application/vnd.docker.container.image.v1+json" },
    layers: layers.map((layer) => ({
      ...layer,
      mediaType: `application/vnd.docker.image.rootfs.diff.tar${layer.mediaType.endsWith("+gzip") ? ".gzip" : ""}`,
    })),
  };
  change(manifest);
  const bytes = JSON.stringify(manifest, null, 3); // as Docker writes it
  const made = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  writeFileSync(blob(made), bytes);
  return made;
}

export interface DockerManifest {
  schemaVersion: number;
  mediaType?: string;
  config: Descriptor;
  layers: Descriptor[];
}

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
}
