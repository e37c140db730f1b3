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
export { readTokenizerJson } from "./tokenizer_json.ts";
export { type TokenizerJson, trainTokenizer, type TrainTokenizerOptions } from "./train.ts";
