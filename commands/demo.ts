/** `demo`: the whole way on the bundled fixtures, by the functions of the real commands. @module */
import type { Command, Invocation } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { EXIT, fail, UserError } from "../core/errors.ts";
import { exists, readJson, refuseForeign, removeIfExists, writeAtomic } from "../core/files.ts";
import { fromFileUrl, join } from "../core/std.ts";
import { openDevice } from "../kernels/open_device.ts";
import { openModelFolder, writeModelFolder } from "../model/weights/mod.ts";
import { generateTokens } from "../model/mamba/generate.ts";
import {
  configFile,
  evaluatePerplexity,
  mergeConfig,
  openCorpus,
  openStart,
  readConfigFile,
  resolveConfig,
  trainRun,
} from "../model/training/mod.ts";
import { reportAfterValidations } from "../model/report/mod.ts";
import { createRecurrentMamba } from "../model/mamba/recurrent.ts";
import type { MakeModel } from "../model/mamba/types.ts";
import { runPipeline } from "../pipeline/run.ts";
import { loadTokenizer } from "../pipeline/tokenizer/mod.ts";
import { type Answers, type DemoResult, printResult, writeDemoReport } from "./demo_result.ts";
import { deviceOptions, makeModelOf } from "./device_options.ts";

const FIXTURES = fromFileUrl(new URL("../fixtures/", import.meta.url));
const INIT = "random:tiny";
/** The split that is scored; training and its validation curve never see it. */
const SPLIT = "test";
/** How many times lower the perplexity has to be in the end. */
const NEEDED_FACTOR = 5;
/** In the demo's folder, so that it knows its own and removes nothing else. */
const MARK = "demo.json";

interface Fact {
  disease: string;
  drug: string;
}

async function run(invocation: Invocation): Promise<number> {
  const { reporter, json } = invocation;
  const out = invocation.requiredString("out");
  prepareFolder(out);
  const result = await theWholeWay(invocation, out);
  const factor = result.before.perplexity / result.after.perplexity;
  printResult(reporter, result, out);
  writeAtomic(join(out, MARK), JSON.stringify({ factor, ...result }, null, 2) + "\n");
  if (json) reporter.line(jsonLine({ factor, ...result }));
  if (factor >= NEEDED_FACTOR) return EXIT.done;
  throw new UserError(
    `The demo fails its own check: perplexity fell ${
      factor.toFixed(1)
    } times, ${NEEDED_FACTOR} are ` +
      `needed; run "deno task doctor" to see whether this machine computes right`,
  );
}

/** Makes `out` an empty folder; only an earlier demo's is emptied. */
function prepareFolder(out: string): void {
  if (!exists(join(out, MARK))) refuseForeign(out, "the demo");
  removeIfExists(out, { recursive: true });
  Deno.mkdirSync(out, { recursive: true });
  writeAtomic(join(out, MARK), "{}\n");
}

async function theWholeWay(invocation: Invocation, out: string): Promise<DemoResult> {
  const { reporter, signal } = invocation;
  const start = performance.now();
  const place = (name: string) => join(out, name);
  const seconds = { pipeline: 0, training: 0, evaluation: 0, answers: 0, all: 0 };
  const stage = async <T>(name: keyof typeof seconds, title: string, work: () => Promise<T>) => {
    reporter.log(title);
    const begin = performance.now();
    try {
      return await work();
    } finally {
      seconds[name] += (performance.now() - begin) / 1000;
    }
  };

  const pipeline = await stage("pipeline", "1/5  From PubMed's XML to shards", () =>
    runPipeline({
      corpus: place("corpus"),
      source: join(FIXTURES, "mirror"),
      tokenizer: join(FIXTURES, "tokenizer.json"),
      sequenceLength: 256,
      validation: 0.05,
      test: 0.05,
      seed: 0,
      workers: Math.min(4, navigator.hardwareConcurrency),
      signal,
    }));

  using corpus = openCorpus(place("corpus"));
  const makeModel = await makeModelOf(invocation);
  const facts = readJson<Fact[]>(join(FIXTURES, "facts.json"));
  const recipe = readConfigFile(configFile("demo"));
  const steps = invocation.number("steps");
  const config = steps === undefined ? recipe : mergeConfig(recipe, { steps });
  const { seed } = resolveConfig(config, "the demo's recipe");
  const initial = openStart(INIT, corpus, { seed });
  writeModelFolder(place("initial"), initial);
  initial.close();
  const score = (model: string, makeModel: MakeModel) =>
    evaluatePerplexity({ model, corpus, split: SPLIT, batchSize: 8, makeModel, reporter, signal });
  const ask = (model: string) => answer(invocation, model, facts);

  const before = await stage(
    "evaluation",
    "2/5  What the untrained model makes of held-out documents",
    () => score(place("initial"), makeModel),
  );
  const answersBefore = await stage(
    "answers",
    "     ... and of questions",
    () => ask(place("initial")),
  );
  const training = await stage("training", "3/5  Training", () =>
    trainRun({
      corpus,
      init: INIT,
      out: place("run"),
      config,
      configSource: "the demo's recipe",
      resume: false,
      makeModel,
      listener: reportAfterValidations(place("run")),
      reporter,
      signal,
    }));
  const after = await stage(
    "evaluation",
    "4/5  Held-out documents again",
    () => score(training.checkpoint, makeModel),
  );
  const answers = await stage(
    "answers",
    "5/5  Questions again, and a text",
    () => ask(training.checkpoint),
  );
  seconds.all = (performance.now() - start) / 1000;
  const result = { pipeline, before, after, training, answersBefore, answers, report: "", seconds };
  result.report = writeDemoReport(result, place("run"), place("report.html"));
  return result;
}

/** Asks a model for the drug of each disease, and lets it write about the first. */
async function answer(
  { signal, string }: Invocation,
  path: string,
  facts: Fact[],
): Promise<Answers> {
  const folder = openModelFolder(path);
  const tokenizer = loadTokenizer(folder.tokenizerFile ?? fail(`${path} has no tokenizer`));
  const device = await openDevice({ variant: string("variant") ?? Deno.env.get("KERNEL_VARIANT") });
  try {
    const model = await createRecurrentMamba(device, folder.config, (name) => folder.read(name));
    const complete = async (prompt: string, maxNewTokens: number, temperature = 0) => {
      const ids = [folder.config.endOfText, ...tokenizer.encode(prompt)];
      const out: number[] = [];
      const options = { maxNewTokens, temperature, signal };
      for await (const { token } of generateTokens(model, ids, options)) out.push(token);
      return tokenizer.decode(out);
    };
    let right = 0;
    for (const { disease, drug } of facts) {
      const length = tokenizer.encode(` ${drug}`).length;
      const text = await complete(`${disease} is treated with`, length);
      right += Number(text.trim() === drug);
    }
    const prompt = `Treatment of ${facts[0]?.disease ?? ""}: a review.`;
    const text = await complete(prompt, 120);
    model.destroy();
    return { right, asked: facts.length, prompt, text };
  } finally {
    folder.close();
    device.destroy();
  }
}

/** `demo`. */
export const command: Command = {
  name: "demo",
  summary: "The whole way on bundled data: PubMed XML to a trained, evaluated model; no GPU needed",
  description:
    "Reads the invented PubMed files under fixtures/, trains a tiny Mamba on them, and " +
    "scores it on documents it never saw and on the facts it read. Exits with 1 where the " +
    "perplexity does not fall at least 5 times.",
  options: {
    out: {
      type: "string",
      placeholder: "DIR",
      default: "demo-output",
      help: "the folder to write",
    },
    steps: { type: "integer", min: 1, help: "updates to train, instead of the recipe's" },
    ...deviceOptions,
  },
  examples: [
    "deno task demo",
    "npx --yes deno@2.9.6 task demo",
    "deno task demo --out demo --json",
  ],
  run,
};
