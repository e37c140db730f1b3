import { Tokenizer as Oracle } from "@huggingface/tokenizers";
import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { sha256 } from "../../core/files.ts";
import { loadTokenizer, type Tokenizer, tokenizerFromJson } from "../../pipeline/tokenizer/mod.ts";
import { trainTokenizer } from "../../pipeline/tokenizer/train.ts";
import { parseTokenizerJson } from "../../pipeline/tokenizer/tokenizer_json.ts";
import { MergeTable } from "../../pipeline/tokenizer/merges.ts";
import { assert, assertEquals, assertThrows } from "../assert.ts";
import { SHARED, sharedTest } from "../shared.ts";
import { ALL_FAULTS } from "./faults.ts";
import { evaluationTexts, pubmedTexts } from "./tokenizer_text.ts";

const NEOX = "data/tokenizer/gpt-neox-20b.tokenizer.json";

const SENTENCES = [
  "Metformin lowers HbA1c in type 2 diabetes; it's cheap, and we've tested it.",
  "Aspirin (75\u2013100 mg/day) doesn't prevent dementia: p = 0.34, n\u00a0=\u00a01,204.",
  "β-catenin/TCF4 na\u00efve cells\n\n5-fluorouracil   and cisplatin\t\tgiven daily",
];

/** A small tokenizer with its JSON, changed as a test needs. */
function smallJson(change: Record<string, unknown> = {}): Record<string, unknown> {
  return { ...trainTokenizer(SENTENCES, 330, { minimumCount: 1 }), ...change };
}

function oracleOf(json: unknown): (text: string) => number[] {
  const oracle = new Oracle(json as never, {} as never);
  return (text) => oracle.encode(text, { add_special_tokens: false }).ids as number[];
}

/** The number of texts whose ids differ, and the first of them. */
function differences(
  tokenizer: Tokenizer,
  oracle: (text: string) => number[],
  texts: Iterable<string>,
): { count: number; first: string } {
  let count = 0;
  let first = "";
  for (const text of texts) {
    const ids = tokenizer.encode(text, { specialTokens: true });
    const expected = oracle(text);
    if (ids.length !== expected.length || ids.some((id, i) => id !== expected[i])) {
      if (count++ === 0) first = text;
    }
  }
  return { count, first };
}

sharedTest(NEOX, "tokenizer: ids equal the reference on the real text", () => {
  const path = join(SHARED, NEOX);
  const json = JSON.parse(Deno.readTextFileSync(path));
  const tokenizer = loadTokenizer(path);
  // The reference is slow: all of the text is for `deno task test:faults`.
  const all = [...pubmedTexts(SHARED), ...evaluationTexts(SHARED)];
  const texts = all.filter((_, i) => ALL_FAULTS || i % 4 === 0);
  assert(texts.length > 1000, `only ${texts.length} texts`);
  assertEquals(differences(tokenizer, oracleOf(json), texts), { count: 0, first: "" });
  for (const text of texts) assertEquals(tokenizer.decode(tokenizer.encode(text)), text);
});

sharedTest(NEOX, "tokenizer: GPT-NeoX's facts", () => {
  const tokenizer = loadTokenizer(join(SHARED, NEOX));
  assertEquals([tokenizer.vocabularySize, tokenizer.endOfText], [50277, 0]);
  assertEquals(tokenizer.sha256, sha256(Deno.readFileSync(join(SHARED, NEOX))));
  assertEquals([...tokenizer.encode("Hello  world")], [12092, 50276, 10186]);
});

sharedTest(NEOX, "tokenizer: runs of spaces are cut as the reference cuts them", () => {
  const path = join(SHARED, NEOX);
  const json = JSON.parse(Deno.readTextFileSync(path));
  const texts: string[] = [];
  for (let n = 0; n < 60; n++) {
    for (const left of ["", "a", "ab", "\n", "1.", "é"]) {
      for (const right of ["", "b", "\n", " \nc", ".", "  d   e"]) {
        texts.push(left + " ".repeat(n) + right);
      }
    }
  }
  const found = differences(loadTokenizer(path), oracleOf(json), texts);
  assertEquals(found, { count: 0, first: "" });
});

Deno.test("tokenizer: special tokens match only on request", () => {
  const tokenizer = tokenizerFromJson(smallJson());
  const text = "end<|endoftext|>begin";
  assert(!tokenizer.encode(text).includes(tokenizer.endOfText));
  const ids = tokenizer.encode(text, { specialTokens: true });
  assertEquals(ids.filter((id) => id === tokenizer.endOfText).length, 1);
  assertEquals(tokenizer.decode(ids), text);
  assertEquals(tokenizer.decode(ids, { skipSpecialTokens: true }), "endbegin");
  assertEquals(tokenizer.decode(tokenizer.encode(text)), text);
});

Deno.test("tokenizer: prefix space, no normaliser and added tokens equal the reference", () => {
  const json = smallJson({ normalizer: null });
  const added = json.added_tokens as object[];
  const prefixed = {
    ...json,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true },
    added_tokens: [
      ...added,
      { id: 330, content: "HbA1c", special: false, normalized: true },
      { id: 331, content: "HbA1cX", special: false, normalized: true },
      { id: 332, content: "[MASK]", special: true, normalized: false, lstrip: true },
    ],
  };
  const texts = [
    ...SENTENCES,
    "",
    " ",
    "x HbA1cXHbA1c y",
    "cafe\u0301 [MASK] [MASK]",
    "it's  HbA1c.",
  ];
  for (const variant of [json, prefixed]) {
    const found = differences(tokenizerFromJson(variant), oracleOf(variant), texts);
    assertEquals(found, { count: 0, first: "" });
  }
});

Deno.test("tokenizer: NFC is applied where the file says so", () => {
  const composed = "caf\u00e9";
  const decomposed = "cafe\u0301";
  const nfc = tokenizerFromJson(smallJson());
  const none = tokenizerFromJson(smallJson({ normalizer: null }));
  assertEquals(nfc.encode(decomposed), nfc.encode(composed));
  assertEquals(none.decode(none.encode(decomposed)), decomposed);
});

Deno.test("tokenizer: streaming decode gives whole characters", () => {
  const tokenizer = tokenizerFromJson(smallJson());
  const text = "α→β 𝛽-blocker 🧬👩‍🔬 done";
  const stream = tokenizer.streamDecoder();
  const pieces: string[] = [];
  for (const id of tokenizer.encode(text)) pieces.push(stream.push(id));
  pieces.push(stream.flush());
  assertEquals(pieces.join(""), text);
  for (const piece of pieces) assert(piece.isWellFormed() && !piece.includes("\ufffd"), piece);
  const cut = tokenizer.streamDecoder();
  assertEquals(cut.push(tokenizer.encode("α")[0]!) + cut.flush(), "\ufffd");
});

Deno.test("tokenizer: encodeInto writes in place and refuses what does not fit", () => {
  const tokenizer = tokenizerFromJson(smallJson());
  const text = SENTENCES[0]!;
  const ids = tokenizer.encode(text);
  const out = new Uint16Array(ids.length + 2);
  assertEquals(tokenizer.encodeInto(text, out, 2), ids.length + 2);
  assertEquals(out.subarray(2), ids);
  assertThrows(() => tokenizer.encodeInto(text, out, 3), RangeError);
});

Deno.test("tokenizer: a full cache changes nothing", () => {
  const tokenizer = tokenizerFromJson(smallJson());
  const text = SENTENCES.join(" ");
  const before = tokenizer.encode(text);
  for (let i = 0; i < 3; i++) {
    const words = Array.from({ length: 400_000 }, (_, k) => `${i}${k}`).join(";");
    tokenizer.encode(words);
  }
  assertEquals(tokenizer.encode(text), before);
  tokenizer.clearCache();
  assertEquals(tokenizer.encode(text), before);
});

/** The specification of merging: the lowest rank first, the leftmost of equals. */
function mergeNaively(bytes: Uint8Array, merges: Uint16Array, byteIds: Uint16Array): number[] {
  const ranks = new Map<number, number>();
  for (let r = 0; r * 3 < merges.length; r++) {
    ranks.set(merges[r * 3]! * 65536 + merges[r * 3 + 1]!, r);
  }
  const ids = Array.from(bytes, (b) => byteIds[b]!);
  for (;;) {
    let best = Infinity;
    let at = -1;
    for (let i = 0; i + 1 < ids.length; i++) {
      const rank = ranks.get(ids[i]! * 65536 + ids[i + 1]!) ?? Infinity;
      if (rank < best) {
        best = rank;
        at = i;
      }
    }
    if (at < 0) return ids;
    ids.splice(at, 2, merges[best * 3 + 2]!);
  }
}

Deno.test("tokenizer: merging by heap and by scan equals the specification", () => {
  const { merges, byteIds } = parseTokenizerJson(smallJson(), "given");
  const table = new MergeTable(merges, byteIds);
  const long = "diabetesdementiametforminacetylaaaaaaaaabababa".repeat(40); // over 1,000 bytes
  for (const word of [long, long.slice(0, 257), long.slice(0, 256), long.slice(0, 77), "a"]) {
    const bytes = new TextEncoder().encode(word);
    const count = table.merge(bytes, 0, bytes.length);
    assertEquals(Array.from(table.ids.subarray(0, count)), mergeNaively(bytes, merges, byteIds));
  }
});

Deno.test("tokenizer: other kinds are refused by name", () => {
  const cases: [string, Record<string, unknown>][] = [
    ["kind Unigram", smallJson({ model: { type: "Unigram", vocab: [] } })],
    ["kind WordPiece", smallJson({ model: { type: "WordPiece", vocab: {} } })],
    ["kind Metaspace", smallJson({ pre_tokenizer: { type: "Metaspace" } })],
    ["Lowercase", smallJson({ normalizer: { type: "Lowercase" } })],
    ["without a pre-tokenizer", smallJson({ pre_tokenizer: null })],
    [
      "byte fallback",
      smallJson({ model: { ...smallJson().model as object, byte_fallback: true } }),
    ],
    ["ends a text", smallJson({ added_tokens: [] })],
    ["no merges", smallJson({ model: { ...smallJson().model as object, merges: undefined } })],
    ["no model", {}],
  ];
  for (const [includes, json] of cases) {
    const error = assertThrows(() => tokenizerFromJson(json), UserError, includes);
    assert(error.message.includes("byte-level BPE tokenizer.json is needed"), error.message);
  }
  const huge = smallJson() as { model: { vocab: Record<string, number> } };
  huge.model.vocab["zzzz"] = 70_000;
  assertThrows(() => tokenizerFromJson(huge), UserError, "70001 ids");
  const file = Deno.makeTempFileSync({ suffix: ".json" });
  Deno.writeTextFileSync(file, "{");
  assertThrows(() => loadTokenizer(file), UserError, file);
  Deno.removeSync(file);
  assertThrows(() => loadTokenizer(file), UserError, "no such file");
});
