/** Token files, packing, shards and the order of reading them. @module */
export { buildShards, PACKING_WINDOW, type ShardOptions } from "./build.ts";
export {
  type Manifest,
  manifestPath,
  PIPELINE_VERSION,
  readManifest,
  type ShardEntry,
  shardsFolder,
  type SplitEntry,
  tokenizerPath,
} from "./manifest.ts";
export { type Split, splitOf, SPLITS } from "./order.ts";
export { PACKING_METHODS, type PackingMethod } from "./packing.ts";
export type { LiveSet } from "./shard_documents.ts";
export { TokenFileWriter, type TokenizableDocument, writeTokenFile } from "./token_file.ts";
