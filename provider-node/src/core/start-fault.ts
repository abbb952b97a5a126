import { MarketError } from "@berth/protocol";

/**
 * What podman, its runtimes and our own engines say of a container that no machine could start. The list is closed: every
 * other failure is held to be this machine's own. A command that the image lacks is not in it, for it ends by itself.
 */
const FAULTS: readonly { said: RegExp; means: string }[] = [
  {
    said: /workdir ".*" (does not exist|exists) on container \w+(, but is not a directory)?\.?$/,
    means: "The image has no folder by the name of the spec's workdir (WORKDIR_MISSING).",
  },
  {
    said: /the image has no folder ".*"\.?$/,
    means: "The image has no folder by the name of the spec's workdir (WORKDIR_MISSING).",
  },
  {
    said: /error mounting ".*" to rootfs at ".*": .*: not a directory\.?$/,
    means: "The spec wants a folder where the image has a file (PATH_TAKEN).",
  },
];

/** Why a start that failed with `error` would fail on every node, for everyone to read; undefined: nobody can say so. Pure. */
export function specFaultOf(error: unknown): string | undefined {
  if (!(error instanceof MarketError) || error.code !== "ENGINE_FAILED") return undefined;
  return FAULTS.find(({ said }) => said.test(error.message))?.means;
}
