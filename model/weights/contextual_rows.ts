/**
 * Embeddings for new tokens from their contexts, after BIOptimus (Pavlova and Makhlouf 2023): the
 * model reads texts that a new token stands in, cut into its old pieces, and the hidden states of the
 * pieces are averaged, over the pieces and over the contexts (both by the mean, as Bommasani et al.
 * 2020 found best).
 *
 * BERT's embedding takes such an average as it is, for its hidden states and its embedding are kept
 * apart by a transform before the head. Here one matrix is embedding and head, and hidden states have
 * another mean and spread than its rows: a mean of theirs in a row of the head would make the token
 * likely everywhere. So averages are moved and scaled by two moments: states `h` with mean `m` and
 * deviation `s` over all positions, where the embeddings have `m0` and `s0`, become
 * `m0 + (h - m) s0 / s`. A vector's deviation is one number: the root of its mean squared distance.
 * @module
 */
import { float32At, float64At, nth, uint32At } from "../../core/nth.ts";
import { makeBatch } from "../mamba/batch.ts";
import type { MambaConfig } from "../mamba/config.ts";
import { stateModel } from "../mamba/hidden_states.ts";
import { EMBEDDING } from "../mamba/parameters.ts";
import type { MakeModel, ReadParameter } from "../mamba/types.ts";

/** Contexts of a new token that are averaged; more change little. */
export const MOST_CONTEXTS = 16;
/** The moments are those of so many positions, the first that are read. */
const MOMENT_POSITIONS = 8192;

/** What the averages are made of. */
interface ContextualRequest {
  makeModel: MakeModel;
  /** The model that is extended. */
  config: MambaConfig;
  read: ReadParameter;
  /** The layer whose states are averaged, from 1; 0 is the embedding itself. */
  layer: number;
  /** The old pieces of each new token, by its id from `config.vocabSize` on. */
  pieces: readonly number[][];
  /** Texts as ids of the extended tokenizer. */
  texts: Iterable<Uint16Array> | AsyncIterable<Uint16Array>;
  /** Rows of a batch, and their tokens. */
  batchSize: number;
  sequenceLength: number;
  /** Told of new tokens that have all their contexts, of all. */
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

/**
 * The contextual average of each new token; undefined for tokens that the texts do not have.
 * @throws the signal's reason where it fires
 */
export async function contextualRows(
  request: ContextualRequest,
): Promise<(Float32Array | undefined)[]> {
  const { config, read, layer, pieces, batchSize, sequenceLength, signal } = request;
  const width = config.hiddenSize;
  const embedding = read(EMBEDDING);
  const { first, ...states } = stateModel(config, read, layer);
  const sums = pieces.map(() => new Float64Array(width));
  const counts = new Uint32Array(pieces.length);
  const outer = new Moments(width);
  const inner = new Moments(width);
  const made = await request.makeModel(states.config, {
    batchSize,
    sequenceLength,
    training: false,
  });
  try {
    made.model.writeParameters(states.read);
    for await (const rows of batched(contexts(request, counts), batchSize)) {
      signal?.throwIfAborted();
      const padded = rows.map(({ ids }) => {
        const full = new Uint16Array(sequenceLength).fill(config.endOfText);
        full.set(ids);
        return full;
      });
      const batch = makeBatch(padded, batchSize, sequenceLength, config.endOfText);
      const places = rows.flatMap(({ found }, r) =>
        found.flatMap(({ token, at }) =>
          nth(pieces, token).map((_, k) => ({ token, position: r * sequenceLength + at + k }))
        )
      );
      const all = outer.count >= MOMENT_POSITIONS
        ? []
        : rows.flatMap(({ ids }, r) =>
          ids.map((id, c) => ({ id, position: r * sequenceLength + c }))
        );
      const positions = [...places, ...all].map((p) => p.position);
      await made.model.logitsAt(batch, positions, (logits, i) => {
        const state = logits.subarray(first, first + width);
        const place = places[i];
        if (!place) {
          const { id } = nth(all, i - places.length);
          inner.add(state);
          outer.add(embedding.subarray(id * width, (id + 1) * width));
        } else {
          const share = 1 / nth(pieces, place.token).length;
          const sum = nth(sums, place.token);
          for (let c = 0; c < width; c++) sum[c] = nth(sum, c) + share * float32At(state, c);
        }
      });
    }
  } finally {
    made.close();
  }
  const scale = outer.deviation / inner.deviation;
  const [m0, m] = [outer.mean, inner.mean];
  return sums.map((sum, token) =>
    counts[token] === 0
      ? undefined
      : Float32Array.from(sum, (x, c) =>
        float64At(m0, c) + scale * (x / uint32At(counts, token) - float64At(m, c)))
  );
}

/** A row of old ids, and where new tokens' pieces begin in it. */
interface ContextRow {
  ids: number[];
  found: { token: number; at: number }[];
}

/** The rows of texts with contexts that are still wanted; counts them. */
async function* contexts(
  { config, pieces, texts, sequenceLength, onProgress }: ContextualRequest,
  counts: Uint32Array,
): AsyncGenerator<ContextRow> {
  const fresh = (): ContextRow => ({ ids: [config.endOfText], found: [] });
  let done = 0;
  for await (const text of texts) {
    if (done === pieces.length) return;
    let row = fresh();
    for (const id of text) {
      const token = id - config.vocabSize;
      const own = token < 0 ? [id] : nth(pieces, token);
      if (row.ids.length + own.length > sequenceLength) {
        if (row.found.length) yield row;
        row = fresh();
      }
      if (own.length >= sequenceLength) continue;
      if (token >= 0 && uint32At(counts, token) < MOST_CONTEXTS) {
        row.found.push({ token, at: row.ids.length });
        const count = uint32At(counts, token) + 1;
        counts[token] = count;
        if (count === MOST_CONTEXTS) onProgress?.(++done, pieces.length);
      }
      row.ids.push(...own);
    }
    if (row.found.length) yield row;
  }
}

async function* batched<T>(items: AsyncIterable<T>, size: number): AsyncGenerator<T[]> {
  let batch: T[] = [];
  for await (const item of items) {
    batch.push(item);
    if (batch.length < size) continue;
    yield batch;
    batch = [];
  }
  if (batch.length) yield batch;
}

/** The mean and the deviation of vectors. */
class Moments {
  readonly #sum: Float64Array;
  #squares = 0;
  count = 0;

  constructor(width: number) {
    this.#sum = new Float64Array(width);
  }

  add(vector: Float32Array): void {
    this.count++;
    vector.forEach((x, c) => {
      this.#sum[c] = float64At(this.#sum, c) + x;
      this.#squares += x * x;
    });
  }

  get mean(): Float64Array {
    return this.#sum.map((x) => x / this.count);
  }

  get deviation(): number {
    const square = this.mean.reduce((sum, x) => sum + x * x, 0);
    return Math.sqrt(Math.max(0, this.#squares / this.count - square));
  }
}

/** The mean of some rows of an embedding. */
export function meanRow(
  embedding: Float32Array,
  width: number,
  ids: readonly number[],
): Float32Array {
  return Float32Array.from({ length: width }, (_, c) => {
    let sum = 0;
    for (const id of ids) sum += float32At(embedding, id * width + c);
    return sum / ids.length;
  });
}
