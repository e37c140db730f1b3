import { join } from "../../core/std.ts";
import { exists, hashFile } from "../../core/files.ts";
import { Interrupted, UserError } from "../../core/errors.ts";
import { ParquetReader } from "../../pipeline/documents/parquet_file.ts";
import { type Manifest, splitOf, SPLITS } from "../../pipeline/shards/mod.ts";
import { shardBits } from "../../pipeline/shards/build.ts";
import { openShards } from "../../pipeline/shards/read.ts";
import { TokenBlocks } from "../../pipeline/shards/token_blocks.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "../assert.ts";
import { Corpus, LENGTH, standard } from "./token_corpus.ts";

interface Placement {
  pmid: number;
  version: number;
  row: number;
  start: number;
  length: number;
  chunk: number;
  source: string;
}

/** Every document's tokens once, in order, under its PMID, in its split; the rest is padding. */
async function checkConservation(corpus: Corpus, manifest: Manifest): Promise<void> {
  const seen = new Map<number, number[]>();
  const end = corpus.tokenizer.endOfText;
  for (const split of SPLITS) {
    const set = openShards(corpus.folder, split);
    let first = 0;
    let tokens = 0;
    let filled = 0;
    for (const shard of manifest.splits[split].shards) {
      const reader = new ParquetReader(join(corpus.folder, "shards", shard.documents_file.path));
      const rows = (await reader.groups()).reduce((a, b) => a + b, 0);
      const placements = await reader.rows<Placement>(0, rows);
      const documents = new Set<number>();
      reader.close();
      const columns = new Map<number, number>(); // row -> where its next piece must begin
      for (const { pmid, row, start, length, chunk, source, version } of placements) {
        assertEquals([corpus.documents.get(pmid)?.source, version], [source, 1]);
        assertEquals(splitOf(pmid, 0.1, 0.1), split);
        assertEquals(columns.get(row) ?? 0, start);
        columns.set(row, start + length);
        const piece = Array.from(set.row(first + row).subarray(start, start + length));
        if (chunk === 0) assertEquals(piece[0], end);
        else assertEquals(start, 0);
        // Pieces come by row: a long document's in order, as its rows are.
        const list = seen.get(pmid) ?? [];
        if (chunk === 0) assertEquals(list.length, 0);
        seen.set(pmid, [...list, ...piece]);
        documents.add(pmid);
        tokens += length;
      }
      for (const [row, column] of columns) {
        const padding = set.row(first + row).subarray(column);
        assert(padding.every((id) => id === end), "padding is end of text");
        filled += column;
      }
      assertEquals([columns.size, documents.size], [shard.rows, shard.documents]);
      assert(shard.tokens_file.bytes <= 9_000, `${shard.tokens_file.bytes} bytes`);
      first += shard.rows;
    }
    assertEquals([first, tokens, filled], [set.rows, manifest.splits[split].tokens, tokens]);
    assertThrows(() => set.row(set.rows), RangeError);
    set.close();
  }
  const expected = new Map(
    [...corpus.documents].map((
      [pmid, { text }],
    ) => [pmid, [end, ...corpus.tokenizer.encode(text)]]),
  );
  assertEquals(seen.size, expected.size);
  for (const [pmid, ids] of expected) assertEquals(seen.get(pmid), ids);
}

Deno.test("shards: token conservation", async () => {
  for (const endOfTextLast of [false, true]) {
    using corpus = standard(endOfTextLast);
    const manifest = await corpus.build();
    assertEquals(manifest.end_of_text, endOfTextLast ? 330 : 0);
    assert(manifest.splits.train.shards.length > 2, "several shards");
    assert(manifest.splits.train.split_documents > 5, "over-long documents");
    await checkConservation(corpus, manifest);
  }
});

Deno.test("shards: the manifest says what there is", async () => {
  using corpus = standard();
  const manifest = await corpus.build();
  assertEquals(
    JSON.parse(Deno.readTextFileSync(join(corpus.folder, "shards/manifest.json"))),
    manifest,
  );
  assertEquals(hashFile(join(corpus.folder, "tokenizer.json")), manifest.tokenizer_sha256);
  assertEquals(manifest.sources[1], { name: "pubmed26n0002", md5: "md5 of pubmed26n0002" });
  for (const split of SPLITS) {
    const entry = manifest.splits[split];
    assert(entry.padding_share > 0 && entry.padding_share < 0.2, `${entry.padding_share}`);
    for (
      const { path, bytes, sha256 } of entry.shards.flatMap((
        s,
      ) => [s.tokens_file, s.documents_file])
    ) {
      const file = join(corpus.folder, "shards", path);
      assertEquals([Deno.statSync(file).size, hashFile(file)], [bytes, sha256]);
    }
  }
  const documents = SPLITS.map((s) => manifest.splits[s].documents);
  assertEquals(documents.reduce((a, b) => a + b), corpus.documents.size);
  assert(Math.abs(documents[1]! / corpus.documents.size - 0.1) < 0.04, `${documents}`);
});

Deno.test("shards: equal bytes however the corpus came about", async () => {
  using corpus = standard();
  using later = standard();
  // The first gets its last file at once; the second after shards were built without it.
  corpus.add("pubmed26n0003", 1300, 1500);
  corpus.documents.set(7, { source: "none", text: "" });
  await corpus.build();
  await later.build();
  later.add("pubmed26n0003", 1300, 1500);
  later.documents.set(7, { source: "none", text: "" });
  later.tokenFiles.reverse();
  await later.build();
  assertEquals(later.hashes(), corpus.hashes());
  assert(!exists(join(later.folder, "shards/unfinished.json")));
});

Deno.test("shards: building again writes nothing; only changed shards are written", async () => {
  using corpus = standard();
  const manifest = await corpus.build();
  const times = () =>
    manifest.splits.train.shards.map((s) =>
      Number(Deno.statSync(join(corpus.folder, "shards", s.tokens_file.path)).ino)
    );
  const before = times();
  const hashes = corpus.hashes();
  await corpus.build();
  assertEquals([times(), corpus.hashes()], [before, hashes]);
  const victim = [...corpus.documents.keys()].find((p) => splitOf(p, 0.1, 0.1) === "train")!;
  corpus.documents.delete(victim);
  await corpus.build();
  const changed = times().filter((ino, i) => ino !== before[i]).length;
  assertEquals(changed, 1);
});

Deno.test("shards: a stopped build leaves no half file and goes on to equal bytes", async () => {
  using corpus = standard();
  using whole = standard();
  await whole.build();
  const stop = new AbortController();
  await assertRejects(
    () =>
      corpus.build({
        signal: stop.signal,
        onProgress: (done, total) => done > total / 3 && stop.abort(),
      }),
    Interrupted,
  );
  assert(!exists(join(corpus.folder, "shards/manifest.json")));
  assert(Object.keys(corpus.hashes()).every((path) => !path.endsWith(".partial")));
  await corpus.build();
  assertEquals(corpus.hashes(), whole.hashes());
});

Deno.test("shards: other packings keep every token too", async () => {
  using corpus = standard();
  for (const packing of ["one-per-row", "concatenate"] as const) {
    const manifest = await corpus.build({ packing });
    assertEquals(
      manifest.splits.train.documents,
      [...corpus.documents.keys()]
        .filter((p) => splitOf(p, 0.1, 0.1) === "train").length,
    );
    if (packing === "one-per-row") await checkConservation(corpus, manifest);
  }
});

Deno.test("shards: bad input is refused", async () => {
  using corpus = standard();
  await assertRejects(() => corpus.build({ sequenceLength: 0 }), UserError, "sequence length is 0");
  await assertRejects(() => corpus.build({ validation: 0.7, test: 0.4 }), UserError, "0.7");
  await assertRejects(() => corpus.build({ seed: 12 }), UserError, "seed 11, not 12");
  const other = new Corpus(true);
  await assertRejects(
    () => corpus.build({ tokenizer: other.tokenizer }),
    UserError,
    "made with the tokenizer",
  );
  other[Symbol.dispose]();
  corpus.documents.clear();
  await assertRejects(() => corpus.build(), UserError, "no documents to train on");
  assertThrows(() => openShards(corpus.folder, "train"), UserError, "pipeline run");
  const path = corpus.tokenFiles[0]!.path;
  Deno.truncateSync(path, 5000);
  await assertRejects(() => corpus.build(), UserError, "it has 5000 bytes");
});

Deno.test("shards: a damaged shard is named on reading", async () => {
  using corpus = standard();
  const manifest = await corpus.build();
  const path = join(corpus.folder, "shards", manifest.splits.train.shards[0]!.tokens_file.path);
  Deno.truncateSync(path, 1000);
  const set = openShards(corpus.folder, "train");
  assertThrows(() => set.row(0), UserError, path);
  Deno.writeTextFileSync(path, "no array");
  assertThrows(() => set.row(0), UserError, "no .npy file");
  set.close();
});

Deno.test("splits: stable shares by PMID alone", () => {
  const counts = { train: 0, validation: 0, test: 0 };
  for (let pmid = 1; pmid <= 200_000; pmid++) {
    const split = splitOf(pmid, 0.005, 0.01);
    counts[split]++;
    // A larger test share takes from training only.
    if (split !== "train") assertEquals(splitOf(pmid, 0.005, 0.02), split);
  }
  assert(Math.abs(counts.validation - 1000) < 150, `${counts.validation}`);
  assert(Math.abs(counts.test - 2000) < 220, `${counts.test}`);
  assertEquals([splitOf(1, 0, 0), splitOf(1, 1, 0), splitOf(1, 0, 1)], [
    "train",
    "validation",
    "test",
  ]);
  assertEquals([shardBits(100, 256), shardBits(256, 256), shardBits(2560, 256)], [0, 1, 4]);
});

const importable = (modules: string) => {
  try {
    return new Deno.Command("python3", { args: ["-c", `import ${modules}`], stderr: "null" })
      .outputSync().success;
  } catch {
    return false;
  }
};
const numpy = importable("numpy");
const pyarrow = importable("numpy, pyarrow.parquet");

Deno.test({
  name: numpy ? "shards: NumPy maps them" : "shards: NumPy maps them (skipped: no python3 numpy)",
  ignore: !numpy,
  fn: async () => {
    using corpus = standard();
    const manifest = await corpus.build();
    const shard = manifest.splits.train.shards[1]!;
    const script = "import numpy, sys; a = numpy.load(sys.argv[1], mmap_mode='r'); " +
      "print(type(a).__name__, a.dtype.str, a.shape, a.offset, int(a.sum(dtype='u8')), int(a[-1, 3]))";
    const path = join(corpus.folder, "shards", shard.tokens_file.path);
    const out = new Deno.Command("python3", { args: ["-c", script, path] }).outputSync();
    const set = openShards(corpus.folder, "train");
    const first = manifest.splits.train.shards[0]!.rows;
    let sum = 0;
    for (let r = 0; r < shard.rows; r++) for (const id of set.row(first + r)) sum += id;
    const last = set.row(first + shard.rows - 1)[3];
    set.close();
    assertEquals(
      new TextDecoder().decode(out.stdout).trim(),
      `memmap <u2 (${shard.rows}, ${LENGTH}) 128 ${sum} ${last}`,
    );
  },
});

Deno.test({
  name: pyarrow
    ? "shards: pyarrow reads where documents lie in NumPy's rows"
    : "shards: pyarrow reads where documents lie in NumPy's rows (skipped: no python3 pyarrow)",
  ignore: !pyarrow,
  fn: async () => {
    using corpus = standard();
    const manifest = await corpus.build();
    const shard = manifest.splits.train.shards[1]!;
    const script = `
import json, sys, numpy, pyarrow.parquet
rows = numpy.load(sys.argv[1], mmap_mode="r")
table = pyarrow.parquet.read_table(sys.argv[2])
found = {}
for p in table.to_pylist():
    ids = rows[p["row"], p["start"]:p["start"] + p["length"]].tolist()
    assert len(found.setdefault(p["pmid"], [])) == p["chunk"]
    found[p["pmid"]].append(ids)
print(json.dumps({
    "schema": [f"{f.name} {f.type}" for f in table.schema],
    "documents": {pmid: sum(parts, []) for pmid, parts in found.items()},
}))`;
    const files = [shard.tokens_file, shard.documents_file]
      .map(({ path }) => join(corpus.folder, "shards", path));
    const out = new Deno.Command("python3", { args: ["-c", script, ...files] }).outputSync();
    const { schema, documents } = JSON.parse(new TextDecoder().decode(out.stdout));
    assertEquals(schema, [
      "pmid int32",
      "version int32",
      "row int32",
      "start int32",
      "length int32",
      "chunk int32",
      "source string",
    ]);
    assertEquals(Object.keys(documents).length, shard.documents);
    for (const [pmid, ids] of Object.entries(documents)) {
      const { text } = corpus.documents.get(Number(pmid))!;
      assertEquals(ids, [corpus.tokenizer.endOfText, ...corpus.tokenizer.encode(text)]);
    }
  },
});

Deno.test("tokens that do not fit in memory are read back from disk, which keeps none", () => {
  const folder = Deno.makeTempDirSync();
  const path = join(folder, "x.blocks");
  try {
    const blocks = new TokenBlocks(path, { blockTokens: 16, held: 2 });
    const documents = Array.from(
      { length: 60 },
      (_, i) => Uint16Array.from({ length: i % 7 === 6 ? 40 : 1 + i % 11 }, (_, t) => i * 100 + t),
    );
    const starts = documents.map((document) => {
      const { block, at } = blocks.reserve(document.length + 3);
      block.set(document, at);
      return blocks.keep(document.length);
    });
    assert(exists(`${path}.partial`));
    for (const i of [59, 0, 13, 58, 6, 30]) {
      const out = new Uint16Array(documents[i]!.length);
      blocks.copy(starts[i]!, out);
      assertEquals(out, documents[i]!);
    }
    assertEquals(blocks.total, documents.reduce((n, d) => n + d.length, 0));
    blocks.close();
    assertEquals([...Deno.readDirSync(folder)], []);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
