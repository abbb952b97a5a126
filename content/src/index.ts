export { addStream, UNIXFS_PROFILE } from "./add.ts";
export { openEmbeddedStore, openScratchStore } from "./embedded-store.ts";
export { writeWhole } from "./export.ts";
export { type Fetched, type FetchOptions, fetchContent, type Source } from "./fetch.ts";
export { readBody } from "./follow.ts";
export { createGateway } from "./gateway.ts";
export type { OpenRequest } from "./http.ts";
export { createKuboStore } from "./kubo-store.ts";
export { MAX_DEPTH, MAX_PATH_BYTES } from "./limits.ts";
export { type Listening, listen } from "./listen.ts";
export { isSafeName } from "./names.ts";
export { type PieceReader, readPieces } from "./piece-reader.ts";
export { readText } from "./read-text.ts";
export { type ImagePlace, openRegistry, openWebFile, openWebLayout } from "./registry.ts";
export type { RegistryAccount } from "./registry-login.ts";
export { type Gateway, startGateway } from "./start-gateway.ts";
export type {
  Added,
  AddedPath,
  AddPathOptions,
  BlockStore,
  CallOptions,
  ContentStore,
  ExportOptions,
  ImportCarOptions,
  OnProgress,
  Pin,
  Progress,
} from "./store.ts";
export { readTar, type TarFile } from "./tar-reader.ts";
export { TAR_END, type TarEntry, tarHeader, tarPadding } from "./tar-writer.ts";
