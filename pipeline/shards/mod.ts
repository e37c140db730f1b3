/** Token files, packing, shards and the order of reading them. @module */
export { buildShards, type ShardOptions } from "./build.ts";
export {
  type Manifest,
  manifestPath,
  paddingNotice,
  PIPELINE_VERSION,
  readManifest,
  type ShardEntry,
  type ShardFile,
  shardsFolder,
  type SplitEntry,
  tokenizerPath,
} from "./manifest.ts";
export { orderKey, type Split, splitOf, SPLITS } from "./order.ts";
export { pack, type PackingMethod } from "./packing.ts";
export {
  renumberTokenFile,
  TokenFile,
  TokenFileWriter,
  type TokenizableDocument,
  writeTokenFile,
} from "./token_file.ts";
export { corpusTokenizer, keepTokenizer } from "./corpus_tokenizer.ts";
export {
  type CitationColumns,
  EXPORT_FORMATS,
  exportDocuments,
  type ExportFormat,
} from "./export.ts";
export { readPlacements } from "./placements.ts";
export { locate, type PlacedPiece, type Whereabouts, whereIs } from "./provenance.ts";
export { openShards, type ShardSet } from "./read.ts";
export { beginShards, figuresOf, presentShards, type ShardSummary } from "./recorded_manifest.ts";
export type { LiveSet } from "./shard_documents.ts";
export { offsetsPath, tokenizeFile } from "./tokenize_file.ts";
export {
  isKeptName,
  keepPinned,
  keptSet,
  pinShards,
  pinShardsOfAll,
  pruneShards,
  unpinShards,
} from "./kept.ts";
