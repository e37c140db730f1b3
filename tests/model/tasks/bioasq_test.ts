import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import {
  BIOASQ_MEASURES,
  bioasqItems,
  bioasqMeasures,
  type BioasqQuestion,
  type BioasqScores,
  type BioasqType,
  readBioasq,
  scoreBioasq,
  verdictOf,
} from "../../../model/tasks/bioasq/bioasq.ts";
import {
  generateAnswers,
  generationExamples,
  generationPrompt,
  parseGenerated,
  submission,
} from "../../../model/tasks/bioasq/bioasq_answers.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { ReferenceRecurrentModel } from "../../../model/mamba/reference.ts";
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "../../assert.ts";
import { SHARED, sharedTest } from "../../shared.ts";
import { byteTokenizer, givenOf, MINIATURE_READER } from "./helpers.ts";
import { makeReference, withFolder } from "../helpers.ts";
import { bioasq } from "../../../model/tasks/bioasq/task.ts";

interface Question {
  id: string;
  type?: string;
  exact_answer?: unknown;
}

/** Writes both files, reads them back and scores them. */
function score(gold: Question[], system: Question[]): BioasqScores {
  const folder = Deno.makeTempDirSync();
  try {
    const write = (name: string, questions: Question[]) => {
      const path = join(folder, name);
      Deno.writeTextFileSync(path, JSON.stringify({ questions }));
      return readBioasq(path, name);
    };
    return bioasqMeasures(scoreBioasq(write("gold", gold), write("system", system)));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

const yesno = (...answers: unknown[]): Question[] =>
  answers.map((exact_answer, i) => ({ id: `y${i}`, type: "yesno", exact_answer }));
const factoid = (exact_answer: unknown): Question[] => [{ id: "f", type: "factoid", exact_answer }];
const list = (exact_answer: unknown): Question[] => [{ id: "l", type: "list", exact_answer }];

sharedTest("data/eval/bioasq-parity", "bioasq: the official scorer's ten numbers, exactly", () => {
  const folder = join(SHARED, "data/eval/bioasq-parity");
  const expected = JSON.parse(Deno.readTextFileSync(join(folder, "expected.json")));
  const gold = readBioasq(join(folder, "gold.json"), "gold file");
  const system = readBioasq(join(folder, "system.json"), "system file");
  const measures = bioasqMeasures(scoreBioasq(gold, system));
  assertEquals(Object.keys(measures), expected.columns);
  assertEquals(Object.values(measures), expected.values);
  assertEquals([...BIOASQ_MEASURES], expected.columns);
});

Deno.test("verdictOf() looks for yes, then for no, as substrings", () => {
  const words = ["Yes", "yes, it does", "NO", "unknown", "not yes", "maybe", ""];
  const verdicts = ["yes", "yes", "no", "no", "yes", "none", "none"];
  assertEquals(words.map(verdictOf) as string[], verdicts);
});

Deno.test("bioasq: yes/no accuracy and macro F1 by hand", () => {
  // Gold: 3 yes, 2 no. Right: 2 yes, 1 no; 2 wrong. F1 yes = 4 / 6, F1 no = 2 / 4.
  const scores = score(yesno("yes", "yes", "yes", "no", "no"), [
    ...yesno("yes", "Yes.", "no", "none of it"),
    { id: "y4", exact_answer: "yes" },
  ]);
  assertEquals(scores.yesno_acc, 0.6);
  assertAlmostEquals(scores.yesno_f1_yes, 4 / 6, 1e-12);
  assertAlmostEquals(scores.yesno_f1_no, 2 / 4, 1e-12);
  assertAlmostEquals(scores.yesno_macro_f1, 7 / 12, 1e-12);
});

Deno.test("bioasq: an answer that says neither counts against both labels", () => {
  const scores = score(yesno("yes", "no"), yesno("yes", "perhaps"));
  assertEquals(scores.yesno_acc, 0.5);
  assertAlmostEquals(scores.yesno_f1_yes, 2 / 3, 1e-12);
  assertEquals(scores.yesno_f1_no, 0);
});

Deno.test("bioasq: a missing answer stays in the denominator", () => {
  assertEquals(score(yesno("yes", "yes", "no", "no"), yesno("yes")).yesno_acc, 0.25);
  assertEquals(score([...factoid([["a"]]), { ...list([["b"]])[0]! }], factoid([["a"]])).list_f1, 0);
  const half = score([...factoid([["a"]]), { ...factoid([["b"]])[0]!, id: "g" }], [
    { id: "f", exact_answer: [["a"]] },
    { id: "g", exact_answer: null },
  ]);
  assertEquals([half.factoid_strict, half.factoid_lenient, half.factoid_mrr], [0.5, 0.5, 0.5]);
});

Deno.test("bioasq: factoids by rank, on any golden synonym, without regard to case", () => {
  const factoids = (answer: unknown) => {
    const s = score(factoid([["BRCA1", "breast cancer 1"], ["BRCC1"]]), factoid(answer));
    return [s.factoid_strict, s.factoid_lenient, s.factoid_mrr];
  };
  assertEquals(factoids([["Breast Cancer 1"], ["x"]]), [1, 1, 1]);
  assertEquals(factoids([["x"], ["y"], ["brcc1"]]), [0, 1, 1 / 3]);
  assertEquals(factoids([["brca1 gene"]]), [0, 0, 0]); // equality: no stemming, no substring
  assertEquals(factoids([]), [0, 0, 0]);
  assertEquals(factoids([[], ["brca1"]]), [1, 1, 1]); // an empty answer holds no rank
  // Since BioASQ 5 a system's own synonyms do not count.
  assertEquals(factoids([["x", "brca1"]]), [0, 0, 0]);
});

Deno.test("bioasq: each list answer consumes the golden synonyms it matches", () => {
  const lists = (gold: unknown, answer: unknown) => {
    const s = score(list(gold), list(answer));
    return [s.list_precision, s.list_recall, s.list_f1];
  };
  const gold = [["a1", "a-one"], ["b"], ["c"]];
  // Two hits, z wrong, and the second c wrong because the first consumed it.
  const [precision, recall, f1] = lists(gold, [["A-One"], ["c"], ["z"], ["c"]]);
  assertEquals([precision, recall], [0.5, 2 / 3]);
  assertAlmostEquals(f1!, 4 / 7, 1e-12);
  assertEquals(lists(gold, [["a1"], ["a-one"]]).slice(0, 2), [0.5, 1 / 3]);
  assertEquals(lists(gold, [["b"], ["c"], ["a1"]]), [1, 1, 1]);
  // Nothing said and nothing right: 0 and not NaN.
  assertEquals(lists(gold, []), [0, 0, 0]);
  assertEquals(lists(gold, [["z"]]), [0, 0, 0]);
  assertEquals(lists([], [["z"]]), [0, 0, 0]);
});

Deno.test("bioasq: list F1 is the mean of the questions' F1, not the F1 of the means", () => {
  const gold = [...list([["a"]]), { id: "m", type: "list", exact_answer: [["a"], ["b"]] }];
  const scores = score(gold, [...list([["a"]]), { id: "m", exact_answer: [["a"], ["z"]] }]);
  assertEquals([scores.list_precision, scores.list_recall, scores.list_f1], [0.75, 0.75, 0.75]);
  const worse = score(gold, list([["a"]]));
  assertEquals([worse.list_precision, worse.list_recall, worse.list_f1], [0.5, 0.5, 0.5]);
});

Deno.test("bioasq: measures without a question of their type are 0", () => {
  const scores = score(yesno("yes"), yesno("yes"));
  assertEquals(scores.yesno_acc, 1);
  assertEquals([scores.factoid_mrr, scores.list_f1, scores.yesno_f1_no], [0, 0, 0]);
  assertEquals(scores.yesno_macro_f1, 0.5);
});

Deno.test("bioasq: summaries and unanswered gold questions are left out", () => {
  const gold = [...yesno("yes"), { id: "s", type: "summary" }, { id: "u", type: "list" }];
  const scores = score(gold, [...yesno("yes"), { id: "s" }, { id: "u", exact_answer: [["x"]] }]);
  assertEquals([scores.yesno_acc, scores.list_precision], [1, 0]);
});

Deno.test("bioasq: what cannot be scored says why", () => {
  const says = (gold: Question[], system: Question[], words: string) =>
    assertThrows(() => score(gold, system), UserError, words);
  says(yesno("yes"), [{ id: "other", exact_answer: "yes" }], '"other"');
  says(yesno("yes"), [...yesno("yes"), ...yesno("no")], 'id "y0" appears twice');
  says([{ id: "a", type: "essay" }], [], 'the type "essay"');
  says([{ id: "a", exact_answer: "yes" }], [], 'gives it no "type"');
  says(factoid("insulin"), [], "does not fit its type factoid");
  says(yesno([["yes"]]), [], "does not fit its type yesno");
  says([{ id: "a", type: "summary" }], [], 'no question of the gold file has an "exact_answer"');
  says(list([[{ name: "x" }]]), [], 'question "l" has an "exact_answer" that is neither');
});

Deno.test("readBioasq() names the file that is no BioASQ file", () => {
  const path = Deno.makeTempFileSync({ suffix: ".json" });
  try {
    const says = (text: string, words: string) => {
      Deno.writeTextFileSync(path, text);
      const error = assertThrows(() => readBioasq(path, "system file"), UserError, words);
      assertEquals(error.message.includes(path), true);
    };
    says('{"questions": [', "not valid JSON");
    says("[]", 'no "questions" array');
    says('{"questions": [7]}', 'entry 1 of "questions" is not an object');
    says('{"questions": [{"type": "yesno"}]}', 'entry 1 of "questions" has no "id"');
  } finally {
    Deno.removeSync(path);
  }
  assertThrows(() => readBioasq(path, "gold file"), UserError, "there is no such file");
});

Deno.test("bioasqItems() asks the yes/no questions with their snippets, each once", () => {
  const question = (id: string, type: string, exact_answer: unknown, more = {}) => ({
    id,
    type,
    exact_answer,
    body: "Is it?",
    ...more,
  });
  const path = Deno.makeTempFileSync({ suffix: ".json" });
  try {
    const snippets = ["It is. ", "It is.", "It was."].map((text) => ({ text, document: "d" }));
    Deno.writeTextFileSync(
      path,
      JSON.stringify({
        questions: [
          question("a", "yesno", "no", { snippets }),
          question("b", "factoid", [["x"]]),
          question("c", "yesno", undefined),
        ],
      }),
    );
    assertEquals(bioasqItems(readBioasq(path, "gold file")), [{
      id: "a",
      prompt: "Answer the following biomedical research question with yes or no based on the " +
        "provided context.\n\nQuestion: Is it?\n\nContext:\nIt is.\n\nIt was.\n\nAnswer:",
      gold: 1,
    }]);
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test("parseGenerated() reads a name, or names by line, each once", () => {
  const parse = (text: string, type: "factoid" | "list") => parseGenerated(text, type).lists.flat();
  assertEquals(parse(" \n Insulin.\nQuestion: next", "factoid"), ["insulin"]);
  assertEquals(parse("", "factoid"), []);
  assertEquals(parse(" BRCA1\nTP53\nbrca1\nIL-2.", "list"), ["brca1", "tp53", "il-2"]);
  // Names hold commas, semicolons and "and": only a line ends one.
  assertEquals(parse(" 1,2-dichloroethane\nMaturity, onset; young\nhand and foot\n", "list"), [
    "1,2-dichloroethane",
    "maturity, onset; young",
    "hand and foot",
  ]);
  assertEquals(parse(" - 5-HT\n 2) p53", "list"), ["5-ht", "p53"]);
  assertEquals(
    parse(Array.from({ length: 150 }, (_, i) => `x${i}`).join("\n"), "list").length,
    100,
  );
});

Deno.test("all four kinds of question are taught, one item per line, with an end", () => {
  const tokenizer = byteTokenizer();
  const question = (type: BioasqType, rest: Partial<BioasqQuestion>): BioasqQuestion => ({
    id: type,
    type,
    body: "Which?",
    snippets: [],
    answer: undefined,
    ...rest,
  });
  const questions = [
    question("factoid", { answer: { lists: [["il-2", "interleukin 2"], ["other"]] } }),
    question("list", { answer: { lists: [["1,2-x", "y"], ["hand and foot"]] } }),
    question("summary", { ideal: ["It is so.", "So it is."] }),
    question("yesno", { answer: { verdict: "yes", lists: [] } }),
  ];
  const examples = generationExamples(questions, tokenizer, 512);
  const learned = examples.map(({ targets }) => targets.filter((t) => t >= 0));
  assertEquals(learned.map((t) => t.at(-1)), [0, 0, 0].map(() => tokenizer.endOfText));
  assertEquals(learned.map((t) => tokenizer.decode(Uint32Array.from(t.slice(0, -1)))), [
    " il-2",
    " 1,2-x\nhand and foot",
    " It is so.",
  ]);
  // What is taught is read back as the same items.
  assertEquals(parseGenerated(" 1,2-x\nhand and foot", "list").lists, [["1,2-x"], [
    "hand and foot",
  ]]);
  const [approach] = bioasq.approaches;
  const reader = { tokenizer, labels: ["yes", "no"], maxTokens: 512 };
  assertEquals(approach!.examples(questions, reader).length, 4);
  // A long answer leaves half of the row to its question.
  const long = question("summary", { ideal: ["x".repeat(900)] });
  const [cut] = generationExamples([long], tokenizer, 128);
  assertEquals(cut!.targets.filter((t) => t >= 0).length, 64);
  assert(cut!.tokens.length <= 128 && cut!.cut! > 0);
});

Deno.test("finetune bioasq reads every kind and reports the ten measures", () =>
  withFolder(async (dir) => {
    const questions = Array.from({ length: 44 }, (_, i) => {
      const type = ["yesno", "factoid", "list", "summary"][i % 4]!;
      const exact = { yesno: i % 8 ? "yes" : "no", factoid: [["a"]], list: [["a"], ["b"]] };
      return {
        id: `q${i}`,
        type,
        body: `Which ${i}?`,
        ideal_answer: ["It is."],
        exact_answer: exact[type as keyof typeof exact],
      };
    });
    const train = join(dir, "train.json");
    const test = join(dir, "test.json");
    Deno.writeTextFileSync(train, JSON.stringify({ questions }));
    Deno.writeTextFileSync(test, JSON.stringify({ questions: questions.slice(0, 4) }));
    const given = givenOf({ data: train, test, fold: 0 });
    const data = bioasq.read(given, "finetune");
    const kinds = (list: BioasqQuestion[]) => new Set(list.map((q) => q.type)).size;
    assertEquals([kinds(data.train), kinds(data.develop), kinds(data.test)], [4, 4, 3]);
    assertEquals(data.train.length + data.develop.length, 40);
    const { tokenizer, labels } = { tokenizer: byteTokenizer(), labels: data.labels };
    const made = await makeReference(MINIATURE_READER, { batchSize: 2, sequenceLength: 256 });
    made.model.writeParameters(initialParameters(MINIATURE_READER, 2));
    const reader = { tokenizer, labels, maxTokens: 256 };
    const [approach] = bioasq.approaches;
    const { score, loss } = await approach!.develop!(data.develop, made, reader);
    assert(score >= 0 && score <= 1 && loss > 0 && Number.isFinite(loss), `${score} ${loss}`);
    const answers = await approach!.answer(data.test, made, reader);
    const report = bioasq.report({
      data,
      systems: [
        { role: "model", name: "m", answers },
        { role: "base", name: "b", answers },
      ],
      purpose: "finetune",
      given,
      seed: 0,
    });
    for (const name of BIOASQ_MEASURES) {
      assert(typeof report.json[name] === "number", name);
      assert(Array.isArray(report.results!.fields[`${name}_ci95,none`]), name);
    }
    assertEquals(report.json.questions, { yesno: 1, factoid: 1, list: 1 });
    const comparison = report.json.comparison as Record<string, { difference: number }>;
    assertEquals(comparison.factoid_mrr!.difference, 0);
  }));

Deno.test("generateAnswers() answers factoids and lists, and submits them", async () => {
  const question = (id: string, type: "yesno" | "factoid" | "list") => ({
    id,
    type,
    body: "Which?",
    snippets: ["That."],
    answer: { lists: [["that"]] },
  });
  const questions = [question("y", "yesno"), question("f", "factoid"), question("l", "list")];
  assertEquals(
    generationPrompt(questions[2]!),
    "Answer the following biomedical research question with a list of names, one per line, " +
      "based on the provided context.\n\nQuestion: Which?\n\nContext:\nThat.\n\nAnswer:",
  );
  const model = new ReferenceRecurrentModel(
    MINIATURE_READER,
    initialParameters(MINIATURE_READER, 1),
  );
  const answered = await generateAnswers(questions, model, byteTokenizer(), 256);
  assertEquals(answered.map((q) => q.id), ["f", "l"]);
  const again = await generateAnswers(questions, model, byteTokenizer(), 256);
  assertEquals(again, answered);
  assertEquals(submission([{ ...questions[0]!, answer: { verdict: "no", lists: [] } }]), {
    questions: [{ id: "y", type: "yesno", body: "Which?", exact_answer: "no" }],
  });
});
