import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { configOfSizes } from "../../model/config.ts";
import { extendModel } from "../../model/extend.ts";
import { openModelFolder, writeModelFolder } from "../../model/folder.ts";
import { EMBEDDING, parameterList } from "../../model/parameters.ts";
import { counterFor, extendTokenizer, oldPieces } from "../../pipeline/tokenizer/extend.ts";
import { trainTokenizer } from "../../pipeline/tokenizer/mod.ts";
import { assertEquals, assertThrows } from "../assert.ts";

Deno.test("model extension: old rows stay, new rows are the means of their pieces", () => {
  const folder = Deno.makeTempDirSync();
  try {
    const base = join(folder, "base"), out = join(folder, "out");
    const bio = join(folder, "bio.json"), json = trainTokenizer(["the cat the cat the"], 262);
    const vocabSize = Object.keys(json.model.vocab).length;
    const config = configOfSizes({ hiddenSize: 8, layers: 1, vocabSize });
    const parameters = new Map(parameterList(config).map((p) => [p.name, p.size]));
    const read = (name: string) =>
      Float32Array.from({ length: parameters.get(name)! }, (_, i) => Math.sin(i + name.length));
    const tokenizer = new TextEncoder().encode(JSON.stringify(json));
    writeModelFolder(base, { config, read, tokenizer });
    const path = join(base, "tokenizer.json"), counter = counterFor(path);
    counter.add("carcinoma of the carcinoma cat carcinoma ".repeat(3));
    Deno.writeTextFileSync(bio, JSON.stringify(extendTokenizer(path, counter, 11).json));
    assertEquals(extendModel(base, bio, out), {
      out,
      old_vocabulary: vocabSize,
      new_vocabulary: vocabSize + 11,
    });
    const extended = openModelFolder(out), rows = extended.read(EMBEDDING), old = read(EMBEDDING);
    assertEquals(extended.config.vocabSize, vocabSize + 11);
    assertEquals(extended.config.paddedVocabSize, Math.ceil((vocabSize + 11) / 8) * 8);
    assertEquals(rows.subarray(0, vocabSize * 8), old.subarray(0, vocabSize * 8));
    oldPieces(path, bio).forEach((ids, i) => {
      const mean = Float32Array.from(
        { length: 8 },
        (_, c) => ids.reduce((sum, id) => sum + old[id * 8 + c]!, 0) / ids.length,
      );
      assertEquals(rows.slice((vocabSize + i) * 8, (vocabSize + i + 1) * 8), mean);
    });
    const norm = "backbone.norm_f.weight";
    assertEquals(extended.read(norm), read(norm));
    assertEquals(Deno.readFileSync(extended.tokenizerFile!), Deno.readFileSync(bio));
    extended.close();
    assertThrows(() => extendModel(base, bio, out), UserError, out);
    Deno.removeSync(path);
    assertThrows(() => extendModel(base, bio, join(folder, "x")), UserError, "no tokenizer.json");
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
