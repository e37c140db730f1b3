import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import {
  CHEMPROT_LABELS,
  compareRelations,
  readPubtator,
  readRelationLines,
  readRelations,
  relationItems,
  sumCounts,
} from "../../../model/tasks/relations/relations.ts";
import { assert, assertEquals, assertThrows } from "../../assert.ts";
import { SHARED, sharedTest } from "../../shared.ts";
import { withFolder } from "../helpers.ts";

sharedTest("data/eval/re/chemprot", "readRelations() reads ChemProt whole", () => {
  const sizes = ["train", "dev", "test"].map((split) => {
    const { items: examples } = readRelations(
      join(SHARED, `data/eval/re/chemprot/${split}.jsonl`),
    );
    const known: readonly string[] = CHEMPROT_LABELS;
    assert(examples.every((e) => known.includes(e.label) && e.text.includes("<<")));
    return examples.length;
  });
  assertEquals(sizes, [4169, 2427, 3469]);
});

sharedTest("data/eval/re/bc5cdr-pubtator", "readPubtator() reads the CDR sample whole", () => {
  const documents = readPubtator(join(SHARED, "data/eval/re/bc5cdr-pubtator/CDR_sample.txt"));
  assertEquals(documents.length, 50);
  assertEquals(documents.flatMap((d) => d.mentions).length, 925);
  assertEquals(documents.flatMap((d) => d.relations).length, 124);
  assertEquals(Object.values(sumCounts(compareRelations(documents, documents))), [124, 0, 0]);
});

const PUBTATOR = [
  "12|t|Aspirin and ulcers.",
  "12|a|Ulcers followed.",
  "12\t0\t7\tAspirin\tChemical\tD1",
  "12\t12\t18\tulcers\tDisease\tD2|D3\tulcers",
  "12\tCID\tD1\tD2",
  "12\tCID\tD1\tD3",
  "",
  "13|t|Nothing.",
  "13|a|",
];

Deno.test("readPubtator() reads mentions and relations", () =>
  withFolder((folder) => {
    const path = join(folder, "p.txt");
    Deno.writeTextFileSync(path, PUBTATOR.join("\n"));
    const [first, second] = readPubtator(path);
    assertEquals(first!.mentions[1], {
      start: 12,
      end: 18,
      text: "ulcers",
      type: "Disease",
      ids: ["D2", "D3"],
    });
    assertEquals(first!.relations.map((r) => r.second), ["D2", "D3"]);
    assertEquals([second!.pmid, second!.abstract, second!.relations.length], ["13", "", 0]);

    const says = (line: string, at: number, words: string) => {
      Deno.writeTextFileSync(path, PUBTATOR.toSpliced(at, 1, line).join("\n"));
      assertThrows(() => readPubtator(path), UserError, `line ${at + 1}: ${words}`);
    };
    says(
      "12\t1\t7\tAspirin\tChemical\tD1",
      2,
      'the entity "Aspirin" is said to be at 1-7, where the text has "spirin"',
    );
    says("14\tCID\tD1\tD2", 4, '"14" is not the document\'s id, 12');
    says("12\tCID", 4, '"12\tCID" is neither a mention nor a relation');
  }));

Deno.test("compareRelations(): a document that the system lacks is missed", () => {
  const document = (pmid: string, ...pairs: string[]) => ({
    pmid,
    title: "",
    abstract: "",
    mentions: [],
    relations: pairs.map((p) => ({ type: "CID", first: p[0]!, second: p[1]! })),
  });
  const gold = [document("1", "ab", "ac"), document("2", "de")];
  const counts = compareRelations(gold, [document("1", "ab", "xy", "ab")]);
  assertEquals(counts.map(Object.values), [[1, 1, 1], [0, 0, 1]]);
  assertEquals(Object.values(sumCounts(counts, [0, 0])), [2, 2, 2]);
  assertThrows(
    () => compareRelations(gold, [document("3", "ab")]),
    UserError,
    "PMID 3 is not in the gold file",
  );
});

Deno.test("readRelationLines() names the line that is wrong; a null label is no answer", () =>
  withFolder((folder) => {
    const path = join(folder, "r.jsonl");
    const read = (text: string) => {
      Deno.writeTextFileSync(path, text);
      return readRelationLines(path);
    };
    assertEquals(read('{"text":"t","label":"A"}\n\n{"label":null}\n').map((e) => e.label), [
      "A",
      null,
    ]);
    assertThrows(() => read('{"label":"A"}\n{'), UserError, "line 2: it is not JSON");
    assertThrows(() => read('{"text":"t"}'), UserError, 'line 1: it has no "label"');
    read('{"label":"A"}');
    assertThrows(() => readRelations(path), UserError, "line 1: it has no text");
  }));

Deno.test("relationItems() spells labels out, and refuses an unknown one", () => {
  const labels = ["AGONIST", "SUBSTRATE_PRODUCT-OF"];
  const text = "<< A >> makes [[ B ]].";
  const label = "SUBSTRATE_PRODUCT-OF";
  const [item] = relationItems([{ text, label }], labels);
  assertEquals([item!.id, item!.gold], ["1", 1]);
  assertEquals(
    item!.prompt,
    "Name the relation of the two marked entities, the first in << >> and the second in [[ ]], " +
      "as one of: agonist, substrate product of.\n\nSentence:\n<< A >> makes [[ B ]].\n\nAnswer:",
  );
  assertThrows(
    () => relationItems([{ text, label: "FRIEND" }], labels),
    UserError,
    'its label "FRIEND" is not among',
  );
});
