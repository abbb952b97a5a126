/** What the parts of an image are called. */
interface Family {
  manifest: string;
  config: string;
  /** How each kind of layer is packed. */
  layers: Readonly<Record<string, Compression>>;
}

export type Compression = "none" | "gzip" | "zstd";

const LAYER = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar";

export const OCI: Family = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layers: { [LAYER]: "none", [`${LAYER}+gzip`]: "gzip", [`${LAYER}+zstd`]: "zstd" },
};

/** Docker's second format: the same documents under names of its own, which one image never mixes with those of OCI. */
export const DOCKER: Family = {
  manifest: "application/vnd.docker.distribution.manifest.v2+json",
  config: "application/vnd.docker.container.image.v1+json",
  layers: { [DOCKER_LAYER]: "none", [`${DOCKER_LAYER}.gzip`]: "gzip" },
};

/** How a layer of an image that was verified is packed. */
export function compressionOf(mediaType: string): Compression {
  return OCI.layers[mediaType] ?? DOCKER.layers[mediaType] ?? "none";
}
