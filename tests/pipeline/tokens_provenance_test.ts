import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { SPLITS } from "../../pipeline/shards/mod.ts";
import { locate, whereIs } from "../../pipeline/shards/provenance.ts";
import { openShards } from "../../pipeline/shards/read.ts";
import { assert, assertEquals, assertRejects } from "../assert.ts";
import { LENGTH, standard, textOf } from "./token_corpus.ts";

Deno.test("provenance: where and locate are each other's reverse", async () => {
  using corpus = standard();
  await corpus.build();
  for (const pmid of [1, 41, 82, 900, 1299]) { // 41 and 82 are longer than a row
    const text = textOf(pmid);
    const tokens = corpus.tokenizer.encode(text).length + 1;
    const found = await whereIs(corpus.folder, pmid);
    assertEquals([found.tokens, found.pieces.length], [tokens, Math.ceil(tokens / LENGTH)]);
    let read = "";
    for (const piece of found.pieces) {
      const [located, ...others] = await locate(corpus.folder, found.shard, piece.row, piece.start);
      assertEquals([located!.pmid, others.length], [pmid, 0]);
      read += located!.text;
    }
    assertEquals(read, text);
    const source = pmid < 900 ? "pubmed26n0001" : "pubmed26n0002";
    assertEquals(found.records, [{ source, version: 1, tokens }]);
  }
});

Deno.test("provenance: a document that is not live shows the tokens it had", async () => {
  using corpus = standard();
  await corpus.build();
  const { shard, tokens, records } = await whereIs(corpus.folder, 205);
  assertEquals([shard, tokens, records.length], ["", 0, 1]);
  assertEquals(records[0]!.tokens, corpus.tokenizer.encode(textOf(205)).length + 1);
  assertEquals((await whereIs(corpus.folder, 5000)).records, []);
});

Deno.test("provenance: places that hold no document are refused", async () => {
  using corpus = standard();
  const manifest = await corpus.build();
  const { folder } = corpus;
  const refused = (shard: string, row: number, column: number | undefined, message: string) =>
    assertRejects(() => locate(folder, shard, row, column), UserError, message);
  await refused("train-99999", 0, 0, 'the shard "train-99999"');
  await refused("train-00000", 1e6, 0, "it has rows 0 to");
  await refused("train-00000", 0, LENGTH, `columns 0 to ${LENGTH - 1}`);
  const path = join("shards/test", "test-00000.tokens.npy");
  const set = openShards(folder, "test");
  const end = corpus.tokenizer.endOfText;
  let row = 0;
  while (row < set.rows && set.row(row).at(-1) !== end) row++;
  assert(row < set.rows, "a padded row");
  set.close();
  await refused(path, row, LENGTH - 1, "it is padding");
  const whole = await locate(folder, path, row);
  assertEquals(whole.map((p) => p.shard)[0], "test-00000");
  assert(SPLITS.every((s) => manifest.splits[s].shard_bits >= 0));
});
