/** One model for entities and the relations between them. */
import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { evaluateTask } from "../../../model/tasks/core/evaluate.ts";
import { finetuneOverSeeds } from "../../../model/tasks/core/finetune.ts";
import { predictTask } from "../../../model/tasks/core/predict.ts";
import { FINETUNE_DEFAULTS } from "../../../model/tasks/core/run.ts";
import type { AnyTask } from "../../../model/tasks/core/task.ts";
import { jointApproach, type JointItem, readLabels } from "../../../model/tasks/joint/head.ts";
import { countSentences } from "../../../model/tasks/joint/score.ts";
import { candidatePairs, readJoint } from "../../../model/tasks/joint/sentences.ts";
import { joint } from "../../../model/tasks/joint/task.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "../../assert.ts";
import { makeReference, silentReporter, withFolder } from "../helpers.ts";
import { byteTokenizer, byteTokenizerJson, givenOf, MINIATURE_READER } from "./helpers.ts";

/** A document in PubTator: drugs a to c, diseases d and e, related where "yes" stands between. */
function document(id: number): string {
  const drug = "abc"[id % 3] ?? "a";
  const disease = "de"[Math.floor(id / 2) % 2] ?? "d";
  const related = id % 2 === 1;
  const text = `${drug} ${related ? "yes" : "no"} ${disease}`;
  const at = text.length - 1;
  return [
    `${id}|t|${text}`,
    `${id}|a|`,
    [id, 0, 1, drug, "Drug", `D${drug}`].join("\t"),
    [id, at, at + 1, disease, "Disease", `M${disease}`].join("\t"),
    ...related ? [[id, "CID", `D${drug}`, `M${disease}`].join("\t")] : [],
  ].join("\n") + "\n";
}

const documents = (count: number, first: number) =>
  Array.from({ length: count }, (_, i) => document(first + i)).join("\n");

function writeSet(dir: string): string {
  const folder = join(dir, "set");
  Deno.mkdirSync(folder);
  const splits = { train: documents(24, 1), dev: documents(6, 1), test: documents(10, 3) };
  for (const [name, text] of Object.entries(splits)) {
    Deno.writeTextFileSync(join(folder, `${name}.txt`), text);
  }
  return folder;
}

Deno.test("documents become sentences with words, entities and relations", () =>
  withFolder((dir) => {
    const path = join(dir, "brat");
    Deno.mkdirSync(path);
    Deno.writeTextFileSync(join(path, "x.txt"), "Old aspirin-like drugs cause gout. Gout hurts.\n");
    Deno.writeTextFileSync(
      join(path, "x.ann"),
      [
        "T1\tDrug 4 11\taspirin",
        "T2\tDrug 4 22\taspirin-like drugs",
        "T3\tDisease 29 33\tgout",
        "T4\tDisease 35 39\tGout",
        "R1\tCauses Arg1:T2 Arg2:T3",
        "R2\tCauses Arg1:T2 Arg2:T4",
        "R3\tCauses Arg1:T1 Arg2:T3",
      ].join("\n") + "\n",
    );
    const { sentences, overlapping, across } = readJoint(path, undefined);
    assertEquals(sentences.map(({ words }) => words.join(" ")), [
      "Old aspirin - like drugs cause gout .",
      "Gout hurts .",
    ]);
    assertEquals(sentences.map(({ entities }) => entities), [
      [{ type: "Drug", start: 1, end: 5 }, { type: "Disease", start: 6, end: 7 }],
      [{ type: "Disease", start: 0, end: 1 }],
    ]);
    assertEquals(sentences[0]?.relations, [{ first: 0, second: 1, type: "Causes" }]);
    // R2 holds across sentences, R3 of a mention that lies in a longer one.
    assertEquals([overlapping, across], [1, 2]);
    const { entities = [] } = sentences[0] ?? {};
    assertEquals(candidatePairs(entities, new Set(["Drug > Disease"])), [{ first: 0, second: 1 }]);
    assertEquals(candidatePairs(entities, new Set(["Disease > Drug"])), [{ first: 1, second: 0 }]);
    const both = new Set(["Disease > Drug", "Drug > Disease"]);
    assertEquals(candidatePairs(entities, both), [{ first: 0, second: 1 }]);
  }));

Deno.test("relations count between golden entities, and end to end with both entities right", () => {
  const item: JointItem = {
    document: "1",
    span: { start: 0, end: 9 },
    words: ["a", "b", "c", "d"],
    places: [],
    entities: [
      { type: "X", start: 0, end: 1 },
      { type: "Y", start: 2, end: 3 },
      { type: "Y", start: 3, end: 4 },
    ],
    relations: [{ first: 0, second: 1, type: "R" }],
    weights: { words: 1, pairs: 1 },
  };
  const pairs = new Set(["X > Y"]);
  const answer = {
    tags: ["B-X", "O", "B-Y", "O"],
    given: ["R", "R"],
    found: [{ first: 0, second: 1, type: "R" }],
  };
  const [counts] = countSentences([item], [answer], pairs);
  assertEquals(counts, {
    entities: { truePositives: 2, falsePositives: 0, falseNegatives: 1 },
    given: { truePositives: 1, falsePositives: 1, falseNegatives: 0 },
    found: { truePositives: 1, falsePositives: 0, falseNegatives: 0 },
  });
  // A relation of an entity that is one word too long is wrong, and the golden one missed.
  const longer = { ...answer, tags: ["B-X", "I-X", "B-Y", "O"] };
  const [others] = countSentences([item], [longer], pairs);
  assertEquals(others?.found, { truePositives: 0, falsePositives: 1, falseNegatives: 1 });
});

Deno.test("a joint text has words and pairs as items of slots of their own, weighted", () => {
  const tokenizer = byteTokenizer();
  const labels = ["O", "B-X", "I-X", "relation: false", "relation: R", "pair: X > X"];
  const item: JointItem = {
    document: "1",
    span: { start: 0, end: 9 },
    words: ["ab", "c", "d"],
    places: [],
    entities: [{ type: "X", start: 0, end: 2 }, { type: "X", start: 2, end: 3 }],
    relations: [{ first: 0, second: 1, type: "R" }],
    weights: { words: 0.5, pairs: 3 },
  };
  const approach = jointApproach({ context: "forward", crf: false });
  const reader = { tokenizer, labels, maxTokens: 64 };
  const [example, more] = approach.examples([item], reader);
  assertEquals(more, undefined);
  // " ab c d" after the boundary: 3 + 2 + 2 tokens.
  assertEquals(example?.tokens.length, 8);
  const at = (...positions: number[]) => ({ positions, backward: false });
  assertEquals(example?.items, [
    { target: 1, weight: 0.5, slots: [at(3), at(), at(), at()] },
    { target: 2, weight: 0.5, slots: [at(5), at(), at(), at()] },
    { target: 1, weight: 0.5, slots: [at(7), at(), at(), at()] },
    { target: 4, weight: 3, slots: [at(), at(1, 2, 3, 4, 5), at(6, 7), at(7)] },
  ]);
  assertEquals(approach.head(labels).slots, 4);
  assertEquals(readLabels(labels), {
    tags: ["O", "B-X", "I-X"],
    relations: ["false", "R"],
    pairs: new Set(["X > X"]),
  });
  // Very many pairs are read in several readings of the same tokens.
  const entities = item.words.map((_, i) => ({ type: "X", start: i, end: i + 1 }));
  const many: JointItem = {
    ...item,
    words: Array.from({ length: 12 }, () => "d"),
    entities: Array.from({ length: 12 }, (_, i) => ({ type: "X", start: i, end: i + 1 })),
    relations: [],
  };
  const examples = approach.examples([many], reader);
  const pairs = examples.flatMap(({ items = [] }) => items).length - 12;
  assertEquals([pairs, entities.length], [12 * 11 / 2, 3]);
  assert(examples.every(({ tokens, items = [] }) => items.length <= tokens.length));
});

/** A request to teach the joint task on the float64 model. */
function requestOf(dir: string, options: Record<string, string | boolean>, out: string) {
  const path = join(dir, "base");
  try {
    const read = initialParameters(MINIATURE_READER, 3);
    const tokenizer = new TextEncoder().encode(JSON.stringify(byteTokenizerJson()));
    writeModelFolder(path, { config: MINIATURE_READER, read, tokenizer });
  } catch (error) {
    if (!(error instanceof UserError)) throw error; // it is there already
  }
  return {
    given: givenOf({ parts: "joint", ...options }),
    model: { name: path, folder: () => Promise.resolve(path) },
    out: join(dir, out),
    epochs: 16,
    config: {
      ...FINETUNE_DEFAULTS,
      batch: { rows: 2, accumulate: 4 },
      optimizer: { learning_rate: 0.03, weight_decay: 0, head_learning_rate: 0.06 },
    },
    maxTokens: 64,
    head: { context: "both" as const, crf: false },
    seed: 0,
    seeds: 1,
    resume: false,
    makeModel: makeReference,
    reporter: silentReporter(),
    signal: new AbortController().signal,
  };
}

Deno.test("the ablation teaches each part and both; a joint model is evaluated and predicts", () =>
  withFolder(async (dir) => {
    const data = writeSet(dir);
    const request = requestOf(dir, { data, ablation: true }, "run");
    const { ablation } = await finetuneOverSeeds(joint as AnyTask, request);
    const runs = ablation as Record<string, { model: Record<string, number> & { name: string } }>;
    assertEquals(Object.keys(runs), ["joint", "entities", "relations"]);
    assert(runs.joint);
    const { model } = runs.joint;
    const scores = [model.entity_f1, model.relation_f1, model.end_to_end_f1];
    assert(scores.every((score) => (score ?? 0) > 0.9), scores.join());
    assertEquals(runs.entities?.model.relation_f1, undefined);
    assertEquals(runs.relations?.model.entity_f1, undefined);
    const table = request.reporter.lines.at(-1) ?? "";
    assertStringIncludes(table, "entity f1");
    assertStringIncludes(table, "end to end");
    const config = JSON.parse(Deno.readTextFileSync(join(model.name, "config.json")));
    assertEquals(Object.values(config.id2label).slice(-3), [
      "relation: false",
      "relation: CID",
      "pair: Drug > Disease",
    ]);

    const asked = {
      maxTokens: 64,
      batchSize: 4,
      seed: 0,
      makeModel: makeReference,
      reporter: silentReporter(),
      signal: new AbortController().signal,
      out: join(dir, "results"),
    };
    const tuned = { name: model.name, folder: () => Promise.resolve(model.name) };
    const gold = join(data, "test.txt");
    const given = givenOf({ gold });
    const again = await evaluateTask(joint as AnyTask, { ...asked, given, model: tuned });
    assertEquals(
      [again.entity_f1, again.relation_f1, again.end_to_end_f1],
      [model.entity_f1, model.relation_f1, model.end_to_end_f1],
    );
    // Another system's file in any format; here one that finds no relation.
    const system = join(dir, "system.txt");
    Deno.writeTextFileSync(system, documents(10, 3).replaceAll(/^\d+\tCID.*\n/gm, ""));
    const scored = await evaluateTask(joint as AnyTask, { ...asked, given, system });
    assertEquals([scored.entity_f1, scored.relation_f1, scored.end_to_end_f1], [1, 0, 0]);

    Deno.writeTextFileSync(join(dir, "new.txt"), "b yes d\na no e\n");
    const { output } = await predictTask(joint as AnyTask, {
      ...asked,
      given: givenOf({ input: join(dir, "new.txt") }),
      model: tuned,
    });
    const [first, second] = output.trimEnd().split("\n").map((line) => JSON.parse(line));
    assertEquals(first.entities, [
      { start: 0, end: 1, type: "Drug", text: "b" },
      { start: 6, end: 7, type: "Disease", text: "d" },
    ]);
    assertEquals(first.relations, [{ type: "CID", first: 0, second: 1 }]);
    assertEquals([second.entities.length, second.relations], [2, []]);
    // Without any relation there is nothing to learn of relations.
    for (const name of ["train", "dev", "test"]) {
      Deno.writeTextFileSync(join(data, `${name}.txt`), document(2) + "\n" + document(4));
    }
    assertThrows(() => joint.read(givenOf({ data }), "finetune"), UserError, "relates no two");
  }));
