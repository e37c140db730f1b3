/** A Mamba-2 model through the commands: trained, resumed, exported, evaluated, run. */
import { join } from "../../core/std.ts";
import { checkpointPath } from "../../model/training/checkpoint.ts";
import { openModelFolder } from "../../model/weights/folder.ts";
import { parameterList } from "../../model/mamba/parameters.ts";
import { Random } from "../../model/mamba/random.ts";
import { buildShards, writeTokenFile } from "../../pipeline/shards/mod.ts";
import { loadTokenizer } from "../../pipeline/tokenizer/mod.ts";
import { assert, assertEquals } from "../assert.ts";
import { withFolder, writeJson } from "../model/helpers.ts";
import { ROOT } from "../shared.ts";

const TOKENIZER = join(ROOT, "fixtures", "tokenizer.json");

/** A corpus of 200 invented documents. */
async function makeCorpus(corpus: string): Promise<void> {
  const tokenizer = loadTokenizer(TOKENIZER);
  const words = "the trial of a new drug in patients with fever showed no effect".split(" ");
  const random = new Random(1, "documents");
  const documents = Array.from({ length: 200 }, (_, i) => ({
    pmid: i + 1,
    version: 1,
    ordinal: i,
    text: Array.from({ length: 30 }, () => words[random.integer(words.length)]).join(" "),
  }));
  const path = join(corpus, "tokens", "one.tokens");
  Deno.mkdirSync(join(corpus, "tokens"), { recursive: true });
  writeTokenFile(path, "one", documents, tokenizer, 0);
  await buildShards({
    corpus,
    tokenFiles: [{ source: "one", path }],
    live: { isLive: () => true },
    tokenizer,
    sequenceLength: 40,
    seed: 0,
    validation: 0.1,
    test: 0.1,
    sourceFiles: [{ name: "one", md5: "0".repeat(32) }],
  });
}

/** Runs a command; returns its last line of stdout. */
async function run(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", join(ROOT, "main.ts"), ...args],
    env: { NO_COLOR: "1" },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assertEquals(code, 0, text(stderr));
  return text(stdout).trim().split("\n").at(-1) ?? "";
}

/** Copies a folder and all that is in it. */
async function copyFolder(from: string, to: string): Promise<void> {
  Deno.mkdirSync(to, { recursive: true });
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyFolder(join(from, name), join(to, name));
    else Deno.copyFileSync(join(from, name), join(to, name));
  }
}

/** Every parameter of a model folder. */
function weights(path: string): Map<string, Float32Array> {
  const folder = openModelFolder(path);
  try {
    return new Map(parameterList(folder.config).map((p) => [p.name, folder.read(p.name)]));
  } finally {
    folder.close();
  }
}

Deno.test("a Mamba-2 model is trained, resumed, exported, evaluated and run by the commands", () =>
  withFolder(async (dir) => {
    const corpus = join(dir, "corpus");
    await makeCorpus(corpus);
    const options = [
      "--corpus",
      corpus,
      "--init=random:tiny2",
      "--steps=6",
      "--batch-size=2",
      "--learning-rate=0.01",
      "--checkpoint-every=3",
      "--precision=mixed",
      "--set=optimizer.layer_decay=0.9",
      "--set=average.decay=0.9",
      "--set=validation.rows=4",
    ];
    const whole = join(dir, "whole");
    const parts = join(dir, "parts");
    await run("train", ...options, "--out", whole);
    // A run that lost its last three steps does them again, to the same bits.
    await copyFolder(whole, parts);
    Deno.removeSync(checkpointPath(parts, 6), { recursive: true });
    await run("train", "--resume", "--corpus", corpus, "--out", parts);
    const losses = (path: string) =>
      Deno.readTextFileSync(join(path, "metrics.jsonl")).trim().split("\n")
        .map((line) => JSON.parse(line).loss);
    assertEquals(losses(parts), losses(whole));
    assert(losses(whole)[5] < losses(whole)[0], String(losses(whole)));
    const hf = join(dir, "hf");
    const other = join(dir, "mamba-ssm");
    await run("export", "--run", whole, "--out", hf);
    await run("export", "--run", parts, "--out", other, "--layout=mamba-ssm");
    assertEquals(weights(other), weights(hf));
    const gguf = join(dir, "gguf");
    await run("export", "--run", whole, "--out", gguf, "--layout=gguf", "--type=q8_0");
    const magic = Deno.readFileSync(join(gguf, "model.gguf")).subarray(0, 4);
    assertEquals(new TextDecoder().decode(magic), "GGUF");
    const perplexity = async (model: string) =>
      JSON.parse(
        await run("evaluate", "perplexity", "--model", model, "--corpus", corpus, "--json"),
      ).perplexity;
    const value = await perplexity(hf);
    assert(value > 1 && value < 2000, String(value));
    assertEquals(await perplexity(other), value);
    const generated = JSON.parse(
      await run("generate", "--model", other, "--prompt=The trial", "--max-new-tokens=4", "--json"),
    );
    assertEquals(generated.tokens.length, 4);
    await extendBoth(dir, [hf, other]);
    await finetuneBoth(dir, [hf, other]);
  }));

/** Gives models of both layouts the rows of further tokens, with contexts: the same ones. */
async function extendBoth(dir: string, models: string[]): Promise<void> {
  const texts = join(dir, "texts.jsonl");
  const lines = Array.from(
    { length: 40 },
    (_, i) =>
      JSON.stringify({ text: `angiotensin convertase number ${i} and angiotensin convertase` }),
  );
  Deno.writeTextFileSync(texts, lines.join("\n"));
  const tokenizer = join(dir, "extended.json");
  const extend = ["--tokenizer", TOKENIZER, "--input", texts, "--add", "2", "--out", tokenizer];
  await run("pipeline", "extend-tokenizer", ...extend);
  const read: Map<string, Float32Array>[] = [];
  for (const model of models) {
    const out = `${model}-extended`;
    const words = ["--tokenizer", tokenizer, "--contexts", texts, "--out", out];
    await run("model", "extend", "--model", model, ...words);
    const { config } = openModelFolder(out);
    assertEquals(config.vocabSize, openModelFolder(model).config.vocabSize + 2);
    read.push(weights(out));
  }
  assertEquals(read[0], read[1]);
}

/** Fine-tunes models of both layouts, on answers and with a head of labels: to the same scores. */
async function finetuneBoth(dir: string, models: string[]): Promise<void> {
  const questions = join(dir, "pubmedqa");
  Deno.mkdirSync(questions);
  const entries = Array.from({ length: 24 }, (_, i): [string, unknown] => [`${1000 + i}`, {
    QUESTION: `Is it ${i}?`,
    CONTEXTS: ["It may be."],
    final_decision: i % 2 ? "yes" : "no",
  }]);
  const truth = entries.slice(12).map(([pmid], i) => [pmid, i % 2 ? "yes" : "no"]);
  writeJson(questions, "ori_pqal.json", Object.fromEntries(entries));
  writeJson(questions, "test_ground_truth.json", Object.fromEntries(truth));
  const entities = join(dir, "ner");
  Deno.mkdirSync(entities);
  const sentence = (i: number) => `The\tO\ndrug\tO\nfever${i}\tB\nheals\tO\n\n`;
  for (const split of ["train", "devel", "test"]) {
    const text = Array.from({ length: 12 }, (_, i) => sentence(i)).join("");
    Deno.writeTextFileSync(join(entities, `${split}.tsv`), text);
  }
  const tuned = async (task: string, data: string, ...more: string[]) => {
    const found: unknown[] = [];
    for (const model of models) {
      const out = `${model}-${task}`;
      const words = ["--data", data, "--out", out, "--epochs=1", "--json", ...more];
      const result = JSON.parse(await run("finetune", task, "--model", model, ...words));
      const lines = Deno.readTextFileSync(join(out, "metrics.jsonl")).trim().split("\n");
      found.push(
        lines.map((line) => JSON.parse(line).loss),
        result.model.scores ?? result.model.accuracy,
      );
    }
    assertEquals(found.slice(2), found.slice(0, 2));
  };
  await tuned("pubmedqa", questions, "--max-tokens=128");
  await tuned("ner", entities);
}
