/**
 * Putting a task to a model by a head of labels of its own: what the tasks have in common. A task says
 * which tokens its items read and what the head's logits mean.
 * @module
 */
import { Interrupted } from "../../../core/errors.ts";
import { CRF_NAMES, type HeadConfig } from "../../mamba/head.ts";
import type { TrainableModel } from "../../mamba/types.ts";
import type { CrfParameters } from "../../../kernels/reference/crf.ts";
import type { SupervisedExample } from "./examples.ts";
import {
  type MarkedText,
  type PackedTexts,
  packTexts,
  readText,
  slotsOf,
  textLimit,
} from "./head_examples.ts";
import type { HeadApproach, HeadChoice, TaskReader } from "./task.ts";

/** What a head says of one item of a task. */
export interface HeadOutput {
  /** By text of the item: (items of the text, K) logits. */
  logits: Float32Array[];
  /** Where the head has one. */
  field?: CrfParameters;
  /** Tokens that were cut from the item's texts. */
  cut: number;
}

/** A task as a head sees it. */
export interface HeadForm<Item, Answer> {
  loss: HeadConfig["loss"];
  /** Marks of an item, which all of its items have. */
  marks: number;
  /** Whether a text's items follow each other, as words do. */
  sequence: boolean;
  /**
   * The texts of an item, of at most `limit` tokens each. Where `sparse` is given, their items have sparse
   * features below it.
   */
  texts(item: Item, limit: number, reader: TaskReader, sparse?: number): MarkedText[];
  /** What the logits say. `index` is the item's number among those that are asked. */
  answer(item: Item, output: HeadOutput, reader: TaskReader, index: number): Answer;
}

/** Rows are whole multiples of this many tokens. */
const ROW_MULTIPLE = 32;

/** The approach of a task by a head. */
export function headApproach<Item, Answer>(
  form: HeadForm<Item, Answer>,
  { context, crf, sparse }: HeadChoice,
): HeadApproach<Item, Answer> {
  const read = (item: Item, reader: TaskReader): SupervisedExample[] =>
    form.texts(item, textLimit(context, reader.maxTokens), reader, sparse)
      .map((text) => readText(text, context, reader.tokenizer.endOfText));
  return {
    name: "head",
    head: (labels) => ({
      loss: form.loss,
      labels: form.loss === "squared" ? 1 : labels.length,
      slots: slotsOf(context, form.marks),
      crf: crf && form.sequence,
      context,
      ...(sparse ? { sparse } : {}),
    }),
    rows: (textRows) => context === "both" ? 2 * textRows : textRows,
    rowLength(items, reader) {
      let longest = 1;
      for (const item of items) {
        for (const { tokens } of read(item, reader)) longest = Math.max(longest, tokens.length);
      }
      return Math.ceil(longest / ROW_MULTIPLE) * ROW_MULTIPLE;
    },
    examples: (items, reader) => items.flatMap((item) => read(item, reader)),
    async answer(items, { model }, reader) {
      const texts = items.map((item) => read(item, reader));
      const outputs = await outputsOf(texts, model, reader);
      return items.map((item, i) => {
        const output = outputs[i];
        if (!output) throw new RangeError(`Item ${i} has no output`);
        return form.answer(item, output, reader, i);
      });
    },
  };
}

/** Items whose texts are packed together. */
const ITEMS_AT_ONCE = 1024;

/** A batch whose logits are being computed. */
interface Asked {
  batch: PackedTexts;
  logits: Promise<Float32Array>;
}

/** Every item's logits, longest texts first, so that rows are full. */
async function outputsOf(
  texts: readonly SupervisedExample[][],
  model: TrainableModel,
  { signal, onProgress, tokenizer }: TaskReader,
): Promise<HeadOutput[]> {
  const { head } = model.config;
  if (!head || !model.labelLogits) throw new RangeError("The model has no head of labels");
  const field = head.crf ? await fieldOf(model) : undefined;
  const outputs = texts.map((own): HeadOutput => ({
    logits: own.map(() => new Float32Array()),
    field,
    cut: own.reduce((sum, { cut = 0 }) => sum + cut, 0),
  }));
  for (let from = 0; from < texts.length; from += ITEMS_AT_ONCE) {
    const to = Math.min(texts.length, from + ITEMS_AT_ONCE);
    const list = texts.slice(from, to).flatMap((own, i) =>
      own.map((example, text) => ({ example, item: from + i, text }))
    ).sort((a, b) => b.example.tokens.length - a.example.tokens.length);
    const examples = list.map(({ example }) => example);
    const { batchSize, sequenceLength } = model;
    const take = async ({ batch, logits }: Asked) => {
      const values = await logits;
      for (const { index, first, count } of batch.texts) {
        const own = list[index];
        const output = own && outputs[own.item];
        if (!output) continue;
        output.logits[own.text] = values.slice(first * head.labels, (first + count) * head.labels);
      }
    };
    // The next batch is asked for before the last one's logits are waited for, so that the device has
    // work while the host prepares and copies.
    let last: Asked | undefined;
    for (
      const batch of packTexts(examples, head, batchSize, sequenceLength, tokenizer.endOfText)
    ) {
      if (signal?.aborted) {
        await last?.logits;
        throw new Interrupted("Interrupted: no results were written");
      }
      const logits = model.labelLogits(batch);
      if (last) await take(last);
      last = { batch, logits };
    }
    if (last) await take(last);
    onProgress?.(to);
  }
  return outputs;
}

/** The parameters of a model's conditional random field. */
async function fieldOf(model: TrainableModel): Promise<CrfParameters> {
  const values = await Promise.all(CRF_NAMES.map(async (name) => {
    const own = await model.readTensor?.("value", name) ??
      (await model.readParameters()).get(name);
    return Float64Array.from(own ?? []);
  }));
  const [begin, end, transition] = values;
  if (!begin || !end || !transition) throw new RangeError("The model has no random field");
  return { begin, end, transition };
}

/** ln of the softmax of logits. */
export function logSoftmax(logits: ArrayLike<number>): number[] {
  const values = Array.from(logits);
  const largest = Math.max(...values);
  const total = largest + Math.log(values.reduce((sum, x) => sum + Math.exp(x - largest), 0));
  return values.map((x) => x - total);
}
