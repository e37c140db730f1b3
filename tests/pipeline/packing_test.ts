import { join } from "../../core/std.ts";
import { loadTokenizer } from "../../pipeline/tokenizer/mod.ts";
import { pack, type PackingMethod } from "../../pipeline/shards/packing.ts";
import { paddingNotice, type SplitEntry } from "../../pipeline/shards/mod.ts";
import { assert, assertEquals, assertMatch } from "../assert.ts";
import { integers } from "../random.ts";
import { SHARED, sharedTest } from "../shared.ts";

/** Lengths like PubMed abstracts': about 340 tokens, few above 700, very few above 1,024. */
function abstractLengths(count: number): number[] {
  const random = integers(7);
  return Array.from({ length: count }, () => {
    const bell = random(230) + random(230) + random(230);
    return random(1200) === 0 ? 1025 + random(2000) : 20 + bell;
  });
}

/** Checks what every packing must keep: each token of each document once and in order. */
function check(lengths: number[], rowLength: number, method: PackingMethod): void {
  const rows = pack(lengths, rowLength, method);
  const next = lengths.map(() => 0);
  const chunks = lengths.map(() => 0);
  for (const row of rows) {
    let column = 0;
    assert(row.length > 0, "an empty row");
    for (const piece of row) {
      assertEquals(piece.start, column);
      column += piece.length;
    }
    assert(column <= rowLength, `a row of ${column}`);
  }
  const pieces = rows.flat().sort((a, b) => a.document - b.document || a.chunk - b.chunk);
  for (const { document, chunk, from, length, start } of pieces) {
    assertEquals([from, chunk], [next[document], chunks[document]]);
    chunks[document]!++;
    next[document]! += length;
    if (chunk > 0) assertEquals(start, 0);
  }
  assertEquals(next, lengths);
}

Deno.test("packing: every token once, in order, rests at the beginning of rows", () => {
  const random = integers(3);
  for (const rowLength of [2, 16, 33, 128]) {
    const lengths = Array.from({ length: 500 }, () => 1 + random(rowLength * 3));
    for (const method of ["best-fit", "concatenate", "one-per-row"] as const) {
      check(lengths, rowLength, method);
    }
  }
  check([1024, 1, 1023, 2048, 2049], 1024, "best-fit");
  assertEquals(pack([], 8), []);
});

Deno.test("packing: best fit splits and pads little on abstracts at 1,024", () => {
  const lengths = abstractLengths(65_536);
  const rows = pack(lengths, 1024);
  const tokens = lengths.reduce((a, b) => a + b);
  const padding = 1 - tokens / (rows.length * 1024);
  const split = lengths.filter((n) => n > 1024).length / lengths.length;
  assert(padding < 0.015, `padding ${padding}`);
  assert(split < 0.002, `split ${split}`);
  const cut = pack(lengths, 1024, "concatenate").flat().filter((p) => p.chunk === 1).length;
  assert(cut / lengths.length > 0.2, `concatenation cuts ${cut}`);
});

Deno.test("packing: the fullest row that has room is taken", () => {
  const rows = pack([6, 3, 2, 5], 8).map((row) => row.map((p) => p.document));
  assertEquals(rows, [[0, 2], [3, 1]]);
});

sharedTest("data/pubmed/truth", "packing: real abstracts at 1,024", () => {
  const tokenizer = loadTokenizer(join(SHARED, "data/tokenizer/gpt-neox-20b.tokenizer.json"));
  const texts: string[] = [];
  const truth = join(SHARED, "data/pubmed/truth");
  for (const { name } of Deno.readDirSync(truth)) {
    if (!name.endsWith(".jsonl")) continue;
    for (const line of Deno.readTextFileSync(join(truth, name)).trim().split("\n")) {
      const { title, abstract } = JSON.parse(line);
      if (abstract) texts.push(`${title ?? ""}\n\n${abstract}`);
    }
  }
  const items = JSON.parse(
    Deno.readTextFileSync(join(SHARED, "data/eval/pubmedqa/ori_pqal.json")),
  ) as Record<string, { QUESTION: string; CONTEXTS: string[]; LONG_ANSWER: string }>;
  for (const { QUESTION, CONTEXTS, LONG_ANSWER } of Object.values(items)) {
    texts.push(`${QUESTION}\n\n${CONTEXTS.join(" ")} ${LONG_ANSWER}`);
  }
  const lengths = texts.map((text) => 1 + tokenizer.encode(text).length);
  const random = integers(3);
  const window = Array.from({ length: 65_536 }, () => lengths[random(lengths.length)]!);
  // As they are, and as many as a window holds, drawn from them.
  for (const documents of [lengths, window]) {
    const rows = pack(documents, 1024);
    const tokens = documents.reduce((a, b) => a + b);
    const split = rows.flat().filter(({ chunk }) => chunk === 1).length / documents.length;
    const padding = 1 - tokens / (rows.length * 1024);
    assert(split < 0.002 && padding < 0.015, `${split} split, ${padding} padding`);
  }
});

Deno.test("packing: a notice names the remedy where much of the rows is padding", () => {
  const random = integers(5);
  const lengths = Array.from({ length: 500 }, () => 300 + random(60)); // two fill a row of 720
  const noticeOf = (sequence_length: number, method: PackingMethod) => {
    const split = (rows: number, tokens: number): SplitEntry => ({
      rows,
      tokens,
      documents: lengths.length,
      padding_share: 0,
      split_documents: 0,
      shard_bits: 0,
      shards: [],
    });
    const rows = pack(lengths, sequence_length, method).length;
    return paddingNotice({
      sequence_length,
      packing: { method, seed: 0, window: lengths.length },
      splits: {
        train: split(rows, lengths.reduce((a, b) => a + b)),
        // One short document in a row of its own is no reason to cut others.
        validation: split(1, 10),
        test: split(0, 0),
      },
    });
  };
  assertEquals(noticeOf(720, "best-fit"), undefined);
  assertMatch(
    noticeOf(512, "best-fit") ?? "",
    /^3\d % of the rows is padding, .* rows of 512 tokens: .* --packing concatenate/,
  );
  assert((noticeOf(512, "best-fit") ?? "").length <= 2 * 80, "two lines of a terminal");
  assertEquals(noticeOf(512, "concatenate"), undefined);
});
