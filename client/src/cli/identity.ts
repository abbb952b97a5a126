import { resolve } from "node:path";
import type { Config } from "../config.ts";
import { type Keyring, keyringOf } from "../sealed/keyring.ts";

/** What `--identity` is for where a job was ordered before. */
export const identityHelp =
  "age identity that opens outputs and logs which were encrypted (default: the one kept here)";

/** The file that was named, or what this machine keeps. */
export function keyringFor({ identityDir }: Config, { identity }: { identity?: string }): Keyring {
  return keyringOf({ dir: identityDir, file: identity === undefined ? undefined : resolve(identity) });
}
