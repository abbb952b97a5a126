import type { CID } from "multiformats/cid";

/** What a long call accepts. */
export interface CallOptions {
  signal?: AbortSignal | undefined;
}

/** How far a transfer has come: content bytes and files so far. */
export interface Progress {
  bytes: number;
  files: number;
}

export type OnProgress = (progress: Progress) => void;

/** Single blocks by CID. Every store has one; the DAG functions need nothing else. */
export interface BlockStore {
  /** Size of a stored block in bytes, `undefined` when it is absent. */
  size(cid: CID, options?: CallOptions): Promise<number | undefined>;
  /** The block's bytes, hash-verified. Throws CONTENT_NOT_FOUND or CONTENT_CORRUPT. */
  get(cid: CID, options?: CallOptions): Promise<Uint8Array>;
  /** Stores a block after verifying its hash. Throws CONTENT_CORRUPT. */
  put(cid: CID, bytes: Uint8Array, options?: CallOptions): Promise<void>;
  /** Is the block here? If so, garbage collection leaves it alone for the grace period. */
  keep(cid: CID, options?: CallOptions): Promise<boolean>;
}

export interface Added {
  /** CIDv1 of the root. */
  cid: string;
  /** Bytes of all distinct blocks: what a reader has to fetch, and the `maxBytes` it needs. */
  size: number;
}

export interface AddedPath extends Added {
  /** Bytes of file content and number of files, as `exportTo` will write them. */
  contentBytes: number;
  files: number;
  /** What was left out (links, devices, unportable names) and why. */
  skipped: { path: string; why: string }[];
}

export interface Pin {
  cid: string;
  /** Whose pin it is, such as a job id; one root can be pinned by several owners. */
  owner: string;
  /** Unix seconds; from then on garbage collection may delete the content. */
  until: number;
}

export interface AddPathOptions extends CallOptions {
  /** Stop with CONTENT_TOO_LARGE past this many bytes of content. */
  maxBytes?: number | undefined;
  /** Stop with CONTENT_TOO_LARGE past this many files and folders. Default 100,000. */
  maxEntries?: number | undefined;
  onProgress?: OnProgress | undefined;
}

export interface ExportOptions extends CallOptions {
  maxBytes: number;
  /** Files and folders, default 100,000. */
  maxEntries?: number | undefined;
  onProgress?: OnProgress | undefined;
}

export interface ImportCarOptions extends CallOptions {
  /** The only root that the CAR may carry. */
  root: string;
  /** Bound on the bytes of all distinct blocks. */
  maxBytes: number;
  onProgress?: OnProgress | undefined;
}

/** IPFS content on this machine (embedded) or in a Kubo daemon. CIDs are CIDv1 strings at this edge. */
export interface ContentStore {
  readonly blocks: BlockStore;
  /** Adds bytes as one file. */
  addBytes(bytes: Uint8Array, options?: CallOptions): Promise<Added>;
  /** Adds a file or a folder: regular files only, in name order, no link followed. Modes and times are not kept. */
  addPath(path: string, options?: AddPathOptions): Promise<AddedPath>;
  /** Is the whole DAG below `cid` here? */
  has(cid: string, options?: CallOptions): Promise<boolean>;
  /** Bytes of all distinct blocks below `cid`. Throws CONTENT_NOT_FOUND. */
  size(cid: string, options?: CallOptions): Promise<number>;
  /** A file's content. Throws CONTENT_TOO_LARGE, CONTENT_NOT_FOUND, CONTENT_INVALID (a folder). */
  getBytes(cid: string, options: CallOptions & { maxBytes: number }): Promise<Uint8Array>;
  /** A file's content, one block after the other. Throws as `getBytes`. */
  read(cid: string, options: CallOptions & { maxBytes: number }): AsyncIterable<Uint8Array>;
  /**
   * Reads the file or folder as `exportTo` would write it, and writes nothing: what passes here can be exported.
   * Throws CONTENT_UNSAFE, CONTENT_TOO_LARGE, CONTENT_NOT_FOUND, CONTENT_INVALID.
   */
  measure(cid: string, options: ExportOptions): Promise<Progress>;
  /**
   * Writes the file or folder to `target`, which must not exist or be an empty folder. It appears all at once; nothing is
   * written outside it. Throws CONTENT_UNSAFE, CONTENT_TOO_LARGE, CONTENT_NOT_FOUND, TARGET_EXISTS.
   */
  exportTo(cid: string, target: string, options: ExportOptions): Promise<Progress>;
  /** CARv1, depth first, each block once: the same bytes every time. */
  exportCar(cid: string, options?: CallOptions): AsyncIterable<Uint8Array>;
  /** Takes a CAR, verifying every block and that the DAG is complete. */
  importCar(stream: AsyncIterable<Uint8Array>, options: ImportCarOptions): Promise<Added>;
  /** Keeps a complete DAG until `until`. Pinning again only ever extends. Durable when it returns. */
  pin(cid: string, until: number, options?: CallOptions & { owner?: string | undefined }): Promise<void>;
  /** Drops one owner's pin; without `owner`, the pin made without one. */
  unpin(cid: string, options?: { owner?: string | undefined }): Promise<void>;
  pins(): Promise<Pin[]>;
  /** Drops pins that ended at or before `now` (unix seconds), then blocks that no pin reaches and nobody touched lately. */
  gc(now: number, options?: CallOptions): Promise<{ pins: number; blocks: number; bytes: number }>;
  close(): Promise<void>;
}

/** The reading half: what any place that has blocks can do. */
export type ReaderStore = Pick<
  ContentStore,
  "blocks" | "has" | "size" | "getBytes" | "read" | "measure" | "exportTo" | "exportCar"
>;
