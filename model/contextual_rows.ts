/**
 * Embeddings for new tokens from what the model makes of their contexts, after BIOptimus (Pavlova
 * and Makhlouf 2023), which averages over the occurrences of a new word what the model knows of its
 * old pieces there. The rows of a tied model lie in the space of its embedding, where its hidden
 * states do not; so what is averaged is the embedding that the model expects in each piece's place.
 * @module
 */
import { makeBatch } from "./batch.ts";
import type { TrainableModel } from "./types.ts";

/** Occurrences of a new token that are averaged; more change little. */
export const MOST_CONTEXTS = 16;
/** Expectations go over the likeliest tokens: the others together weigh next to nothing. */
const LIKELIEST = 64;

/** What the averages are made of. */
export interface ContextualRequest {
  /** Holding the weights of the model that is extended. */
  model: TrainableModel;
  /** Its embedding (rows, width). */
  embedding: Float32Array;
  /** The first new id, and the old pieces of each. */
  firstId: number;
  pieces: readonly number[][];
  /** Texts as ids of the extended tokenizer. */
  texts: Iterable<Uint16Array>;
  /** Told of new tokens that have all their contexts, of all. */
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

/**
 * The contextual average of each new token, scaled to the length of the mean of its pieces' rows;
 * undefined for tokens that the texts do not have.
 */
export async function contextualRows(
  request: ContextualRequest,
): Promise<(Float32Array | undefined)[]> {
  const { model, embedding, firstId, pieces, texts, signal } = request;
  const width = model.config.hiddenSize, { batchSize, sequenceLength } = model;
  const sums = pieces.map(() => new Float64Array(width));
  const counts = new Uint32Array(pieces.length);
  let rows: number[][] = [], wanted: { token: number; positions: number[] }[] = [], done = 0;

  const flush = async () => {
    if (rows.length === 0) return;
    const { config } = model,
      padded = rows.map((row) => {
        const full = new Uint16Array(sequenceLength).fill(config.endOfText);
        full.set(row);
        return full;
      });
    const batch = makeBatch(padded, batchSize, sequenceLength, config.endOfText);
    const positions = wanted.flatMap((w) => w.positions);
    const owners = wanted.flatMap((w) => w.positions.map(() => w));
    await model.logitsAt(batch, positions, (logits, i) => {
      const { token, positions } = owners[i]!;
      addExpected(sums[token]!, logits, embedding, config.vocabSize, width, positions.length);
    });
    rows = [], wanted = [];
  };

  for (const text of texts) {
    signal?.throwIfAborted();
    if (done === pieces.length) break;
    let row = [model.config.endOfText];
    const found: typeof wanted = [];
    const close = async () => {
      if (found.length) {
        const base = rows.length * sequenceLength;
        for (const { token, positions } of found.splice(0)) {
          wanted.push({ token, positions: positions.map((p) => base + p) });
        }
        rows.push(row);
        if (rows.length === batchSize) await flush();
      }
      row = [model.config.endOfText];
    };
    for (const id of text) {
      const token = id - firstId, own = token < 0 ? [id] : pieces[token]!;
      if (row.length + own.length > sequenceLength) await close();
      if (own.length >= sequenceLength) continue;
      if (token >= 0 && counts[token]! < MOST_CONTEXTS) {
        // A position predicts the next: those before the pieces.
        found.push({ token, positions: own.map((_, k) => row.length - 1 + k) });
        if (++counts[token]! === MOST_CONTEXTS) request.onProgress?.(++done, pieces.length);
      }
      row.push(...own);
    }
    await close();
  }
  await flush();
  return pieces.map((ids, i) =>
    counts[i] ? scaled(sums[i]!, meanRow(embedding, width, ids)) : undefined
  );
}

/** The mean of some rows of an embedding. */
export function meanRow(
  embedding: Float32Array,
  width: number,
  ids: readonly number[],
): Float32Array {
  return Float32Array.from({ length: width }, (_, c) => {
    let sum = 0;
    for (const id of ids) sum += embedding[id * width + c]!;
    return sum / ids.length;
  });
}

/** Adds a `1 / parts` share of the embedding that some logits expect. */
function addExpected(
  sum: Float64Array,
  logits: Float32Array,
  embedding: Float32Array,
  vocabSize: number,
  width: number,
  parts: number,
): void {
  const likeliest = topOf(logits, vocabSize);
  const largest = logits[likeliest[0]!]!;
  const weights = likeliest.map((id) => Math.exp(logits[id]! - largest));
  const all = weights.reduce((a, b) => a + b, 0) * parts;
  likeliest.forEach((id, i) => {
    const weight = weights[i]! / all;
    for (let c = 0; c < width; c++) sum[c]! += weight * embedding[id * width + c]!;
  });
}

/** The ids of the largest logits, the largest first. */
function topOf(logits: Float32Array, vocabSize: number): number[] {
  const top: number[] = [];
  for (let id = 0; id < vocabSize; id++) {
    if (top.length === LIKELIEST && logits[id]! <= logits[top.at(-1)!]!) continue;
    let at = top.length;
    while (at > 0 && logits[top[at - 1]!]! < logits[id]!) at--;
    top.splice(at, 0, id);
    if (top.length > LIKELIEST) top.pop();
  }
  return top;
}

function scaled(sum: Float64Array, like: Float32Array): Float32Array {
  const length = Math.hypot(...sum), wanted = Math.hypot(...like);
  return Float32Array.from(sum, (v) => length === 0 ? 0 : v * wanted / length);
}
