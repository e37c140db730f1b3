/** `evaluate ner`: entity-level F1 of tagged sentences, of a system's file or of a model. @module */
import type { Command, Invocation } from "../core/cli.ts";
import { UsageError } from "../core/errors.ts";
import { openReader } from "../model/tasks/core/choice_run.ts";
import { compareConll, readConll, type TaggedSentence } from "../model/tasks/ner/ner.ts";
import { formatNer, measureNer, nerJson } from "../model/tasks/ner/ner_report.ts";
import { measureFields, writeTaskResults } from "../model/tasks/core/results_files.ts";
import { tagSentences } from "../model/tasks/ner/tagger.ts";
import { countTags } from "../model/tasks/ner/tagging.ts";
import { localModel } from "../model/weights/hub.ts";
import { parameterCount } from "../model/mamba/parameters.ts";
import { choiceOptions } from "./choice_options.ts";
import { makeModelOf } from "./device_options.ts";
import { modelOption, tokenizerOption } from "./model_options.ts";

const { base: _base, ...readerOptions } = choiceOptions;

export const command: Command = {
  name: "evaluate ner",
  summary: "Score tagged named entities: entity-level precision, recall and F1",
  description:
    "Counts entities as conlleval does: bounds and type must both be right. With --system, reads " +
    "two CoNLL files of the same sentences (a token and its tag a line, a blank line between " +
    "sentences). With --model, a model that finetune ner has made tags the sentences. The " +
    "intervals are 95% bootstrap intervals over sentences.",
  options: {
    gold: { type: "string", placeholder: "F.tsv", help: "the golden tags", required: true },
    system: { type: "string", placeholder: "F.tsv", help: "a system's tags" },
    model: modelOption("the model to ask instead"),
    ...readerOptions,
  },
  examples: [
    "deno task evaluate ner --gold BC5CDR-IOB/test.tsv --system predictions.tsv",
    "deno task evaluate ner --gold BC5CDR-IOB/test.tsv --model runs/ner/checkpoints/step-00001430",
  ],
  async run(invocation) {
    const { reporter, string } = invocation;
    const seed = invocation.number("seed")!;
    const goldFile = string("gold")!;
    const system = string("system");
    const model = string("model");
    if ((system === undefined) === (model === undefined)) {
      throw new UsageError(
        "Give either --system, the answers to score, or --model, a model to ask",
      );
    }
    const gold = readConll(goldFile).slice(0, invocation.number("limit"));
    if (system === undefined) return await askModel(invocation, gold, model!);
    const files = { gold: goldFile, system };
    const tagged = readConll(system).slice(0, invocation.number("limit"));
    const counts = compareConll(gold, tagged, files);
    const measures = measureNer(counts, seed);
    reporter.line(formatNer(measures));
    if (invocation.json) {
      reporter.line(JSON.stringify({ ...nerJson(measures), sentences: counts.length }));
    }
  },
};

async function askModel(invocation: Invocation, gold: TaggedSentence[], model: string) {
  const { reporter, signal } = invocation;
  const seed = invocation.number("seed")!;
  const path = await localModel(model, reporter);
  const started = new Date();
  const { folder, tokenizer } = openReader(path, await tokenizerOption(invocation));
  const progress = reporter.progress("Tagging", gold.length, "sentences");
  try {
    const { tags, device } = await tagSentences(gold, folder, tokenizer, {
      maxTokens: invocation.number("max-tokens")!,
      batchSize: invocation.number("batch-size")!,
      makeModel: await makeModelOf(invocation),
      onProgress: (done) => progress.update(done),
      signal,
    });
    progress.finish();
    const measures = measureNer(countTags(gold, tags), seed);
    reporter.line(formatNer(measures));
    const json = { ...nerJson(measures), sentences: gold.length };
    const files = writeTaskResults(invocation.string("out")!, {
      name: "ner",
      count: gold.length,
      fields: measureFields("f1", measures.all.f1),
      config: { output_type: "tags", metric_list: [{ metric: "f1", higher_is_better: true }] },
      samples: gold.map(({ tokens, tags: target }, i) => ({
        doc_id: i,
        doc: { tokens },
        target,
        prediction: tags[i],
      })),
    }, {
      model,
      parameters: parameterCount(folder.config),
      device,
      seed,
      limit: invocation.number("limit"),
      started,
      finished: new Date(),
      more: { ner: json },
    });
    reporter.log(`Wrote ${files.results} and ${files.samples}`);
    if (invocation.json) reporter.line(JSON.stringify({ ...json, files }));
  } finally {
    progress.finish();
    folder.close();
  }
}
