/**
 * The loss of documents, each by itself, in two ways.
 *
 * `documents` is the honest one: a document is read from the boundary token on, every one of its tokens
 * and its end is scored once, padding never is. One that is longer than the window is read in windows
 * that overlap; of each but the first only what no earlier one scored counts, so that every token is
 * seen with at least `window - stride` tokens before it.
 *
 * `v1` is what the code published with BioMamba computes: a document is cut to 512 tokens or filled up
 * to them with the end-of-text token, every position but the last is scored, the filling too, and the
 * result is the mean of the batches' means. It says little of text: short documents score well because
 * filling is easy.
 * @module
 */
import { Interrupted } from "../../../core/errors.ts";
import type { Reporter } from "../../../core/reporter.ts";
import type { Tokenizer } from "../../../pipeline/tokenizer/mod.ts";
import { type Batch, IGNORED_TARGET, type TrainableModel } from "../../mamba/types.ts";
import { firstFit } from "../core/first_fit.ts";
import type { TextDocument } from "./documents.ts";

/** The loss of one document, and what it is measured by. */
export interface DocumentScore {
  id: string;
  /** Summed negative log-likelihood of the scored tokens, in nats. */
  nll: number;
  /** Scored tokens. */
  tokens: number;
  /** Whether it was read in several windows, or with v1 cut. */
  long: boolean;
}

/** The scores of documents, in their order. */
export interface DocumentScores {
  scores: DocumentScore[];
  /** The mean of the batches' means, where the protocol has that. */
  batchMean?: number;
}

/** How documents are read. */
export interface WindowOptions {
  /** The most tokens that are read at once. */
  window: number;
  /** Tokens from the beginning of a window to that of the next; at most the window. */
  stride: number;
}

/** A stretch of a document: what is read, and what of it is scored. */
interface Stretch {
  document: number;
  tokens: number[];
  targets: number[];
}

/** The stretches of a document's tokens. */
export function stretchesOf(
  document: number,
  ids: ArrayLike<number>,
  endOfText: number,
  { window, stride }: WindowOptions,
): Stretch[] {
  const read = [endOfText, ...Array.from(ids)];
  const targets = [...Array.from(ids), endOfText];
  const stretches: Stretch[] = [];
  let scored = 0;
  for (let from = 0; scored < read.length; from += stride) {
    const to = Math.min(read.length, from + window);
    const skipped = scored - from;
    stretches.push({
      document,
      tokens: read.slice(from, to),
      targets: targets.slice(from, to).map((id, i) => i < skipped ? IGNORED_TARGET : id),
    });
    scored = to;
  }
  return stretches;
}

/** What both ways of scoring take. */
export interface ScoringRequest {
  documents: readonly TextDocument[];
  tokenizer: Tokenizer;
  model: TrainableModel;
  reporter: Reporter;
  signal: AbortSignal;
}

const interrupted = () => new Interrupted("Interrupted; nothing was written");

/** Documents that are tokenized and packed together. */
const DOCUMENTS_AT_ONCE = 1024;

/** Scores documents in windows of the model's rows. */
export async function scoreDocuments(
  request: ScoringRequest,
  stride: number,
): Promise<DocumentScores> {
  const { documents, tokenizer, model, reporter, signal } = request;
  const { batchSize, sequenceLength } = model;
  const { endOfText } = model.config;
  const scores = documents.map(({ id }): DocumentScore => ({ id, nll: 0, tokens: 0, long: false }));
  const progress = reporter.progress("Evaluating", documents.length, "documents");
  try {
    for (let first = 0; first < documents.length; first += DOCUMENTS_AT_ONCE) {
      const some = documents.slice(first, first + DOCUMENTS_AT_ONCE);
      const stretches = some.flatMap(({ text }, i) => {
        const own = stretchesOf(first + i, tokenizer.encode(text), endOfText, {
          window: sequenceLength,
          stride,
        });
        const score = scores[first + i];
        if (score) score.long = own.length > 1;
        return own;
      }).sort((a, b) => b.tokens.length - a.tokens.length);
      const rows = firstFit(stretches, sequenceLength);
      for (let at = 0; at < rows.length; at += batchSize) {
        if (signal.aborted) throw interrupted();
        await addLosses(model, rows.slice(at, at + batchSize), scores);
        const share = Math.min(1, (at + batchSize) / rows.length);
        progress.update(Math.min(documents.length, Math.floor(first + share * some.length)));
      }
    }
    return { scores };
  } finally {
    progress.finish();
  }
}

/** Computes one batch of rows of stretches, and adds their losses to the documents'. */
async function addLosses(
  model: TrainableModel,
  rows: readonly Stretch[][],
  scores: readonly DocumentScore[],
): Promise<void> {
  const { batchSize, sequenceLength, config } = model;
  const size = batchSize * sequenceLength;
  const batch: Batch = {
    tokens: new Uint32Array(size).fill(config.endOfText),
    starts: new Uint8Array(size).fill(1),
    targets: new Int32Array(size).fill(IGNORED_TARGET),
  };
  const places: { at: number; stretch: Stretch }[] = [];
  rows.forEach((row, r) => {
    let at = r * sequenceLength;
    for (const stretch of row) {
      batch.tokens.set(stretch.tokens, at);
      batch.starts.fill(0, at + 1, at + stretch.tokens.length);
      batch.targets.set(stretch.targets, at);
      places.push({ at, stretch });
      at += stretch.tokens.length;
    }
  });
  const { positionNll } = await model.evaluate(batch);
  if (!positionNll) throw new TypeError("This model gives no losses of positions");
  for (const { at, stretch: { document, targets } } of places) {
    const score = scores[document];
    targets.forEach((target, i) => {
      if (!score || target < 0) return;
      score.nll += positionNll[at + i] ?? NaN;
      score.tokens++;
    });
  }
}

/** Tokens of a document by the v1 protocol. */
export const V1_TOKENS = 512;

/** Scores documents by the v1 protocol; the model's rows have {@linkcode V1_TOKENS} tokens. */
export async function scoreByV1(request: ScoringRequest): Promise<DocumentScores> {
  const { documents, tokenizer, model, reporter, signal } = request;
  const { batchSize, sequenceLength: length } = model;
  const { endOfText } = model.config;
  const scores: DocumentScore[] = [];
  const means: number[] = [];
  const progress = reporter.progress("Evaluating by v1", documents.length, "documents");
  try {
    for (let at = 0; at < documents.length; at += batchSize) {
      if (signal.aborted) throw interrupted();
      const some = documents.slice(at, at + batchSize);
      const batch: Batch = {
        tokens: new Uint32Array(batchSize * length).fill(endOfText),
        starts: new Uint8Array(batchSize * length),
        targets: new Int32Array(batchSize * length).fill(IGNORED_TARGET),
      };
      for (let row = 0; row < batchSize; row++) batch.starts[row * length] = 1;
      const long = some.map(({ text }, row) => {
        const ids = tokenizer.encode(text);
        batch.tokens.set(ids.subarray(0, length), row * length);
        const read = batch.tokens.subarray(row * length, (row + 1) * length);
        batch.targets.set(read.subarray(1), row * length);
        return ids.length > length;
      });
      const { positionNll } = await model.evaluate(batch);
      if (!positionNll) throw new TypeError("This model gives no losses of positions");
      let sum = 0;
      some.forEach(({ id }, row) => {
        let nll = 0;
        for (let t = 0; t < length - 1; t++) nll += positionNll[row * length + t] ?? NaN;
        scores.push({ id, nll, tokens: length - 1, long: long[row] === true });
        sum += nll;
      });
      means.push(sum / (some.length * (length - 1)));
      progress.update(scores.length);
    }
    return { scores, batchMean: means.reduce((a, b) => a + b, 0) / means.length };
  } finally {
    progress.finish();
  }
}
