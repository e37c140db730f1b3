import { join } from "../../core/std.ts";
import { ParquetReader } from "../../pipeline/documents/parquet_file.ts";
import { splitOf, SPLITS } from "../../pipeline/shards/mod.ts";
import { exportDocuments } from "../../pipeline/shards/export.ts";
import { packedDocuments } from "../../pipeline/shards/packed_documents.ts";
import { assertEquals } from "../assert.ts";
import { standard, textOf } from "./token_corpus.ts";

Deno.test("export: every document whole, in its split, from any packing", async () => {
  using corpus = standard();
  for (const packing of ["best-fit", "concatenate", "one-per-row"] as const) {
    await corpus.build({ packing });
    const seen = new Set<number>();
    for (const split of SPLITS) {
      for await (const { pmid, tokens, source } of packedDocuments(corpus.folder, split)) {
        assertEquals(corpus.tokenizer.decode(tokens), textOf(pmid));
        assertEquals([splitOf(pmid, 0.1, 0.1), source], [
          split,
          corpus.documents.get(pmid)!.source,
        ]);
        seen.add(pmid);
      }
    }
    assertEquals(seen.size, corpus.documents.size);
  }
});

Deno.test("export: JSON lines, Parquet and Megatron hold the same documents", async () => {
  using corpus = standard(true);
  await corpus.build();
  const out = join(corpus.folder, "out");
  const jsonl = await exportDocuments(corpus.folder, "jsonl", out);
  assertEquals(jsonl.files.length, 3);
  const parquet = await exportDocuments(corpus.folder, "hf-dataset", out);
  const megatron = await exportDocuments(corpus.folder, "megatron", out);
  assertEquals([parquet.documents, megatron.documents], [jsonl.documents, jsonl.documents]);
  for (const split of SPLITS) {
    const lines = Deno.readTextFileSync(join(out, `${split}.jsonl`)).trimEnd().split("\n")
      .map((line) => JSON.parse(line));
    for (const { id, version, text } of lines) assertEquals([version, text], [1, textOf(id)]);
    const reader = new ParquetReader(join(out, "data", `${split}-00000.parquet`));
    assertEquals(await reader.rows(0, lines.length), lines);
    reader.close();
    const idx = Deno.readFileSync(join(out, `${split}.idx`));
    const view = new DataView(idx.buffer);
    assertEquals(new TextDecoder().decode(idx.subarray(0, 9)), "MMIDIDX\0\0");
    assertEquals([view.getBigUint64(9, true), view.getUint8(17)], [1n, 8]);
    const n = Number(view.getBigUint64(18, true));
    assertEquals([n, Number(view.getBigUint64(26, true))], [lines.length, n + 1]);
    assertEquals(idx.length, 34 + n * 12 + (n + 1) * 8);
    const bin = new Uint16Array(Deno.readFileSync(join(out, `${split}.bin`)).buffer);
    let at = 0;
    lines.forEach(({ text }, i) => {
      const length = view.getInt32(34 + i * 4, true);
      assertEquals(Number(view.getBigInt64(34 + n * 4 + i * 8, true)), at * 2);
      assertEquals(Number(view.getBigInt64(34 + n * 12 + i * 8, true)), i);
      const ids = bin.subarray(at, at + length);
      assertEquals(corpus.tokenizer.decode(ids, { skipSpecialTokens: true }), text);
      assertEquals(ids.at(-1), 330);
      at += length;
    });
    assertEquals(at, bin.length);
  }
});
