/**
 * `bench finetune`: sentences per second that a head of labels tags and learns, beside what the model's
 * own forward pass could do with the same tokens if no row had room left and nothing else took time.
 * @module
 */
import type { Invocation } from "../core/cli.ts";
import { formatBytes, formatTable } from "../core/reporter.ts";
import { join } from "../core/std.ts";
import { deviceModel, planMemory } from "../model/mamba/device_model.ts";
import { presetConfig } from "../model/mamba/config.ts";
import type { HeadContext } from "../model/mamba/head.ts";
import { withLora } from "../model/mamba/parameters.ts";
import { Random } from "../model/mamba/random.ts";
import type { MadeModel, UpdateOptions } from "../model/mamba/types.ts";
import { fittingShape, stepExamples } from "../model/tasks/core/batching.ts";
import { headApproach } from "../model/tasks/core/head_approach.ts";
import { packTexts } from "../model/tasks/core/head_examples.ts";
import type { TaskReader } from "../model/tasks/core/task.ts";
import { TAG_HEAD } from "../model/tasks/ner/head.ts";
import type { TaggedSentence } from "../model/tasks/ner/ner.ts";
import { ner } from "../model/tasks/ner/task.ts";
import { loadTokenizer } from "../pipeline/tokenizer/mod.ts";
import { quickParameters } from "./quick_parameters.ts";

const FIXTURE = join(import.meta.dirname ?? ".", "../fixtures/tokenizer.json");
const SENTENCES = 480;
/** Examples of an update. */
const PER_STEP = 32;
const ROWS = 8;
const LABELS = ["O", "B-Disease", "I-Disease"];
/** Sparse features that a head has by default. */
const SPARSE = ner.finetuning?.defaults?.head?.sparse;
const CONTEXTS: readonly HeadContext[] = ["forward", "both"];

/** Invented sentences as long as those of NCBI-disease: 25 words in the mean, a few of 80. */
function inventedSentences(): TaggedSentence[] {
  const random = new Random(1, "bench finetune");
  const words = ["patients", "with", "ataxia", "of", "the", "gene", "were", "found", "loss", "in"];
  return Array.from({ length: SENTENCES }, () => {
    const length = Math.min(80, 4 + Math.floor(-21 * Math.log(1 - random.uniform())));
    const tokens = Array.from({ length }, () => words[random.integer(words.length)] ?? "the");
    const tags = tokens.map((word) => word === "ataxia" ? "B-Disease" : "O");
    return { tokens, tags, line: 1 };
  });
}

/** What one way of reading reached. */
interface HeadFigures {
  context: HeadContext;
  /** Share of the rows' places that sentences fill. */
  fill: number;
  /** Sentences whose tokens the forward pass alone takes in, in full rows. */
  forward_sentences_per_second: number;
  tagged_sentences_per_second: number;
  /** Tagged over forward. */
  share_of_forward: number;
  learned_sentences_per_second: number;
  /** Learned over what forward, backward and update take in, in full rows that are packed already. */
  share_of_passes: number;
}

const UPDATE: UpdateOptions = {
  step: 1,
  learningRate: 1e-4,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0,
  maxGradNorm: 1,
};

/** Seconds that `body` takes, the better of two times after one that compiles. */
async function secondsOf(body: () => Promise<unknown>): Promise<number> {
  await body();
  let best = Infinity;
  for (let i = 0; i < 2; i++) {
    const began = performance.now();
    await body();
    best = Math.min(best, (performance.now() - began) / 1000);
  }
  return best;
}

/** Device memory of training a model at a batch's shape. */
interface MemoryFigures {
  precision: "f32" | "mixed";
  trained: "all" | "adapters";
  /** Bytes with every activation kept, and with them recomputed. */
  kept: number;
  recomputed: number;
}

/** The model and the batch whose memory is told: 4 rows of 256 tokens of mamba-130m. */
const MEMORY = { preset: "mamba-130m", batchSize: 4, sequenceLength: 256, rank: 8 };

/** Plans the memory of training all of a model, and adapters of every linear map of its layers. */
async function memoryFigures(variant: string | undefined): Promise<MemoryFigures[]> {
  const whole = presetConfig(MEMORY.preset);
  const { rank, batchSize, sequenceLength } = MEMORY;
  const adapters = { targets: "linear", rank, alpha: 16, dropout: 0, rootScale: false };
  const configs = { all: whole, adapters: withLora(whole, adapters) };
  const figures: MemoryFigures[] = [];
  for (const precision of ["f32", "mixed"] as const) {
    for (const trained of ["all", "adapters"] as const) {
      const shape = { batchSize, sequenceLength, precision };
      const { keep, recompute } = await planMemory({ variant }, configs[trained], shape);
      figures.push({ precision, trained, kept: keep.total, recomputed: recompute.total });
    }
  }
  return figures;
}

/**
 * Measures a preset's sizes; `--model tiny` by default. It is longer than 100 lines because it prints
 * each of its tables where it measures it.
 */
export async function benchFinetune(invocation: Invocation): Promise<Record<string, unknown>> {
  const { reporter } = invocation;
  const preset = invocation.string("model") ?? "tiny";
  const tokenizer = loadTokenizer(invocation.string("tokenizer") ?? FIXTURE);
  const { vocabularySize: vocabSize, endOfText } = tokenizer;
  const sizes = presetConfig(preset, { vocabSize, endOfText });
  const sentences = inventedSentences();
  const reader: TaskReader = { tokenizer, labels: LABELS, maxTokens: 512 };
  const figures: HeadFigures[] = [];
  let device = "";
  for (const context of CONTEXTS) {
    const approach = headApproach(TAG_HEAD, { context, crf: true, sparse: SPARSE });
    const config = { ...sizes, head: approach.head(LABELS) };
    const examples = approach.examples(sentences, reader);
    const shape = fittingShape(examples, {
      shortest: approach.rowLength(sentences, reader),
      perStep: PER_STEP,
      most: ROWS,
      seed: 0,
    });
    const sequenceLength = shape.length;
    const batchSize = approach.rows(shape.rows);
    const examplesOf = stepExamples(examples, PER_STEP, 0);
    const make = deviceModel({
      variant: invocation.string("variant") ?? Deno.env.get("KERNEL_VARIANT"),
    });
    const made: MadeModel = await make(config, { batchSize, sequenceLength, dropout: 0.2 });
    try {
      const { model } = made;
      device = made.device;
      model.writeParameters(quickParameters(config));
      const sorted = [...examples].sort((a, b) => b.tokens.length - a.tokens.length);
      const batches = packTexts(sorted, config.head, batchSize, sequenceLength, endOfText);
      const passes = await secondsOf(async () => {
        for (const batch of batches) await model.evaluate(batch);
      });
      const directions = context === "both" ? 2 : 1;
      const tokens = directions * examples.reduce((sum, e) => sum + e.tokens.length, 0);
      const places = batches.length * batchSize * sequenceLength;
      const forward = places / passes * SENTENCES / tokens;
      const tagging = await secondsOf(() => approach.answer(sentences, made, reader));
      const steps = Math.ceil(SENTENCES / PER_STEP);
      const pack = (step: number) =>
        packTexts(examplesOf(step), config.head, batchSize, sequenceLength, endOfText);
      const learn = async (packed: ReturnType<typeof pack>) => {
        for (const batch of packed) model.accumulate(batch, 1 / batch.scored);
        model.update(UPDATE);
        await model.report();
      };
      const learning = await secondsOf(async () => {
        for (let step = 0; step < steps; step++) await learn(pack(step));
      });
      const ready = Array.from({ length: steps }, (_, step) => pack(step));
      const learningPasses = await secondsOf(async () => {
        for (const packed of ready) await learn(packed);
      });
      const stepPlaces = ready.flat().length * batchSize * sequenceLength;
      figures.push({
        context,
        fill: tokens / places,
        forward_sentences_per_second: forward,
        tagged_sentences_per_second: SENTENCES / tagging,
        share_of_forward: SENTENCES / tagging / forward,
        learned_sentences_per_second: SENTENCES / learning,
        share_of_passes: learningPasses / learning * tokens / stepPlaces,
      });
    } finally {
      made.close();
    }
  }
  reporter.line(`${device}, ${preset}, ${vocabSize.toLocaleString("en")} ids, invented sentences`);
  reporter.line(formatTable(
    ["context", "fill", "forward, sentences/s", "tagged/s", "of forward", "learned/s", "of passes"],
    figures.map((f) => [
      f.context,
      `${(100 * f.fill).toFixed(0)} %`,
      f.forward_sentences_per_second.toFixed(0),
      f.tagged_sentences_per_second.toFixed(0),
      `${(100 * f.share_of_forward).toFixed(0)} %`,
      f.learned_sentences_per_second.toFixed(0),
      `${(100 * f.share_of_passes).toFixed(0)} %`,
    ]),
  ));
  const memory = await memoryFigures(
    invocation.string("variant") ?? Deno.env.get("KERNEL_VARIANT"),
  );
  reporter.line();
  reporter.line(
    `Planned device memory of training ${MEMORY.preset} at ${MEMORY.batchSize} x ` +
      `${MEMORY.sequenceLength} tokens; adapters of rank ${MEMORY.rank} of every linear map`,
  );
  reporter.line(formatTable(
    ["precision", "trained", "activations kept", "recomputed"],
    memory.map(({ precision, trained, kept, recomputed }) => [
      precision,
      trained,
      formatBytes(kept),
      formatBytes(recomputed),
    ]),
  ));
  return { device, model: preset, figures, memory };
}
