import { join } from "../../core/std.ts";
import { exists } from "../../core/files.ts";
import { UserError } from "../../core/errors.ts";
import { tokenizerFromJson, trainTokenizer } from "../../pipeline/tokenizer/mod.ts";
import { readNpyHeader } from "../../pipeline/shards/npy.ts";
import { readTextInput } from "../../core/text_input.ts";
import { offsetsPath, tokenizeFile } from "../../pipeline/shards/tokenize_file.ts";
import { assertEquals, assertRejects, assertThrows } from "../assert.ts";
import { withFolder } from "./support.ts";

/** The type, shape and values of a one-dimensional array. */
function readArray(path: string): { type: string; shape: number[]; values: number[] } {
  const file = Deno.openSync(path);
  const { type, shape, offset } = readNpyHeader(file, path);
  file.close();
  const data = Deno.readFileSync(path).slice(offset).buffer;
  const values = type === "<u2" ? new Uint16Array(data) : new Uint32Array(data);
  return { type, shape, values: Array.from(values) };
}

Deno.test("tokens: a file of texts becomes ids and offsets", async () => {
  const tokenizer = tokenizerFromJson(trainTokenizer(["aspirin and heparin"], 300));
  await withFolder(async (folder) => {
    const texts = ["aspirin", "", "heparin <|endoftext|>", "x ".repeat(100_000), "\ud800 lone"];
    const input = join(folder, "texts.jsonl");
    const output = join(folder, "ids.npy");
    Deno.writeTextFileSync(input, texts.map((text) => JSON.stringify({ text })).join("\r\n"));
    for (const specialTokens of [false, true]) {
      const expected = texts.map((t) => Array.from(tokenizer.encode(t, { specialTokens })));
      const done = await tokenizeFile(tokenizer, input, output, { specialTokens });
      const ids = readArray(output);
      const offsets = readArray(join(folder, "ids.offsets.npy"));
      assertEquals([ids.type, ids.shape], ["<u2", [done.tokens]]);
      assertEquals(ids.values, expected.flat());
      assertEquals([offsets.type, offsets.shape], ["<u4", [texts.length + 1]]);
      let end = 0;
      assertEquals(offsets.values, [0, ...expected.map((e) => end += e.length)]);
      assertEquals(ids.values.includes(tokenizer.endOfText), specialTokens);
    }
  });
});

Deno.test("tokens: an empty file gives empty arrays", async () => {
  const tokenizer = tokenizerFromJson(trainTokenizer(["ab"], 260));
  await withFolder(async (folder) => {
    const input = join(folder, "none.txt");
    const output = join(folder, "ids.npy");
    Deno.writeTextFileSync(input, "");
    assertEquals(await tokenizeFile(tokenizer, input, output), { texts: 0, tokens: 0, bytes: 0 });
    assertEquals(readArray(output), { type: "<u2", shape: [0], values: [] });
    assertEquals(readArray(offsetsPath(output)).values, [0]);
  });
});

Deno.test("tokens: malformed lines are named, and nothing is written", async () => {
  const tokenizer = tokenizerFromJson(trainTokenizer(["ab"], 260));
  await withFolder(async (folder) => {
    const input = join(folder, "texts.jsonl");
    const output = join(folder, "ids.npy");
    for (const [line, message] of [["{", "line 2"], ['{"text": 3}', 'a "text" string']] as const) {
      Deno.writeTextFileSync(input, `{"text":"fine"}\n${line}\n`);
      await assertRejects(() => tokenizeFile(tokenizer, input, output), UserError, message);
    }
    Deno.writeFileSync(input, new Uint8Array([0x61, 0xff, 0x0a]));
    await assertRejects(() => tokenizeFile(tokenizer, input, output), UserError, "not UTF-8");
    assertEquals([exists(output), exists(output + ".partial")], [false, false]);
    assertThrows(() => [...readTextInput(join(folder, "missing"))], UserError, "no such file");
  });
});

Deno.test("tokens: lines are whole across blocks", () =>
  withFolder((folder) => {
    const path = join(folder, "lines.txt");
    const lines = Array.from({ length: 5000 }, (_, i) => `${i} ` + "αβγ🧬".repeat(i % 211));
    Deno.writeTextFileSync(path, lines.join("\n"));
    assertEquals([...readTextInput(path)].map((t) => t.text), lines);
  }));
