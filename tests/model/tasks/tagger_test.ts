import { UserError } from "../../../core/errors.ts";
import { sha256 } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { openReader } from "../../../model/tasks/core/reader.ts";
import { Dictionary } from "../../../model/tasks/ner/dictionary.ts";
import type { TaggedSentence } from "../../../model/tasks/ner/ner.ts";
import {
  decodeTags,
  entityTypes,
  scoreTags,
  taggingExamples,
  tagPieces,
  tagSet,
  tagsOf,
} from "../../../model/tasks/ner/tagger.ts";
import { FINETUNE_DEFAULTS, finetuneRun } from "../../../model/tasks/core/run.ts";
import { askModel } from "../../../model/tasks/core/evaluate.ts";
import { learnedTask } from "../../../model/tasks/core/finetune.ts";
import type { AnyTask } from "../../../model/tasks/core/task.ts";
import { ner, type TagAnswer } from "../../../model/tasks/ner/task.ts";
import type { NerData } from "../../../model/tasks/ner/types.ts";
import { allUnits } from "../../../model/tasks/core/report.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { ReferenceModel } from "../../../model/mamba/reference.ts";
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "../../assert.ts";
import { byteTokenizer, byteTokenizerJson, givenOf, MINIATURE_READER } from "./helpers.ts";
import { makeReference, silentReporter, withFolder } from "../helpers.ts";

/** A sentence from "word/TAG word ..."; no tag is O. */
function sentence(text: string): TaggedSentence {
  const words = text.split(" ").map((w) => w.split("/"));
  return { tokens: words.map((w) => w[0]!), tags: words.map((w) => w[1] ?? "O"), line: 1 };
}

Deno.test("tagPieces() reads words twice and marks each one's last token", () => {
  const tokenizer = byteTokenizer();
  const [piece, ...rest] = tagPieces(["ab", "no"], tokenizer, 100);
  assertEquals(rest.length, 0);
  assertEquals(tokenizer.decode(piece!.tokens.slice(1)), " ab no\n ab no");
  assertEquals(piece!.tokens[0], tokenizer.endOfText);
  // " no" is one token, " ab" three: boundary, 4 tokens, line end, then 3 + 1.
  assertEquals(piece!.positions, [8, 9]);
});

Deno.test("tagPieces() cuts a sentence that is too long, and refuses a word that is", () => {
  const tokenizer = byteTokenizer();
  const pieces = tagPieces(["ab", "cd", "ef"], tokenizer, 14);
  assertEquals(pieces.map((p) => [p.first, p.positions.length]), [[0, 2], [2, 1]]);
  assert(pieces.every((p) => p.tokens.length <= 14));
  assertThrows(() => tagPieces(["abcdefgh"], tokenizer, 14), UserError, "it takes 20 tokens");
});

Deno.test("tagging examples aim at tag tokens at the words' ends alone", () => {
  const tokenizer = byteTokenizer();
  const set = tagSet(tagsOf(["X"]), tokenizer);
  assertEquals(set.tags, ["O", "B-X", "I-X"]);
  assertEquals(set.ids.map((id) => tokenizer.decode([id])), ["0", "1", "2"]);
  const [example] = taggingExamples([sentence("ab/B-X no")], set, tokenizer, 100);
  const aims = example!.targets.flatMap((target, at) => target < 0 ? [] : [[at, target]]);
  assertEquals(aims, [[8, set.ids[1]], [9, set.ids[0]]]);
  assertThrows(
    () => tagSet(tagsOf(Array.from({ length: 18 }, (_, i) => `T${i}`)), tokenizer),
    UserError,
    "Cannot tag 18 entity types: at most 17",
  );
});

Deno.test("scoreTags() does not depend on how sentences are packed", async () => {
  const tokenizer = byteTokenizer();
  const set = tagSet(tagsOf(["X"]), tokenizer);
  const sentences = ["ab no", "c", "de yes no x"].map(sentence);
  const scored = await Promise.all([[3, 64], [1, 24]].map(async ([rows, length]) => {
    const model = new ReferenceModel(MINIATURE_READER, rows!, length!);
    model.writeParameters(initialParameters(MINIATURE_READER, 1));
    return await scoreTags(sentences, set, model, tokenizer);
  }));
  assertEquals(scored[0]!.map((s) => s.map((w) => w.length)), [[3, 3], [3], [3, 3, 3, 3]]);
  scored[0]!.flat(2).forEach((v, i) => assertAlmostEquals(v, scored[1]!.flat(2)[i]!, 1e-6));
});

Deno.test("decodeTags() finds the best well-formed tags", () => {
  const tags = ["O", "B-X", "I-X", "B-Y", "I-Y"];
  const word = (best: number, second = -1) =>
    tags.map((_, t) => t === best ? 0 : t === second ? -1 : -5);
  const decode = (...words: number[][]) => decodeTags(words, tags).join(" ");
  assertEquals(decode(word(1), word(2), word(0)), "B-X I-X O");
  // An I cannot begin: its B, the second choice, is cheaper than any other way out.
  assertEquals(decode(word(2, 1), word(2)), "B-X I-X");
  assertEquals(decode(word(0), word(4, 3)), "O B-Y");
  // I-Y after B-X: both words change type rather than neither.
  assertEquals(decode(word(1, 3), word(4)), "B-Y I-Y");
  assertEquals(decode(), "");
});

Deno.test("Dictionary finds training entities again, the longest first", () => {
  const dictionary = new Dictionary([
    sentence("renal/B-Y failure/I-Y of failure/B-X failure/B-X failure/B-Y"),
  ]);
  const tag = (text: string) => dictionary.tag(text.split(" ")).join(" ");
  assertEquals(tag("acute Renal failure"), "O B-Y I-Y");
  assertEquals(tag("failure renal renal failure"), "B-X O B-Y I-Y");
});

/** Tagged data without a file. */
function dataOf(test: TaggedSentence[], train: TaggedSentence[] = []): NerData {
  const labels = tagsOf(entityTypes([...train, ...test]));
  return { labels, train, develop: [], test, path: "invented", sha256: sha256("ner") };
}

Deno.test("NER reports every measure with its interval, against base and dictionary", () => {
  const test = ["a/B-X b", "c/B-Y d/I-Y"].map(sentence);
  const answersOf = (...tags: string[][]) => tags.map((t) => ({ tags: t }));
  const report = ner.report({
    data: dataOf(test, [sentence("a/B-X")]),
    systems: [
      { role: "model", name: "m", answers: answersOf(["B-X", "O"], ["B-Y", "O"]) },
      { role: "base", name: "b", answers: answersOf(["B-X", "O"], ["B-Y", "I-Y"]) },
    ],
    purpose: "evaluate",
    given: givenOf(),
    seed: 0,
  });
  const { json } = report;
  assertEquals([json.precision, json.recall, json.f1, json.entities], [.5, .5, .5, 2]);
  assertEquals([json.precision_interval, json.recall_interval], [[0, 1], [0, 1]]);
  const types = json.types as Record<string, { f1: number }>;
  assertEquals([types.X!.f1, types.Y!.f1], [1, 0]);
  const comparison = json.comparison as {
    f1: { difference: number };
    mcnemar: { only_model: number; only_base: number };
  };
  assertEquals(comparison.f1.difference, -0.5);
  assertEquals([comparison.mcnemar.only_model, comparison.mcnemar.only_base], [0, 1]);
  const dictionary = json.dictionary as { precision: number; recall: number };
  assertEquals([dictionary.precision, dictionary.recall], [1, 0.5]);
  assert(/X +1\.0000/.test(report.text));
  assertStringIncludes(report.text, "This does not show a difference from its base.");
  assertEquals(report.results!.fields["precision_ci95,none"], [0, 1]);
});

/** Sentences in which the word after "q" is an entity. */
const invented = (count: number, first: number) =>
  Array.from({ length: count }, (_, i) => {
    const n = first + i;
    const word = "abcdefg"[n % 7]!;
    return sentence(n % 2 ? `q ${word}/B-X r` : `r ${word} q s/B-X`);
  });

Deno.test("fine-tuning teaches tags, and the checkpoint tags alike when loaded", () =>
  withFolder(async (dir) => {
    const path = join(dir, "base");
    const read = initialParameters(MINIATURE_READER, 3);
    const json = new TextEncoder().encode(JSON.stringify(byteTokenizerJson()));
    writeModelFolder(path, { config: MINIATURE_READER, read, tokenizer: json });
    const { folder, tokenizer } = openReader(path);
    const test = invented(9, 50);
    const data = { ...dataOf(test, invented(24, 0)), develop: invented(6, 30) };
    assertEquals(entityTypes(data.train), ["X"]);
    const signal = new AbortController().signal;
    const result = await finetuneRun({
      task: learnedTask(ner, data, { tokenizer, labels: data.labels, maxTokens: 64, signal }),
      init: path,
      base: folder,
      tokenizer,
      out: join(dir, "run"),
      epochs: 8,
      config: {
        ...FINETUNE_DEFAULTS,
        batch: { rows: 2, accumulate: 4 },
        optimizer: { learning_rate: 0.05, weight_decay: 0 },
      },
      resume: false,
      makeModel: makeReference,
      reporter: silentReporter(),
      signal,
    });
    assertEquals(result.developmentScore, 1);
    const said = (answers: unknown[]) => answers.map((a) => (a as TagAnswer).tags);
    assertEquals(said(result.answers), test.map((s) => s.tags));
    const { measures: [f1] } = ner.score(data, test, result.baseAnswers ?? []);
    assert(f1!.statistic(allUnits(test.length)) < 0.8);
    const model = { name: "tuned", folder: () => Promise.resolve(result.checkpoint) };
    const { answers } = await askModel(ner as AnyTask, data, model, {
      given: givenOf(),
      maxTokens: 64,
      batchSize: 3,
      seed: 0,
      makeModel: makeReference,
      reporter: silentReporter(),
      signal,
    });
    assertEquals(said(answers), said(result.answers));
    folder.close();
  }));
