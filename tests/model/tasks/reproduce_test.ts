/** A reproduction: sets found by looking, pieces that survive every end, and what the table says. */
import { join } from "../../../core/std.ts";
import { exists, readText, writeAtomic } from "../../../core/files.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import type { MakeModel } from "../../../model/mamba/types.ts";
import type { Score } from "../../../model/tasks/core/task.ts";
import { outcomeOf, overSeeds, rowsOf, tally } from "../../../model/tasks/reproduce/compare.ts";
import { findSets } from "../../../model/tasks/reproduce/find.ts";
import { parseNamed } from "../../../model/tasks/reproduce/models.ts";
import { piece } from "../../../model/tasks/reproduce/pieces.ts";
import { planReproduction } from "../../../model/tasks/reproduce/plan.ts";
import { publishedFor } from "../../../model/tasks/reproduce/published.ts";
import type { ReproduceRequest } from "../../../model/tasks/reproduce/reproduce.ts";
import { reproduceAndWrite } from "../../../model/tasks/reproduce/write.ts";
import { meanOf } from "../../../model/statistics/mod.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "../../assert.ts";
import { ROOT, runTask } from "../../shared.ts";
import { makeReference, silentReporter, withFolder } from "../helpers.ts";
import { byteTokenizerJson, MINIATURE_READER, put } from "./helpers.ts";

const tagged = (...words: string[]) => words.map((word) => `${word}\tB\nhelps\tO\n`).join("\n");
const labelled = (...rows: (readonly [string, string])[]) =>
  rows.map(([text, label]) => JSON.stringify({ text, label }) + "\n").join("");
const asked = (...rows: [string, number][]) =>
  rows.map(([question, right]) =>
    JSON.stringify({ question, options: { A: "one", B: "two" }, answer_idx: "AB"[right] }) + "\n"
  ).join("");

/** Invented sets whose files are called by nothing that says what they hold. */
function invented(folder: string): string {
  const data = join(folder, "data");
  put(data, {
    "one/train.x": tagged("zeratin", "lorvane", "quell"),
    "one/dev.x": tagged("lorvane"),
    "one/test.x": tagged("zeratin", "quell"),
    "deep/two/train": labelled(["good", "up"], ["bad", "down"], ["fine", "up"]),
    "deep/two/validation": labelled(["fine", "up"], ["bad", "down"]),
    "deep/two/test": labelled(["good", "up"], ["bad", "down"], ["worse", "down"]),
    "three/held_back": asked(["a or b", 0], ["c or d", 1], ["e or f", 1]),
    "three/notes.md": "Nothing to ask.\n",
    "one/train_dev.x": tagged("zeratin", "lorvane"),
    "three/broken.jsonl": '{"text": "no label"}\n{"text": "none"}\n',
  });
  return data;
}

const model = (folder: string, label: string, seed: number) => {
  const path = join(folder, label);
  if (!exists(path)) {
    const tokenizer = new TextEncoder().encode(JSON.stringify(byteTokenizerJson()));
    const read = initialParameters(MINIATURE_READER, seed);
    writeModelFolder(path, { config: MINIATURE_READER, read, tokenizer });
  }
  return { label, name: path, folder: () => Promise.resolve(path) };
};

function request(folder: string, changes: Partial<ReproduceRequest> = {}): ReproduceRequest {
  const out = join(folder, "results");
  if (!exists(out)) {
    Deno.mkdirSync(out, { recursive: true });
    writeAtomic(
      join(out, "reproduction.json"),
      JSON.stringify({ program: "pubmamba reproduce", begun: "2026-01-02T03:04:05.678Z" }),
    );
  }
  return {
    found: findSets(invented(folder)),
    models: [model(folder, "base", 1), model(folder, "adapted", 2)],
    base: "base",
    systems: [],
    protocol: {
      learningRates: [0.01, 0.001],
      epochs: 1,
      seeds: 2,
      rows: 2,
      accumulate: 1,
      maxTokens: 256,
      quick: false,
    },
    out,
    makeModel: makeReference,
    reporter: silentReporter(),
    signal: new AbortController().signal,
    ...changes,
  };
}

/** Makes reference models and counts them. */
function countingMaker(): { makeModel: MakeModel; made(): number } {
  let made = 0;
  return {
    makeModel(...args) {
      made++;
      return makeReference(...args);
    },
    made: () => made,
  };
}

/** Every file below a folder with its text, and the moment that it was written at. */
function filesOf(folder: string, under = ""): Map<string, { text: string; at: number }> {
  const files = new Map<string, { text: string; at: number }>();
  for (const { name, isDirectory } of [...Deno.readDirSync(join(folder, under))]) {
    const path = join(under, name);
    if (isDirectory) {
      for (const [key, value] of filesOf(folder, path)) files.set(key, value);
    } else {
      const at = Deno.statSync(join(folder, path)).mtime?.getTime() ?? NaN;
      files.set(path, { text: readText(join(folder, path)), at });
    }
  }
  return files;
}

const texts = (files: Map<string, { text: string }>) =>
  [...files].map(([name, { text }]) => `${name} ${text}`).sort();

Deno.test("sets are found by what is in files, and what is none is told with the reason", () =>
  withFolder((folder) => {
    const { sets, leftOut } = findSets(invented(folder));
    assertEquals(
      sets.map(({ id, purpose }) => `${id} ${purpose}`),
      ["classify-deep-two finetune", "ner-one finetune", "choices-three-held-back evaluate"],
    );
    assertEquals(leftOut, [
      { place: "one/train_dev.x", why: "it is none of the splits that lie beside it" },
      { place: "three/broken.jsonl", why: "it has none of the known formats" },
      { place: "three/notes.md", why: "it has none of the known formats" },
    ]);
    put(folder, { "half/train.x": tagged("a"), "half/dev.x": tagged("b") });
    const half = findSets(folder).leftOut.filter(({ place }) => place.startsWith("half"));
    assertEquals(half.map(({ place }) => place), ["half/dev.x", "half/train.x"]);
    assertStringIncludes(half[0]?.why ?? "", "no file in it is the test split");
    put(folder, { "none/readme": "nothing\n" });
    assertThrows(() => findSets(join(folder, "none")), Error, "readme: it has none of the known");
  }));

Deno.test("texts are told apart by labels, scores and marks; what has no splits gets some", () =>
  withFolder((folder) => {
    const lines = (write: (i: number) => object) =>
      Array.from({ length: 30 }, (_, i) => JSON.stringify(write(i)) + "\n").join("");
    const document = (i: number) =>
      `${i}|t|Zeratin and ulcers.\n${i}|a|Ulcers followed.\n${i}\t0\t7\tZeratin\tChemical\tD1\n` +
      `${i}\t12\t18\tulcers\tDisease\tD2\n${i}\tCID\tD1\tD2\n\n`;
    put(folder, {
      "a": lines((i) => ({ text: `a ${i}`, labels: i % 3 ? ["x", "y"] : [] })),
      "b": lines((i) => ({ sentence1: `b ${i}`, sentence2: "c", score: i / 7 })),
      "c": lines((i) => ({ text: `<< d ${i} >> stops [[ e ]]`, label: "f" + i % 2 })),
      "d": lines((i) => ({ text: `g ${i}`, label: "h" + i % 2 })),
      "e": Array.from({ length: 20 }, (_, i) => document(i + 1)).join(""),
    });
    const { sets, leftOut } = findSets(folder);
    assertEquals(leftOut, []);
    assertEquals(sets.map(({ id, purpose }) => `${id} ${purpose}`), [
      "multilabel-a finetune",
      "regression-b finetune",
      "relations-c finetune",
      "classify-d finetune",
      "ner-e finetune",
      "relations-e finetune",
    ]);
    assertStringIncludes(sets[0]?.read().notes?.[0] ?? "", "has no splits: 3 of its items");
  }));

Deno.test("links in a circle, links to nothing and results of before are left out by name", () =>
  withFolder((folder) => {
    put(folder, { "a/b/set": labelled(...Array.from({ length: 20 }, () => ["x", "y"] as const)) });
    put(folder, { "old/reproduction.json": "{}", "old/sets/x": asked(["a or b", 0]) });
    Deno.symlinkSync(join(folder, "a"), join(folder, "a", "b", "up"));
    Deno.symlinkSync(join(folder, "none"), join(folder, "lost"));
    const { sets, leftOut } = findSets(folder);
    assertEquals(sets.map(({ id }) => id), ["classify-a-b-set"]);
    assertEquals(leftOut.map(({ place }) => place).sort(), ["a/b/up", "lost", "old"]);
    assertEquals(
      leftOut.filter(({ why }) => /seen already|cannot be read|results of/.test(why)).length,
      3,
    );
  }));

Deno.test("two BioASQ files with the same questions are told apart from training and test", () =>
  withFolder((folder) => {
    const questions = (ids: number[]) =>
      JSON.stringify({
        questions: ids.map((id) => ({
          id: `q${id}`,
          body: "Does it?",
          type: "yesno",
          snippets: [{ text: "It does.", document: "1" }],
          ideal_answer: ["Yes."],
          exact_answer: id % 2 ? "yes" : "no",
        })),
      });
    const range = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, i) => from + i);
    put(folder, { "a/x": questions(range(0, 40)), "a/y": questions(range(50, 55)) });
    put(folder, { "b/x": questions([1, 2]), "b/y": questions([2, 1]) });
    const { sets, leftOut } = findSets(folder);
    assertEquals(sets.map(({ id, purpose }) => [id, purpose]), [["bioasq-a-y", "finetune"]]);
    assertEquals(sets[0]?.read().train.length, 36);
    assertEquals(leftOut.map(({ place }) => place), ["b/x", "b/y"]);
    assertStringIncludes(leftOut[0]?.why ?? "", "the same questions");
  }));

Deno.test("a reproduction writes its table once; the second run writes nothing", () =>
  withFolder(async (folder) => {
    const json = await reproduceAndWrite(request(folder));
    const sets = json.sets as { id: string; rows: Record<string, unknown>[] }[];
    assertEquals(sets.map(({ id, rows }) => [id, rows.map((r) => `${r.kind} ${r.name}`)]), [
      ["classify-deep-two", [
        "trivial always up",
        "asked base",
        "taught base",
        "asked adapted",
        "taught adapted",
      ]],
      ["ner-one", ["trivial dictionary of the training split", "taught base", "taught adapted"]],
      ["choices-three-held-back", [
        "trivial always B (the file's own majority)",
        "asked base",
        "asked adapted",
      ]],
    ]);
    const row = sets[0]?.rows[4] as {
      measures: { value: number; interval: number[] }[];
      seeds: number;
      spread: { mean: number };
      against_base: { from: string; outcome: string; difference: number };
    };
    assertEquals([row.seeds, row.against_base.from], [2, "base"]);
    assertEquals(row.spread.mean, row.measures[0]?.value);
    assertEquals((json.tally as unknown[]).length, 2);
    const first = filesOf(join(folder, "results"));
    const names = [...first.keys()];
    for (const name of ["table.txt", "table.tex", "table.json", "index.html"]) {
      assert(names.includes(name), name);
    }
    const kept = "sets/ner-one/adapted/seed-1";
    assertEquals(
      names.filter((n) => n.startsWith(kept)).map((n) => n.slice(kept.length + 1)).sort(),
      [
        "answers.json",
        "errors_ner_2026-01-02T03-04-05.678000.html",
        "report_2026-01-02T03-04-05.678000.html",
        "results_2026-01-02T03-04-05.678000.json",
        "samples_ner_2026-01-02T03-04-05.678000.jsonl",
      ],
    );
    const page = readText(join(folder, "results", "index.html"));
    assertStringIncludes(page, `href="${kept}/errors_ner_2026`);
    assertStringIncludes(page, "three/notes.md");
    const counted = countingMaker();
    const again = await reproduceAndWrite(request(folder, { makeModel: counted.makeModel }));
    assertEquals(counted.made(), 0);
    assertEquals(JSON.stringify(again), JSON.stringify(json));
    assertEquals([...filesOf(join(folder, "results"))], [...first]);
  }));

Deno.test("a reproduction that is ended at any model, or within a run, ends with the same bytes", () =>
  withFolder(async (folder) => {
    const whole = join(folder, "whole");
    const broken = join(folder, "broken");
    const counted = countingMaker();
    await reproduceAndWrite(request(whole, {
      models: [model(folder, "base", 1), model(folder, "adapted", 2)],
      makeModel: counted.makeModel,
    }));
    assert(counted.made() > 15, `${counted.made()} models`);
    let ended = 0;
    const run = async (dies: MakeModel, signal?: AbortSignal): Promise<boolean> => {
      try {
        await reproduceAndWrite(request(broken, {
          models: [model(folder, "base", 1), model(folder, "adapted", 2)],
          makeModel: dies,
          ...(signal ? { signal } : {}),
        }));
        return true;
      } catch (error) {
        if (!/killed|Stopped|Interrupted/.test(String(error))) throw error;
        ended++;
        return false;
      }
    };
    // Each start lives for two models, and every third is stopped in the middle of its first run.
    for (let start = 0; start < 100; start++) {
      const abort = new AbortController();
      let left = 2;
      const dies: MakeModel = async (...args) => {
        if (left-- === 0) throw new Error("killed");
        const made = await makeReference(...args);
        const update = made.model.update.bind(made.model);
        made.model.update = (...options) => {
          update(...options);
          if (start % 3 === 0) abort.abort();
        };
        return made;
      };
      if (await run(dies, abort.signal)) break;
    }
    assert(ended > 7, `ended ${ended} times`);
    const of = (place: string) => texts(filesOf(join(place, "results")));
    assertEquals(of(broken), of(whole));
  }));

Deno.test("answers of other systems join, and settings that differ are refused by name", () =>
  withFolder(async (folder) => {
    const answers = join(folder, "answers");
    put(answers, { "choices-three-held-back.json": JSON.stringify({ 1: "A", 2: "B", 3: "A" }) });
    const systems = [{ label: "elsewhere", folder: answers }];
    const quick = { ...request(folder).protocol, quick: true };
    const json = await reproduceAndWrite(request(folder, { systems, protocol: quick }));
    const sets = json.sets as {
      rows: { kind: string; name: string; measures: { value: number }[] }[];
    }[];
    const row = sets[2]?.rows.find(({ kind }) => kind === "system");
    assertEquals([row?.name, row?.measures[0]?.value], ["elsewhere", 2 / 3]);
    assertStringIncludes(readText(join(folder, "results", "table.txt")), "A smoke run");
    await assertRejects(
      () => reproduceAndWrite(request(folder, { systems })),
      Error,
      "quick: true then, false now",
    );
    put(answers, { "strange.json": "{}" });
    await assertRejects(
      () => reproduceAndWrite(request(folder, { systems })),
      Error,
      'no set is called "strange"; call the file by its set, one of classify-deep-two, ner-one',
    );
    assertThrows(() => parseNamed("a=x,a=y", "--models"), Error, 'names "a" twice');
  }));

Deno.test("pieces are made once, and from what they say alone", () =>
  withFolder(async (folder) => {
    const path = join(folder, "deep", "piece.json");
    let made = 0;
    const make = () => Promise.resolve({ n: ++made, values: new Float64Array([1, 2]) });
    assertEquals(await piece(path, { a: 1 }, make) as unknown, { n: 1, values: [1, 2] });
    assertEquals(await piece(path, { a: 1 }, make) as unknown, { n: 1, values: [1, 2] });
    await assertRejects(
      () => piece(path, { a: 2, b: "x" }, make),
      Error,
      "a: 1 then, 2 now; b: nothing",
    );
  }));

Deno.test("wins, ties and losses: the paired difference of means over seeds, and its interval", () => {
  const score = (values: number[]): Score => ({
    measures: [{ key: "acc", name: "accuracy", count: values.length, statistic: meanOf(values) }],
    resamples: 500,
  });
  const fill = (n: number, ...values: number[]) =>
    Array.from({ length: n }, (_, i) => values[i % values.length] ?? 0);
  const base = { kind: "taught" as const, name: "base", scores: [score(fill(60, 0, 1))] };
  const better = {
    kind: "taught" as const,
    name: "better",
    scores: [score(fill(60, 1)), score(fill(60, 1, 1, 0))],
  };
  const worse = { kind: "taught" as const, name: "worse", scores: [score(fill(60, 0))] };
  const same = { kind: "taught" as const, name: "same", scores: [score(fill(60, 1, 0))] };
  const trivial = { kind: "trivial" as const, name: "always", scores: [score(fill(60, 0, 0, 1))] };
  const rows = rowsOf([trivial, base, better, worse, same], "base", 0);
  assertEquals(rows.map((r) => r.againstBase?.outcome), [
    undefined,
    undefined,
    "win",
    "loss",
    "tie",
  ]);
  const difference = rows[2]?.againstBase?.difference ?? NaN;
  assert(Math.abs(difference - (5 / 6 - 1 / 2)) < 1e-12);
  assertEquals(rows[2]?.spread?.greatest, 1);
  assertEquals(rows[1]?.againstTrivial?.from, "always");
  assertEquals(overSeeds([score([1]), { measures: [] }], "acc"), undefined);
  assertEquals(outcomeOf({ low: 0, high: 1 }), "tie");
  const summary = { id: "s", task: "t", place: ".", count: 60, units: "texts", notes: [], rows };
  assertEquals(
    tally([summary, summary]).map(({ name, win, tie, loss }) => [name, win, tie, loss]),
    [
      ["better", 2, 0, 0],
      ["worse", 0, 0, 2],
      ["same", 0, 2, 0],
    ],
  );
});

Deno.test("published figures stand by a set's task and the words of its path, with a caveat", () => {
  assertEquals(publishedFor("ner", "sets/NCBI_disease").map((f) => f.value), [89.71, 88.57]);
  assertEquals(publishedFor("ner", "sets/unheard"), []);
  for (const { caveat } of publishedFor("pubmedqa", "x")) assert(caveat.length > 10);
});

Deno.test("a plan times two steps of every run, counts the runs, and writes nothing", () =>
  withFolder(async (folder) => {
    const { out, ...rest } = request(folder);
    Deno.removeSync(out, { recursive: true });
    const asked: number[] = [];
    const { json, text } = await planReproduction({ ...rest, out }, (config, { batchSize }) => {
      asked.push(batchSize);
      return Promise.resolve(1000 * config.hiddenSize);
    });
    const pieces = json.pieces as Record<string, unknown>[];
    // Two learning rates with the first seed, and the chosen one with the second.
    assertEquals(pieces.map(({ set, model, runs, bytes }) => [set, model, runs, bytes]), [
      ["classify-deep-two", "base", 3, 8000],
      ["classify-deep-two", "adapted", 3, 8000],
      ["ner-one", "base", 3, 8000],
      ["ner-one", "adapted", 3, 8000],
      ["choices-three-held-back", "base", 0, undefined],
      ["choices-three-held-back", "adapted", 0, undefined],
    ]);
    assertEquals([asked.length, json.bytes], [4, 8000]);
    assert((json.seconds as number) > 0);
    assertStringIncludes(text, "three/notes.md: it has none of the known formats");
    assertStringIncludes(text, "8.0 kB of device memory at most");
    assert(!exists(out));
  }));

/** How often the process is killed before it is left alone. */
const KILLS = 4;

Deno.test("a reproduction killed at any file goes on to the same bytes as one that was not", () =>
  withFolder(async (folder) => {
    const data = join(folder, "data");
    put(data, {
      "one/train.x": tagged("zeratin", "lorvane", "quell"),
      "one/dev.x": tagged("lorvane"),
      "one/test.x": tagged("zeratin", "quell"),
      "held_back": asked(["a or b", 0], ["c or d", 1]),
    });
    const models = ["base", "adapted"].map((label, i) => model(folder, label, i + 1))
      .map(({ label, name }) => `${label}=${name}`).join(",");
    const settings = "--seeds 1 --epochs 2 --batch-size 2 --accumulate 1".split(" ");
    const words = (out: string) =>
      ["reproduce", "--models", models, "--data", data, "--out", join(folder, out)].concat(
        settings,
      );
    const begin = (out: string) => {
      const path = join(folder, out);
      Deno.mkdirSync(path);
      const begun = "2026-01-02T03:04:05.678Z";
      writeAtomic(
        join(path, "reproduction.json"),
        JSON.stringify({ program: "pubmamba reproduce", begun }),
      );
    };
    for (const out of ["whole", "killed"]) begin(out);
    const whole = await runTask(words("whole"));
    assertEquals(whole.code, 0, whole.stderr);
    let kills = 0;
    for (let start = 0; start < 40; start++) {
      const before = filesOf(join(folder, "killed")).size;
      // The program itself, without the launcher: a kill is to hit it alone.
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "--allow-all", join(ROOT, "main.ts"), ...words("killed")],
        stdout: "null",
        stderr: "null",
      }).spawn();
      let ended = false;
      const status = child.status.then((end) => {
        ended = true;
        return end;
      });
      while (!ended && kills < KILLS) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        if (countFiles(join(folder, "killed")) <= before) continue;
        try {
          child.kill("SIGKILL");
          kills++;
        } catch { /* it has ended */ }
        break;
      }
      if ((await status).code === 0) break;
    }
    assertEquals(kills, KILLS);
    const left = texts(filesOf(join(folder, "killed")));
    assertEquals(left.filter((name) => name.includes(".partial")), []);
    assertEquals(left, texts(filesOf(join(folder, "whole"))));
  }));

/** How many files there are below a folder that is being written. */
function countFiles(folder: string): number {
  let count = 0;
  try {
    for (const { name, isDirectory } of Deno.readDirSync(folder)) {
      count += isDirectory ? countFiles(join(folder, name)) : 1;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error; // removed meanwhile
  }
  return count;
}
