import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import {
  contaminationPath,
  findContamination,
  readHeldOut,
  withoutHeldOut,
  writeContamination,
} from "../../pipeline/overlap/contamination.ts";
import { readEvaluationItems } from "../../pipeline/overlap/evaluation_items.ts";
import { assertEquals, assertRejects, assertThrows } from "../assert.ts";

const word = (i: number) => `word${i}`;
const sentence = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => word(from + i)).join(" ");

async function withFiles(
  files: Record<string, string>,
  run: (paths: string[], folder: string) => Promise<void>,
): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    const paths = Object.entries(files).map(([name, text]) => {
      Deno.writeTextFileSync(join(folder, name), text);
      return join(folder, name);
    });
    await run(paths, folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test("contamination: by PMID and by runs of 13 words, with spans", async () => {
  const files = {
    "pqa.json": JSON.stringify({ "101": { QUESTION: `Do ${sentence(0, 13)}?`, YEAR: "2011" } }),
    "bioasq.json": JSON.stringify({
      questions: [{
        id: "q7",
        body: sentence(1000, 12),
        documents: ["http://www.ncbi.nlm.nih.gov/pubmed/103"],
        ideal_answer: [sentence(50, 20)],
      }],
    }),
  };
  await withFiles(files, async (paths, folder) => {
    const before = "Über α-things: ";
    const documents = [
      { pmid: 101, text: "Anything at all" },
      // Case and punctuation make no difference.
      { pmid: 102, text: before + sentence(0, 13).toUpperCase().replaceAll(" ", ", ") + ". More." },
      { pmid: 103, text: "Named by a URL" },
      { pmid: 104, text: sentence(0, 12) + " other " + sentence(1000, 12) },
      { pmid: 105, text: `First.\n\n${sentence(52, 16)} end` },
    ];
    const report = await findContamination(documents, paths);
    assertEquals(report.held_out_by_pmid, [101, 103]);
    assertEquals(report.held_out_by_overlap, [102, 105]);
    assertEquals([report.documents_checked, report.documents_held_out], [5, 4]);
    assertEquals(report.overlaps.map((o) => [o.pmid, o.file, o.item]), [
      [102, "pqa.json", "101"],
      [105, "bioasq.json", "q7"],
    ]);
    const [first, second] = report.overlaps;
    assertEquals(first!.text, sentence(0, 13).toUpperCase().replaceAll(" ", ", "));
    assertEquals(first!.start, before.length);
    assertEquals(documents[4]!.text.slice(second!.start, second!.end), sentence(52, 16));
    assertEquals(report.against.map((a) => [a.items, a.pmids, a.ngrams]), [[1, 1, 2], [1, 1, 8]]);

    writeContamination(folder, report);
    const held = readHeldOut(folder);
    assertEquals([...held.pmids].sort(), [101, 102, 103, 105]);
    const live = withoutHeldOut({ isLive: () => true }, held);
    assertEquals([101, 104].map((p) => live.isLive("f", p, 1, 0)), [false, true]);

    const kept = await findContamination(documents, paths, { keepOverlaps: true });
    assertEquals([kept.held_out_by_overlap, kept.documents_held_out], [[], 2]);
    assertEquals(kept.overlaps, report.overlaps);
  });
});

Deno.test("contamination: a turn of phrase of many documents is none", async () => {
  const files = { "a.jsonl": JSON.stringify({ text: sentence(0, 14) }) };
  await withFiles(files, async (paths) => {
    const documents = Array.from({ length: 12 }, (_, i) => ({
      pmid: i + 1,
      text: sentence(0, i === 5 ? 14 : 13), // one document has a run of its own besides
    }));
    const report = await findContamination(documents, paths);
    assertEquals(report.held_out_by_overlap, [6]);
    assertEquals((await findContamination(documents.slice(0, 5), paths)).overlaps.length, 5);
  });
});

Deno.test("contamination: evaluation files of many layouts", async () => {
  const files = {
    "a.jsonl": '{"pmid": 7, "sentence": "one two", "label": 1}\n\n{"id": "x", "pmid": "8"}\n',
    "b.txt": "55|t|A title\n55|a|An abstract.\n55\t0\t5\tx\n\nNext paragraph\n",
    "c.tsv": "Aspirin\tB\nhelps\tO\n\nNot\tO\n",
    "d.json": '[{"q": "why"}, {"q": "see https://pubmed.ncbi.nlm.nih.gov/99/"}]',
  };
  await withFiles(files, (paths) => {
    const [a, b, c, d] = paths.map(readEvaluationItems);
    assertEquals(a, [
      { id: "line 1", pmids: [7], texts: ["one two"] },
      { id: "x", pmids: [8], texts: ["x"] },
    ]);
    assertEquals(b!.map((i) => [i.id, i.pmids]), [["line 1", [55, 55]], ["line 5", []]]);
    assertEquals(c!.map((i) => i.texts), [["Aspirin helps "], ["Not "]]);
    assertEquals(d!.map((i) => [i.id, i.pmids]), [["0", []], ["1", [99]]]);
    return Promise.resolve();
  });
});

Deno.test("contamination: bad files are refused", async () => {
  await withFiles({ "e.json": "[]", "f.jsonl": "{" }, async ([empty, broken], folder) => {
    await assertRejects(() => findContamination([], [empty!]), UserError, "it has no items");
    await assertRejects(() => findContamination([], [broken!]), UserError, "line 1");
    assertEquals(readHeldOut(folder).pmids.size, 0);
    Deno.writeTextFileSync(contaminationPath(folder), "{}");
    assertThrows(() => readHeldOut(folder), UserError, "pipeline decontaminate");
  });
});
