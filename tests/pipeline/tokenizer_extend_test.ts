import { Tokenizer as Oracle } from "@huggingface/tokenizers";
import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { counterFor, extendTokenizer, oldPieces } from "../../pipeline/tokenizer/extend.ts";
import { loadTokenizer, trainTokenizer } from "../../pipeline/tokenizer/mod.ts";
import { assert, assertEquals, assertThrows } from "../assert.ts";
import { withFolder } from "./support.ts";

const GENERAL = "the cat sat on the mat and the dog ran to the cat in the sun ".repeat(5);
const DOMAIN = "the carcinoma and the metastatic adenocarcinoma in the patient  treated ".repeat(5);

/** A general tokenizer with added tokens for runs of spaces, in both layouts of merges. */
function general(pairs: boolean): Record<string, unknown> {
  const json = trainTokenizer([GENERAL], 320);
  const size = Object.keys(json.model.vocab).length;
  (json.added_tokens as object[]).push(
    ...[2, 3].map((n) => ({
      id: size + n - 2,
      content: " ".repeat(n),
      special: false,
      normalized: true,
    })),
  );
  const merges = pairs ? json.model.merges.map((m) => m.split(" ")) : json.model.merges;
  return { ...json, model: { ...json.model, merges } };
}

Deno.test("tokenizer extension: old ids stay, new tokens are made of old pieces", () =>
  withFolder((folder) => {
    for (const pairs of [false, true]) {
      const path = join(folder, "base.json");
      const extendedPath = join(folder, "extended.json");
      Deno.writeTextFileSync(path, JSON.stringify(general(pairs)));
      const base = loadTokenizer(path);
      const counter = counterFor(path);
      counter.add(DOMAIN);
      const { json, firstId, added } = extendTokenizer(path, counter, 20);
      assertEquals([firstId, added], [base.vocabularySize, 20]);
      Deno.writeTextFileSync(extendedPath, JSON.stringify(json));
      const extended = loadTokenizer(extendedPath);
      assertEquals(extended.vocabularySize, base.vocabularySize + 20);
      for (let id = 0; id < base.vocabularySize; id++) {
        assertEquals(extended.tokenBytes(id), base.tokenBytes(id));
      }
      const before = base.encode(DOMAIN);
      const after = extended.encode(DOMAIN);
      assert(after.length < before.length * 0.8, `${before.length} to ${after.length} tokens`);
      assertEquals(extended.decode(after), DOMAIN);
      // Replacing each new id by its old pieces gives the base's ids.
      const pieces = oldPieces(path, extendedPath);
      assertEquals(pieces.length, 20);
      const replaced = Array.from(after).flatMap((id) =>
        id < firstId ? [id] : pieces[id - firstId]!
      );
      assertEquals(replaced, Array.from(before));
      const oracle = new Oracle(json as never, {} as never);
      for (const text of [GENERAL, DOMAIN, "a  b   c carcinoma"]) {
        const ids = oracle.encode(text, { add_special_tokens: false }).ids as number[];
        assertEquals(Array.from(extended.encode(text)), ids);
      }
      assertThrows(() => oldPieces(extendedPath, path), UserError, "as an extension");
      assertThrows(() => extendTokenizer(path, counter, 65_500), UserError, "add at most");
      assertThrows(() => extendTokenizer(path, counterFor(path), 5), UserError, "there is no text");
    }
  }));
