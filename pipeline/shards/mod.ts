/** Token files, packing, shards and the order of reading them. @module */
export { buildShards, type ShardOptions } from "./build.ts";
export {
  type Manifest,
  manifestPath,
  paddingNotice,
  readManifest,
  type ShardEntry,
  shardsFolder,
  type SplitEntry,
  tokenizerPath,
} from "./manifest.ts";
export { type Split, splitOf, SPLITS } from "./order.ts";
export { type PackingMethod } from "./packing.ts";
export { TokenFileWriter, type TokenizableDocument, writeTokenFile } from "./token_file.ts";
