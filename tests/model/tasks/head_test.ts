import { Interrupted, UserError } from "../../../core/errors.ts";
import { sha256 } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import type { HeadConfig } from "../../../model/mamba/head.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { ReferenceModel } from "../../../model/mamba/reference.ts";
import type { MakeModel } from "../../../model/mamba/types.ts";
import { askModel } from "../../../model/tasks/core/evaluate.ts";
import { choiceHead } from "../../../model/tasks/core/choice_head.ts";
import { learnedTask } from "../../../model/tasks/core/finetune.ts";
import { packTexts, readText, textLimit } from "../../../model/tasks/core/head_examples.ts";
import { openReader } from "../../../model/tasks/core/reader.ts";
import {
  FINETUNE_DEFAULTS,
  type FinetuneRequest,
  finetuneRun,
} from "../../../model/tasks/core/run.ts";
import type { AnyTask, HeadChoice, TaskData } from "../../../model/tasks/core/task.ts";
import { classify } from "../../../model/tasks/classify/task.ts";
import { TAG_HEAD } from "../../../model/tasks/ner/head.ts";
import type { TaggedSentence } from "../../../model/tasks/ner/ner.ts";
import { ner, type TagAnswer } from "../../../model/tasks/ner/task.ts";
import { RELATION_HEAD } from "../../../model/tasks/relations/head.ts";
import type { RelationExample } from "../../../model/tasks/relations/relations.ts";
import { relations } from "../../../model/tasks/relations/task.ts";
import { readMetrics } from "../../../model/training/metrics.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertThrows,
} from "../../assert.ts";
import { makeReference, silentReporter, withFolder } from "../helpers.ts";
import { byteTokenizer, byteTokenizerJson, givenOf, MINIATURE_READER } from "./helpers.ts";

const HEAD: HeadConfig = { loss: "softmax", labels: 3, slots: 2, crf: true, context: "both" };
const TEXT = {
  tokens: [11, 12, 13, 14],
  items: [
    { marks: [{ kind: "word", from: 0, to: 2 }], target: 1 },
    { marks: [{ kind: "mean", from: 2, to: 4 }], target: 2, weight: 0 },
    { marks: [{ kind: "text" }], target: 0 },
  ],
} as const;

Deno.test("readText() finds what items read, in each way of reading", () => {
  const slots = (context: "forward" | "twice" | "both") =>
    readText(TEXT, context, 0).items?.map(({ slots }) =>
      slots.map(({ positions, backward }) => (backward ? "<" : ">") + positions.join(","))
    );
  assertEquals(readText(TEXT, "forward", 0).tokens, [0, 11, 12, 13, 14]);
  assertEquals(slots("forward"), [[">2"], [">3,4"], [">4"]]);
  assertEquals(readText(TEXT, "twice", 0).tokens, [0, 11, 12, 13, 14, 11, 12, 13, 14]);
  assertEquals(slots("twice"), [[">6"], [">7,8"], [">8"]]);
  // Reversed, the tokens are 0 14 13 12 11: the word's first token stands last.
  assertEquals(slots("both"), [[">2", "<4"], [">3,4", "<2,1"], [">4", "<4"]]);
  assertEquals([textLimit("forward", 9), textLimit("twice", 9), textLimit("both", 9)], [8, 4, 8]);
});

Deno.test("packTexts() puts texts side by side, and reversed in the second half of the rows", () => {
  const one = readText(TEXT, "both", 0);
  const two = readText(
    {
      tokens: [21],
      items: [{ marks: [{ kind: "word", from: 0, to: 1 }], target: 2 }],
    },
    "both",
    0,
  );
  const [batch, ...rest] = packTexts([one, two, one], HEAD, 4, 8, 0);
  assertEquals(rest.length, 0);
  assert(batch);
  const row = (r: number) => [...batch.tokens.slice(r * 8, (r + 1) * 8)].join(" ");
  assertEquals([row(0), row(1)], ["0 11 12 13 14 0 21 0", "0 11 12 13 14 0 0 0"]);
  assertEquals([row(2), row(3)], ["0 14 13 12 11 0 21 0", "0 14 13 12 11 0 0 0"]);
  assertEquals([...batch.starts.slice(0, 8)], [1, 0, 0, 0, 0, 1, 0, 1]);
  assertEquals([...batch.starts.slice(16, 24)], [1, 0, 0, 0, 0, 1, 0, 1]);
  const { items } = batch;
  assertEquals([items.count, batch.scored], [7, 5]);
  assertEquals(items.targets, [1, 2, 0, 2, 1, 2, 0]);
  assertEquals(items.weights, [1, 0, 1, 1, 1, 0, 1]);
  assertEquals(items.sequences, [0, 3, 4, 7]);
  assertEquals(batch.texts, [
    { index: 0, first: 0, count: 3 },
    { index: 1, first: 3, count: 1 },
    { index: 2, first: 4, count: 3 },
  ]);
  const rowsOf = (item: number) =>
    items.entries.filter((e) => e.item === item).map((
      { slot, row, weight },
    ) => [slot, row, weight]);
  assertEquals(rowsOf(0), [[0, 2, 1], [1, 20, 1]]);
  assertEquals(rowsOf(1), [[0, 3, 0.5], [0, 4, 0.5], [1, 18, 0.5], [1, 17, 0.5]]);
  assertEquals(rowsOf(3), [[0, 6, 1], [1, 22, 1]]);
  assertThrows(() => packTexts([one], HEAD, 4, 4, 0), RangeError, "5 tokens do not fit a row of 4");
});

Deno.test("texts packed side by side have the loss and the gradients of texts apart", () => {
  const config = { ...MINIATURE_READER, head: HEAD };
  const read = initialParameters(config, 2);
  const texts = [TEXT, { ...TEXT, tokens: [21, 22, 23, 24] }].map((t) => readText(t, "both", 0));
  const gradients = [10, 5].map((length) => {
    const model = new ReferenceModel(config, 2, length);
    model.writeParameters(read);
    for (const batch of packTexts(texts, HEAD, 2, length, 0)) model.accumulate(batch, 1 / 4);
    return model.gradients;
  });
  for (const [name, values] of gradients[0] ?? []) {
    values.forEach((v, i) =>
      assertAlmostEquals(v, gradients[1]?.get(name)?.[i] ?? NaN, 1e-10, name)
    );
  }
});

Deno.test("a sentence with two marked entities is read as marks, entities and the whole", () => {
  const tokenizer = byteTokenizer();
  const reader = { tokenizer, labels: ["a", "b"], maxTokens: 64 };
  const example = { text: "No [[ b c ]] and << a >> here.", label: "b" };
  const [text] = RELATION_HEAD.texts(example, 60, reader);
  assert(text);
  const [item] = text.items;
  assertEquals(item?.target, 1);
  const words = item?.marks.map((mark) =>
    mark.kind === "text" ? "all" : tokenizer.decode(text.tokens.slice(mark.from, mark.to))
  );
  assertEquals(words, [" a", " b c", "all", " ]] and <<", " No [[ b c ]] and << a >> here."]);
  assertEquals(tokenizer.decode([...text.tokens]), " No [[ b c ]] and << a >> here.");
  // Names of chemicals have brackets of their own; marks without spaces will do where there are no others.
  for (
    const [sentence, first, second] of [
      ["4-[[2-(S)]oxy]-x << a >> [[ b ]]", " a", " b"],
      ["<<a>> of [[b c]]", " a", " b c"],
    ]
  ) {
    const [read] = RELATION_HEAD.texts({ text: sentence ?? "", label: "a" }, 60, reader);
    const found = read?.items[0]?.marks.map((mark) =>
      mark.kind === "text" ? "" : tokenizer.decode(read.tokens.slice(mark.from, mark.to))
    );
    assertEquals(found?.slice(0, 3), [first, second, ""]);
  }
  // What is too long loses its ends and keeps the entities.
  const long = { text: `${"x".repeat(90)} ${example.text} ${"y".repeat(90)}`, label: "a" };
  const [cut] = RELATION_HEAD.texts(long, 40, reader);
  assert(cut);
  assertEquals([cut.tokens.length, cut.cut], [40, 212 - 40]);
  const [first, second] = cut.items[0]?.marks ?? [];
  assert(first && first.kind !== "text" && second && second.kind !== "text");
  assertEquals(tokenizer.decode(cut.tokens.slice(first.from, first.to)), " a");
  assertEquals(tokenizer.decode(cut.tokens.slice(second.from, second.to)), " b c");
  assertThrows(
    () => RELATION_HEAD.texts({ text: "No marks", label: "a" }, 40, reader),
    UserError,
    "have to be marked",
  );
  assertThrows(
    () => RELATION_HEAD.texts({ ...example, label: "z" }, 60, reader),
    UserError,
    "not among a, b",
  );
});

Deno.test("a question is one item, which reads the end of its prompt", () => {
  const form = choiceHead<string>({
    choicesOf: (items, labels) =>
      items.map((prompt) => ({ id: prompt, prompt, gold: labels.indexOf("no") })),
  });
  const tokenizer = byteTokenizer();
  const reader = { tokenizer, labels: ["yes", "no"], maxTokens: 64 };
  const [text] = form.texts("a long question\n\nAnswer:", 14, reader);
  assert(text);
  assertEquals(tokenizer.decode([...text.tokens]), "a lon\n\nAnswer:");
  assertEquals([text.cut, text.items], [10, [{ marks: [{ kind: "text" }], target: 1 }]]);
  const output = { logits: [Float32Array.of(0, Math.log(3))], cut: 10 };
  const answer = form.answer("a", output, reader, 0);
  assertEquals([answer.predicted, answer.truncated, answer.item.gold], [1, 10, 1]);
  assertAlmostEquals(answer.logProbabilities[1] ?? NaN, Math.log(0.75), 1e-6);
});

Deno.test("a long sentence is cut between words, and a word that does not fit is refused", () => {
  const reader = { tokenizer: byteTokenizer(), labels: ["O", "B-X"], maxTokens: 64 };
  const sentence = { tokens: ["abc", "de", "f"], tags: ["O", "B-X", "O"], line: 1 };
  const texts = TAG_HEAD.texts(sentence, 7, reader);
  assertEquals(texts.map(({ items }) => items.map((item) => item.target)), [[0, 1], [0]]);
  assertThrows(() => TAG_HEAD.texts(sentence, 3, reader), UserError, 'the word "abc"');
});

Deno.test("tags of a field are well formed, and their probabilities are marginals", () => {
  const labels = ["O", "B-X", "I-X"];
  const reader = { tokenizer: byteTokenizer(), labels, maxTokens: 64 };
  const sentence = { tokens: ["a", "b"], tags: ["O", "O"], line: 1 };
  const zeros = (count: number) => new Float64Array(count);
  const field = { begin: zeros(3), end: zeros(3), transition: zeros(9) };
  // By itself the second word is I-X, which may not follow O.
  const logits = [Float32Array.of(3, 1, 0, 0, 0, 2.5)];
  const { tags, scores } = TAG_HEAD.answer(sentence, { logits, field, cut: 0 }, reader, 0);
  assertEquals(tags, ["B-X", "I-X"]);
  // Without transitions the marginals are each word's own softmax.
  const total = Math.exp(3) + Math.exp(1) + 1;
  assertAlmostEquals(scores[0]?.[1] ?? NaN, 1 - Math.log(total), 1e-6);
  const plain = TAG_HEAD.answer(sentence, { logits, cut: 0 }, reader, 0);
  assertEquals(plain.tags, ["B-X", "I-X"]);
  assertAlmostEquals(plain.scores[0]?.[1] ?? NaN, 1 - Math.log(total), 1e-6);
});

/** A sentence of words w/TAG, as the tests of tags have them. */
function sentence(text: string): TaggedSentence {
  const words = text.split(" ").map((word) => word.split("/"));
  return {
    tokens: words.map(([word = ""]) => word),
    tags: words.map(([, tag]) => tag ?? "O"),
    line: 1,
  };
}

/** Sentences in which what stands before "q" is an entity: a model has to read back from there. */
const invented = (count: number, first: number) =>
  Array.from({ length: count }, (_, i) => {
    const word = "abcdefg"[(first + i) % 7] ?? "a";
    return sentence(i % 2 ? `${word}/B-X q` : `${word} r`);
  });

const TAGGED: TaskData<TaggedSentence> = {
  labels: ["O", "B-X", "I-X"],
  train: invented(24, 0),
  develop: invented(6, 30),
  test: invented(9, 50),
  path: "invented",
  sha256: sha256("tags"),
};

/** A request to teach tags by a head. */
function prepare(
  dir: string,
  choice: HeadChoice,
  changes: Partial<FinetuneRequest<TagAnswer[]>> = {},
  name = "base",
): FinetuneRequest<TagAnswer[]> {
  const path = join(dir, name);
  try {
    const read = initialParameters(MINIATURE_READER, 3);
    const tokenizer = new TextEncoder().encode(JSON.stringify(byteTokenizerJson()));
    writeModelFolder(path, { config: MINIATURE_READER, read, tokenizer });
  } catch (error) {
    if (!(error instanceof UserError)) throw error; // it is there already
  }
  const { folder, tokenizer } = openReader(path);
  const { signal } = new AbortController();
  const reader = { tokenizer, labels: TAGGED.labels, maxTokens: 64, signal };
  return {
    task: learnedTask(ner, TAGGED, reader, ner.headed?.(choice)),
    init: path,
    base: folder,
    tokenizer,
    out: join(dir, "run"),
    epochs: 4,
    config: {
      ...FINETUNE_DEFAULTS,
      batch: { rows: 2, accumulate: 4 },
      optimizer: { learning_rate: 0.03, weight_decay: 0, head_learning_rate: 0.06 },
      objective: { dropout: 0.1 },
    },
    resume: false,
    makeModel: makeReference,
    reporter: silentReporter(),
    signal,
    ...changes,
  };
}

Deno.test("a head learns from both sides, is kept with the model, and goes on from there", () =>
  withFolder(async (dir) => {
    const choice: HeadChoice = { context: "both", crf: true };
    const request = prepare(dir, choice, { epochs: 8 });
    const result = await finetuneRun(request);
    assertEquals(result.developmentScore, 1);
    const said = (answers: unknown[]) => answers.map((a) => (a as TagAnswer).tags);
    assertEquals(said(result.answers), TAGGED.test.map((s) => s.tags));
    // The base has no head: there is nothing to compare with.
    assertEquals(result.baseAnswers, undefined);
    const asked = {
      given: givenOf(),
      maxTokens: 64,
      batchSize: 3,
      seed: 0,
      makeModel: makeReference,
      reporter: silentReporter(),
      signal: new AbortController().signal,
    };
    const model = { name: "tuned", folder: () => Promise.resolve(result.checkpoint) };
    const { answers, data } = await askModel(ner as AnyTask, TAGGED, model, asked);
    assertEquals(said(answers), said(result.answers));
    assertEquals(data.labels, TAGGED.labels);
    // Taught once more, the same head is where it was, and is the base.
    const more = prepare(dir, choice, { out: join(dir, "more"), epochs: 1 });
    const { folder } = openReader(result.checkpoint);
    const again = await finetuneRun({ ...more, base: folder, init: result.checkpoint });
    assertEquals(said(again.baseAnswers ?? []), said(result.answers));
    for (const { close } of [request.base, more.base, folder]) close();
  }));

Deno.test("reading forward alone does not see what comes later, and reading twice does", () =>
  withFolder(async (dir) => {
    const scores: number[] = [];
    for (const context of ["forward", "twice"] as const) {
      const request = prepare(dir, { context, crf: false }, { out: join(dir, context), epochs: 6 });
      scores.push((await finetuneRun(request)).developmentScore);
      request.base.close();
    }
    const [forward = NaN, twice = NaN] = scores;
    assert(forward < 0.9, `${forward}`);
    assertEquals(twice, 1);
  }));

Deno.test("sparse features tell a head that reads forward alone what comes next", () =>
  withFolder(async (dir) => {
    const choice: HeadChoice = { context: "forward", crf: false, sparse: 512 };
    const request = prepare(dir, choice, { epochs: 6 });
    const result = await finetuneRun(request);
    assertEquals(result.developmentScore, 1);
    request.base.close();
    // The model keeps what it was taught with, and is asked in the same way.
    const { folder } = openReader(result.checkpoint);
    assertEquals(folder.config.head, {
      loss: "softmax",
      labels: 3,
      slots: 1,
      crf: false,
      context: "forward",
      sparse: 512,
    });
    const table = folder.read("classifier.sparse.weight");
    assertEquals(table.length, 512 * 3);
    assert(table.some((x) => x !== 0));
    folder.close();
    const model = { name: "tuned", folder: () => Promise.resolve(result.checkpoint) };
    const { answers } = await askModel(ner as AnyTask, TAGGED, model, {
      given: givenOf(),
      maxTokens: 64,
      batchSize: 3,
      seed: 0,
      makeModel: makeReference,
      reporter: silentReporter(),
      signal: new AbortController().signal,
    });
    assertEquals(
      answers.map((a) => (a as TagAnswer).tags),
      TAGGED.test.map((s) => s.tags),
    );
  }));

Deno.test("a stopped run of a head with dropout goes on to the same bytes", () =>
  withFolder(async (dir) => {
    const choice: HeadChoice = { context: "both", crf: true, sparse: 512 };
    const whole = prepare(dir, choice, { out: join(dir, "whole"), epochs: 2 });
    const expected = await finetuneRun(whole);
    const out = join(dir, "stopped");
    const abort = new AbortController();
    let updates = 0;
    const makeModel: MakeModel = async (config, shape) => {
      const made = await makeReference(config, shape);
      const { model } = made;
      const update = model.update.bind(model);
      model.update = (options) => {
        update(options);
        if (++updates === 4) abort.abort();
      };
      return made;
    };
    const first = prepare(dir, choice, { out, epochs: 2, makeModel, signal: abort.signal });
    await assertRejects(() => finetuneRun(first), Interrupted, "Stopped after step 4 of 6");
    const other = prepare(dir, { ...choice, context: "twice" }, { out, epochs: 2, resume: true });
    await assertRejects(() => finetuneRun(other), UserError, "another head of labels");
    const again = prepare(dir, choice, { out, epochs: 2, resume: true });
    const result = await finetuneRun(again);
    assertEquals(result.step, expected.step);
    const weights = (checkpoint: string) =>
      Deno.readFileSync(join(checkpoint, "model.safetensors"));
    assertEquals(weights(result.checkpoint), weights(expected.checkpoint));
    assertEquals(readMetrics(out).map((m) => m.loss), readMetrics(whole.out).map((m) => m.loss));
    for (const request of [whole, first, other, again]) request.base.close();
  }));

Deno.test("relations by a head learn a label from the words between the entities", () =>
  withFolder(async (dir) => {
    const examples = (count: number, first: number): RelationExample[] =>
      Array.from({ length: count }, (_, i) => ({
        text: `<< ${"abc"[(first + i) % 3]} >> ${i % 2 ? "yes" : "no"} [[ ${"de"[i % 2]} ]]`,
        label: i % 2 ? "POSITIVE" : "false",
      }));
    const data: TaskData<RelationExample> = {
      labels: ["POSITIVE", "false"],
      negative: "false",
      train: examples(24, 0),
      develop: examples(6, 1),
      test: examples(8, 2),
      path: "invented",
      sha256: sha256("relations"),
    };
    const base = prepare(dir, { context: "both", crf: true });
    const { tokenizer } = base;
    const reader = { tokenizer, labels: data.labels, maxTokens: 64 };
    const choice: HeadChoice = { context: "both", crf: true };
    const task = learnedTask(relations, data, reader, relations.headed?.(choice));
    // Pairs do not follow each other: no field, and five marks read from both ends.
    assertEquals(task.head?.config, { ...HEAD, labels: 2, slots: 10, crf: false });
    const result = await finetuneRun({ ...base, task, out: join(dir, "relations") });
    assertEquals(result.developmentScore, 1);
    assertEquals(result.answers.map(({ predicted }) => predicted), [1, 0, 1, 0, 1, 0, 1, 0]);
    const model = { name: "tuned", folder: () => Promise.resolve(result.checkpoint) };
    const { answers } = await askModel(relations as AnyTask, data, model, {
      given: givenOf(),
      maxTokens: 64,
      batchSize: 3,
      seed: 0,
      makeModel: makeReference,
      reporter: silentReporter(),
      signal: new AbortController().signal,
    });
    assertEquals(answers, result.answers);
    base.base.close();
  }));

Deno.test("classify by a head reads a text and its partner, and no instruction", () => {
  const tokenizer = byteTokenizer();
  const approach = classify.headed?.({ context: "forward", crf: false });
  assert(approach);
  const text = {
    kind: "text" as const,
    id: "1",
    text: "A trial.",
    pair: "It works.",
    labels: ["no"],
  };
  const reader = { tokenizer, labels: ["no", "yes"], maxTokens: 64 };
  const [example] = approach.examples([text], reader);
  assertEquals(tokenizer.decode(example?.tokens.slice(1) ?? []), "A trial.\nIt works.");
  assertEquals(example?.items?.map((item) => [item.target, item.slots]), [
    [0, [{ positions: [(example?.tokens.length ?? 0) - 1], backward: false }]],
  ]);
});
