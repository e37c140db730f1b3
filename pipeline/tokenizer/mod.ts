/** Byte-level BPE tokenizers. @module */
export type { StreamDecoder } from "./decoder.ts";
export {
  type DecodeOptions,
  encodeBound,
  type EncodeOptions,
  loadTokenizer,
  type Tokenizer,
  tokenizerFromJson,
} from "./tokenizer.ts";
export { MAX_VOCABULARY, readTokenizerJson } from "./tokenizer_json.ts";
export {
  SMALLEST_VOCABULARY,
  type TokenizerJson,
  trainFromCounts,
  trainTokenizer,
  type TrainTokenizerOptions,
} from "./train.ts";
export { characterClasses, LETTER, NUMBER } from "./characters.ts";
export {
  counterFor,
  extendTokenizer,
  type ExtensibleJson,
  type Extension,
  oldPieces,
} from "./extend.ts";
export { type Fertility, FertilityCounter } from "./fertility.ts";
export { PretokenCounter, type PretokenTable } from "./pretoken_counts.ts";
