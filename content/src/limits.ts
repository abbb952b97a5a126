/** Files and folders in one tree, unless a caller says otherwise. */
export const DEFAULT_MAX_ENTRIES = 100_000;
/** Deepest folder that is added or written. */
export const MAX_DEPTH = 128;
/** Longest path below a root, in bytes: Linux allows 4096 with the folder that it is written to. */
export const MAX_PATH_BYTES = 3072;
