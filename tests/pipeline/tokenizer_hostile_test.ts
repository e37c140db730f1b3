/** Tokenizers that were made to harm: each is refused in a sentence. @module */
import { UserError } from "../../core/errors.ts";
import { join } from "../../core/std.ts";
import { loadTokenizer, tokenizerFromJson } from "../../pipeline/tokenizer/mod.ts";
import { parseTokenizerJson } from "../../pipeline/tokenizer/tokenizer_json.ts";
import { trainTokenizer } from "../../pipeline/tokenizer/train.ts";
import { assert, assertEquals, assertThrows } from "../assert.ts";
import { withFolder } from "./support.ts";

interface Parts {
  model: { vocab: Record<string, number>; merges: unknown };
  added_tokens: { id: number; content: string; special: boolean }[];
  normalizer: unknown;
  [key: string]: unknown;
}

const TEXTS = ["Metformin lowers HbA1c in type 2 diabetes; it's cheap, and we've tested it."];

/** A whole tokenizer.json, changed. */
function changed(change: (json: Parts) => void): unknown {
  const json = structuredClone(trainTokenizer(TEXTS, 290, { minimumCount: 1 })) as unknown as Parts;
  change(json);
  return json;
}

function refused(change: (json: Parts) => void, message: string): void {
  const error = assertThrows(() => parseTokenizerJson(changed(change), "file"), UserError);
  assert(error.message.includes(message), error.message);
}

Deno.test("two tokens with one id are refused: a text could write the end of a document", () => {
  const end = (changed(() => {}) as Parts).added_tokens[0]!;
  refused(({ model }) => model.vocab.a = end.id, `have the same id, ${end.id}`);
  refused(({ model }) => model.vocab.a = model.vocab.b!, '"a" and "b" have the same id');
  refused(({ added_tokens: added }) => added.push({ ...end, content: "zz" }), "have the same id");
  // The vocabulary may have an added token too, under its own name.
  const both = tokenizerFromJson(changed(({ model }) => model.vocab[end.content] = end.id));
  assertEquals(both.endOfText, end.id);
  assertEquals(both.encode(`a${end.content}b`).includes(end.id), false);
});

Deno.test("merges that make the end of a document are refused", () => {
  refused(({ model, added_tokens: added }) => {
    const [end] = added;
    const { vocab } = model;
    vocab[end!.content] = end!.id;
    vocab["<|endoftext"] = Object.keys(vocab).length + 10;
    vocab["|>"] = Object.keys(vocab).length + 11;
    model.merges = [["<|endoftext", "|>"]];
  }, 'its merge 0 makes "<|endoftext|>", which ends documents');
});

Deno.test("malformed parts of a tokenizer are told in sentences", () => {
  for (const merges of [[null], [3], [["a"]], [["a", "b", "c"]], [["a", null]], [{}]]) {
    refused(({ model }) => model.merges = merges, "its merge 0 is no pair of tokens");
  }
  let deep: unknown = [];
  for (let depth = 0; depth < 100_000; depth++) deep = [deep];
  for (const id of [-1, 0.5, "7", null, deep]) {
    refused(({ model }) => model.vocab.a = id as number, "it has the id");
  }
  refused((json) => json.model = { ...json.model, type: deep } as Parts["model"], "of the kind");
  refused(({ added_tokens: added }) => {
    const long = { ...added[0]!, content: "x".repeat(2_000_000), id: 300 };
    added.push(long);
  }, "characters");
});

Deno.test("a normalizer that nests is read from its file to any depth", () =>
  withFolder((folder) => {
    const path = join(folder, "tokenizer.json");
    const json = JSON.stringify(changed((json) => json.normalizer = "HERE"));
    const nested = '{"type":"Sequence","normalizers":['.repeat(100_000) + '{"type":"NFC"}' +
      "]}".repeat(100_000);
    Deno.writeTextFileSync(path, json.replace('"HERE"', nested));
    const tokenizer = loadTokenizer(path);
    assertEquals(tokenizer.decode(tokenizer.encode("e\u0301")), "\u00e9");
  }));

Deno.test("a vocabulary of millions is refused by its length, before it is parsed", () =>
  withFolder((folder) => {
    const path = join(folder, "tokenizer.json");
    const many: string[] = [];
    for (let i = 0; i < 1_500_000; i++) many.push(`"t${i}":0`);
    Deno.writeTextFileSync(path, `{"model":{"type":"BPE","vocab":{${many.join()}},"merges":[]}}`);
    const { size } = Deno.statSync(path);
    assertThrows(
      () => loadTokenizer(path),
      UserError,
      `it has ${size} bytes, and at most 16777216`,
    );
    refused(({ model }) => {
      for (let i = 0; i < 70_000; i++) model.vocab[`t${i}`] = 0;
    }, "65536 ids");
  }));
