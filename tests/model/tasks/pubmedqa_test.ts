import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { accuracy, macroF1 } from "../../../model/tasks/core/classification.ts";
import {
  PUBMEDQA_LABELS,
  type PubmedqaExample,
  pubmedqaFolds,
  pubmedqaPrompt,
  readPubmedqa,
} from "../../../model/tasks/pubmedqa/pubmedqa.ts";
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "../../assert.ts";
import { SHARED, sharedTest } from "../../shared.ts";
import { withFolder, writeJson } from "../helpers.ts";

const entry = (final_decision: string, more = {}) => ({
  QUESTION: "Does it?",
  CONTEXTS: ["We looked. ", "We found."],
  LABELS: ["METHODS", "RESULTS"],
  final_decision,
  ...more,
});

sharedTest("data/eval/pubmedqa", "pubmedqa: the official halves and the majority's score", () => {
  const { train, test } = readPubmedqa(join(SHARED, "data/eval/pubmedqa"));
  assertEquals([train.length, test.length], [500, 500]);
  const count = (list: PubmedqaExample[]) =>
    PUBMEDQA_LABELS.map((_, label) => list.filter((e) => e.label === label).length);
  assertEquals(count(test), [276, 169, 55]);
  assertEquals(count(train), [276, 169, 55]);
  const always = { gold: test.map((e) => e.label), predicted: test.map(() => 0) };
  assertEquals(accuracy(always), 0.552);
  assertAlmostEquals(macroF1(always, 3), 2 * 276 / (500 + 276) / 3, 1e-12);
  const folds = pubmedqaFolds(train, 0);
  for (let fold = 0; fold < 10; fold++) {
    const own = train.filter((_, i) => folds[i] === fold);
    assertEquals(own.length, 50);
    const [yes, no, maybe] = count(own);
    assert(yes! >= 27 && yes! <= 28 && no! >= 16 && no! <= 17 && maybe! >= 5 && maybe! <= 6);
  }
});

Deno.test("pubmedqaPrompt() is BioMamba's, with the sections' headings", () => {
  const example = { pmid: "1", question: " Does it? ", label: 0 };
  const contexts = ["We looked. ", "We found."];
  assertEquals(
    pubmedqaPrompt({ ...example, contexts, headings: ["METHODS", "RESULTS"] }),
    "Answer the following biomedical research question with yes, no, or maybe based on the " +
      "provided context.\n\nQuestion: Does it?\n\nContext:\nMETHODS: We looked.\n\n" +
      "RESULTS: We found.\n\nAnswer:",
  );
  assert(pubmedqaPrompt({ ...example, contexts, headings: [] }).includes(":\nWe looked.\n\nWe f"));
});

Deno.test("readPubmedqa() splits by the test file, and orders by PMID", () =>
  withFolder((folder) => {
    writeJson(folder, "ori_pqal.json", {
      "100": entry("no"),
      "20": entry("yes"),
      "3": entry("maybe"),
    });
    writeJson(folder, "test_ground_truth.json", { "20": "yes" });
    const { train, test } = readPubmedqa(folder);
    assertEquals(train.map((e) => [e.pmid, e.label]), [["3", 2], ["100", 1]]);
    assertEquals(test.map((e) => [e.pmid, e.label]), [["20", 0]]);
    assertEquals(test[0]!.headings, ["METHODS", "RESULTS"]);
  }));

Deno.test("readPubmedqa() finds questions and the test's by what is in files of other names", () =>
  withFolder((folder) => {
    const questions = { "20": entry("Yes"), "3": entry("maybe"), "100": entry("no") };
    writeJson(folder, "questions.json", questions);
    writeJson(folder, "held.json", { "20": "yes" });
    const pmids = ({ train, test }: ReturnType<typeof readPubmedqa>) =>
      [train, test].map((half) => half.map((e) => e.pmid));
    assertEquals(pmids(readPubmedqa(folder)), [["3", "100"], ["20"]]);
    Deno.removeSync(join(folder, "held.json"));
    assertThrows(() => readPubmedqa(folder), UserError, "ori_pqal.json does not exist");
    Deno.removeSync(join(folder, "questions.json"));
    writeJson(folder, "train_set.json", { "3": entry("maybe") });
    writeJson(folder, "dev_set.json", { "100": entry("no") });
    writeJson(folder, "test_set.json", { "20": entry("yes") });
    assertEquals(pmids(readPubmedqa(folder)), [["3", "100"], ["20"]]);
  }));

Deno.test("pubmedqaFolds() depends on the seed alone", () => {
  const train = Array.from({ length: 100 }, (_, i): PubmedqaExample => ({
    pmid: `${i}`,
    question: "?",
    contexts: [],
    headings: [],
    label: i % 3,
  }));
  assertEquals(pubmedqaFolds(train, 4), pubmedqaFolds(train, 4));
  assert(pubmedqaFolds(train, 4).join() !== pubmedqaFolds(train, 5).join());
});

Deno.test("readPubmedqa() names the file and the PMID of what is wrong", () =>
  withFolder((folder) => {
    const says = (words: string) => assertThrows(() => readPubmedqa(folder), UserError, words);
    says("ori_pqal.json does not exist");
    const write = (data: unknown, truth: unknown) => {
      writeJson(folder, "ori_pqal.json", data);
      writeJson(folder, "test_ground_truth.json", truth);
    };
    write({ "7": entry("perhaps") }, {});
    says('the entry of PMID 7 has the "final_decision" "perhaps"');
    write({ "7": entry("yes", { CONTEXTS: "text" }) }, {});
    says('the entry of PMID 7 has no list of strings "CONTEXTS"');
    write({ "7": entry("yes") }, { "7": "no" });
    says('its answer "no" to PMID 7 is "yes"');
    write({ "7": entry("yes") }, { "8": "no" });
    says('its answer "no" to PMID 8 is missing');
    write({ seven: entry("yes") }, {});
    says("the entry of PMID seven is not named by a PMID");
  }));
