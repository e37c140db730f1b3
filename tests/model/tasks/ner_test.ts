import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { precisionRecall } from "../../../model/tasks/core/classification.ts";
import {
  checkSameText,
  compareEntities,
  countTags,
  entitiesOf,
  entityF1Of,
  readConll,
  sumEntityCounts,
} from "../../../model/tasks/ner/ner.ts";
import { assertAlmostEquals, assertEquals, assertThrows } from "../../assert.ts";
import { SHARED, sharedTest } from "../../shared.ts";
import { withFolder } from "../helpers.ts";

const spans = (...tags: string[]) => entitiesOf(tags).map((e) => `${e.start}-${e.end} ${e.type}`);

sharedTest(
  "data/eval/ner",
  "readConll() counts the sentences and entities of the public sets",
  () => {
    for (
      const [name, sentences, entities] of [
        ["BC5CDR-IOB/test.tsv", 4797, 9809],
        ["NCBI-disease-IOB/test.tsv", 940, 960],
      ] as const
    ) {
      const path = join(SHARED, "data/eval/ner", name);
      const gold = readConll(path);
      const counts = countTags(gold, gold.map((s) => s.tags));
      assertEquals(counts.length, sentences);
      assertEquals(Object.values(sumEntityCounts(counts)), [entities, 0, 0]);
    }
  },
);

Deno.test("entitiesOf() reads B and I tags as conlleval does", () => {
  assertEquals(spans("O", "B-X", "I-X", "O"), ["1-3 X"]);
  assertEquals(spans("B-X", "B-X", "I-X"), ["0-1 X", "1-3 X"]);
  assertEquals(spans("I-X", "I-X", "O", "I-X"), ["0-2 X", "3-4 X"]);
  assertEquals(spans("B-X", "I-Y", "I-Y"), ["0-1 X", "1-3 Y"]);
  assertEquals(spans("O", "O"), []);
});

Deno.test("entity counts by hand: bounds and type must both be right", () => {
  const gold = entitiesOf(["B-X", "I-X", "O", "B-Y", "O", "B-X"]);
  const predicted = entitiesOf(["B-X", "O", "O", "B-Y", "O", "B-Y"]);
  const counts = compareEntities(gold, predicted);
  assertEquals(Object.values(counts.get("X")!), [0, 1, 2]);
  assertEquals(Object.values(counts.get("Y")!), [1, 1, 0]);
  const all = sumEntityCounts([counts]);
  assertEquals(Object.values(all), [1, 2, 2]);
  const { precision, recall, f1 } = precisionRecall(all);
  assertAlmostEquals(precision, 1 / 3, 1e-12);
  assertAlmostEquals(recall, 1 / 3, 1e-12);
  assertAlmostEquals(f1, 1 / 3, 1e-12);
});

Deno.test("F1 of a resample counts a sentence as often as it was drawn", () => {
  const right = compareEntities(entitiesOf(["B-X"]), entitiesOf(["B-X"]));
  const missed = compareEntities(entitiesOf(["B-X"]), []);
  const f1 = entityF1Of([right, missed], "X");
  assertEquals(f1(Uint32Array.of(0, 0)), 1);
  assertAlmostEquals(f1(Uint32Array.of(0, 0, 1)), 4 / 5, 1e-12);
  assertEquals(f1(Uint32Array.of(1)), 0);
});

Deno.test("readConll() takes spaces, CRLF and extra columns, and names a bad line", () =>
  withFolder((folder) => {
    const path = join(folder, "a.tsv");
    const read = (text: string) => {
      Deno.writeTextFileSync(path, text);
      return readConll(path);
    };
    assertEquals(read("-DOCSTART- O\r\n\r\na x B-X\r\nb x O\r\n\r\n\r\nc\tO\r\n"), [
      { tokens: ["a", "b"], tags: ["B-X", "O"], line: 3 },
      { tokens: ["c"], tags: ["O"], line: 7 },
    ]);
    assertThrows(() => read("a\tO\nb\tX\n"), UserError, 'line 2: "b\tX" is not a token and a tag');
    assertThrows(() => read("alone\n"), UserError, "line 1");
    assertThrows(() => readConll(join(folder, "no.tsv")), UserError, "there is no such file");
  }));

Deno.test("checkSameText() names the first token that differs", () => {
  const one = (tokens: string[], line: number) => ({ tokens, tags: tokens.map(() => "O"), line });
  const files = { gold: "g.tsv", system: "s.tsv" };
  const says = (system: string[], words: string) =>
    assertThrows(
      () => checkSameText([one(["a", "b"], 1)], [one(system, 11)], files),
      UserError,
      words,
    );
  says(["a", "c"], `line 12 has "c", the gold file's line 2 has "b"`);
  says(["a"], "line 12 has the sentence's end");
  assertThrows(() => checkSameText([one(["a"], 1)], [], files), UserError, "0 and 1 sentences");
});
