/**
 * Log-probabilities of given continuations, whatever computes the model: the one thing that
 * multiple-choice tasks ask of it.
 * @module
 */
import { logSumExp } from "../sampling.ts";
import { type Batch, IGNORED_TARGET, type RecurrentModel, type TrainableModel } from "../types.ts";

/** One prompt and the continuations to weigh against each other, as token ids. */
export interface ScoreItem {
  /** At least one token. */
  prompt: Uint16Array | Uint32Array | number[];
  /** Each at least one token. */
  continuations: number[][];
}

/** Weighs continuations. */
export interface Scorer {
  /** ln p(continuation | prompt) in nats, by item and continuation. */
  score(items: ScoreItem[]): Promise<number[][]>;
  /** The most tokens that a prompt and a continuation may have together. */
  readonly maxTokens: number;
  /** How many items a call had best have. */
  readonly itemsAtOnce: number;
}

/** ln p of id `token` under `logits`, normalised over the padded vocabulary. */
export function logProbability(logits: Float32Array, token: number): number {
  return logits[token]! - logSumExp(logits);
}

/**
 * A scorer that reads token by token. The first tokens of all continuations come from one reading
 * of the prompt; a continuation of several tokens costs one more reading, but for one of them.
 */
export function recurrentScorer(model: RecurrentModel): Scorer {
  const read = async (prompt: ArrayLike<number>) => {
    model.reset();
    let logits: Float32Array = new Float32Array();
    for (let i = 0; i < prompt.length; i++) logits = await model.step(prompt[i]!);
    return logits;
  };
  const scoreItem = async ({ prompt, continuations }: ScoreItem) => {
    const first = await read(prompt), scores: number[] = [];
    let fresh = true; // the model's state is just after the prompt
    for (const continuation of continuations) {
      let score = logProbability(first, continuation[0]!);
      if (continuation.length > 1 && !fresh) await read(prompt);
      for (let i = 1; i < continuation.length; i++) {
        fresh = false;
        score += logProbability(await model.step(continuation[i - 1]!), continuation[i]!);
      }
      scores.push(score);
    }
    return scores;
  };
  return {
    maxTokens: Infinity,
    itemsAtOnce: 1,
    async score(items) {
      const scores: number[][] = [];
      for (const item of items) scores.push(await scoreItem(item));
      return scores;
    },
  };
}

/** A stretch of tokens that the model reads, and the predictions that are wanted from it. */
interface Segment {
  tokens: number[];
  /** From the logits at `offset` of the segment: ln p of `token`, added to a score. */
  wanted: { offset: number; token: number; add: (value: number) => void }[];
}

/**
 * The segments of one item. One reading of the prompt serves the first tokens of all continuations;
 * a continuation of several tokens is read once more, after the prompt, for the others.
 */
function segmentsOf({ prompt, continuations }: ScoreItem, scores: number[]): Segment[] {
  const tokens = [...prompt], segments: Segment[] = [];
  const add = (c: number) => (value: number) => scores[c]! += value;
  const shared: Segment = { tokens, wanted: [] };
  continuations.forEach((continuation, c) => {
    scores[c] = 0;
    if (continuation.length === 1) {
      shared.wanted.push({ offset: tokens.length - 1, token: continuation[0]!, add: add(c) });
      return;
    }
    segments.push({
      tokens: [...tokens, ...continuation.slice(0, -1)],
      wanted: continuation.map((token, i) => ({
        offset: tokens.length - 1 + i,
        token,
        add: add(c),
      })),
    });
  });
  return shared.wanted.length ? [shared, ...segments] : segments;
}

/** Logits of so many positions are read at once; 64 of 50,280 ids take 13 MB. */
const POSITIONS_AT_ONCE = 64;

/** A scorer on passes over whole batches, whose rows hold as many prompts as fit. */
export function batchScorer(model: TrainableModel): Scorer {
  const { batchSize, sequenceLength, config } = model;
  const pass = async (rows: Segment[][]) => {
    const size = batchSize * sequenceLength;
    const batch: Batch = {
      tokens: new Uint32Array(size).fill(config.endOfText),
      starts: new Uint8Array(size).fill(1),
      targets: new Int32Array(size).fill(IGNORED_TARGET),
    };
    const wanted: { position: number; token: number; add: (value: number) => void }[] = [];
    rows.forEach((segments, row) => {
      let base = row * sequenceLength;
      for (const segment of segments) {
        batch.tokens.set(segment.tokens, base);
        batch.starts.fill(0, base + 1, base + segment.tokens.length);
        for (const { offset, ...rest } of segment.wanted) {
          wanted.push({ position: base + offset, ...rest });
        }
        base += segment.tokens.length;
      }
    });
    const positions = [...new Set(wanted.map((w) => w.position))];
    const logits = await model.logitsAt(batch, positions);
    const at = new Map(positions.map((position, i) => [position, logits[i]!]));
    for (const { position, token, add } of wanted) add(logProbability(at.get(position)!, token));
  };
  return {
    maxTokens: sequenceLength + 1,
    itemsAtOnce: 4 * batchSize,
    async score(items) {
      const scores = items.map((): number[] => []);
      const segments = items.flatMap((item, i) => segmentsOf(item, scores[i]!));
      for (const rows of packSegments(segments, batchSize, sequenceLength)) await pass(rows);
      return scores;
    },
  };
}

/** Segments packed into rows by first fit, and rows into passes. */
function packSegments(segments: Segment[], batchSize: number, length: number): Segment[][][] {
  const passes: { rows: { used: number; segments: Segment[] }[]; positions: number }[] = [];
  for (const segment of segments) {
    const size = segment.tokens.length, positions = segment.wanted.length;
    if (size > length) throw new RangeError(`${size} tokens do not fit a row of ${length}`);
    let pass = passes.find((p) =>
      p.positions + positions <= Math.max(positions, POSITIONS_AT_ONCE) &&
      (p.rows.length < batchSize || p.rows.some((r) => r.used + size <= length))
    );
    if (!pass) passes.push(pass = { rows: [], positions: 0 });
    let row = pass.rows.find((r) => r.used + size <= length);
    if (!row) pass.rows.push(row = { used: 0, segments: [] });
    row.segments.push(segment);
    row.used += size;
    pass.positions += positions;
  }
  return passes.map((p) => p.rows.map((r) => r.segments));
}
