export type { IndexerConfig } from "./config.ts";
export { openApiDocument } from "./http/openapi.ts";
export { type Indexer, startIndexer } from "./indexer.ts";
