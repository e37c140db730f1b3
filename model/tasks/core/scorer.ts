/**
 * Log-probabilities of given continuations, whatever computes the model: the one thing that
 * multiple-choice tasks ask of it.
 * @module
 */
import { nth } from "../../../core/nth.ts";
import { logSumExp } from "../../mamba/sampling.ts";
import {
  type Batch,
  type BranchingModel,
  IGNORED_TARGET,
  type RecurrentModel,
  type TrainableModel,
} from "../../mamba/types.ts";
import { firstFit } from "./first_fit.ts";

/** One prompt and the continuations to weigh against each other, as token ids. */
interface ScoreItem {
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
  return nth(logits, token) - logSumExp(logits);
}

/**
 * A scorer that reads token by token. The first tokens of all continuations come from one reading
 * of the prompt; a continuation of several tokens costs one more reading, but for one of them.
 */
export function recurrentScorer(model: RecurrentModel): Scorer {
  const read = async (prompt: ArrayLike<number>) => {
    model.reset();
    let logits: Float32Array = new Float32Array();
    for (let i = 0; i < prompt.length; i++) logits = await model.step(nth(prompt, i));
    return logits;
  };
  const scoreItem = async ({ prompt, continuations }: ScoreItem) => {
    const first = await read(prompt);
    const scores: number[] = [];
    let fresh = true; // the model's state is just after the prompt
    for (const continuation of continuations) {
      let score = logProbability(first, nth(continuation, 0));
      if (continuation.length > 1 && !fresh) await read(prompt);
      for (let i = 1; i < continuation.length; i++) {
        fresh = false;
        score += logProbability(await model.step(nth(continuation, i - 1)), nth(continuation, i));
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

/**
 * A scorer that reads every prompt once, rows of prompts side by side, and goes back to the states after
 * them for each continuation. Prompts that are shorter than others of their pass begin later, so that all
 * end together.
 */
export function branchingScorer(model: BranchingModel, maxTokens = Infinity): Scorer {
  const { rows } = model;
  const idle = model.config.endOfText;
  const feedPrompts = (prompts: readonly ArrayLike<number>[]): Promise<Float32Array[]> => {
    const longest = Math.max(...prompts.map((prompt) => prompt.length));
    const tokensAt = (time: number) =>
      Array.from({ length: rows }, (_, row) => {
        const prompt = prompts[row];
        const place = prompt === undefined ? -1 : time - (longest - prompt.length);
        if (place === 0) model.clearRow(row);
        return prompt?.[place] ?? idle;
      });
    model.reset();
    for (let time = 0; time < longest - 1; time++) model.feedRows(tokensAt(time));
    return model.stepRows(tokensAt(longest - 1));
  };
  const scoreTogether = async (items: readonly ScoreItem[]): Promise<number[][]> => {
    const first = await feedPrompts(items.map(({ prompt }) => prompt));
    const scores = items.map(({ continuations }, row) =>
      continuations.map((tokens) => logProbability(nth(first, row), nth(tokens, 0)))
    );
    const most = Math.max(...items.map(({ continuations }) => continuations.length));
    let kept = false;
    for (let c = 0; c < most; c++) {
      const asked = items.map(({ continuations }) => continuations[c] ?? []);
      const steps = Math.max(...asked.map((tokens) => tokens.length)) - 1;
      if (steps < 1) continue;
      if (kept) model.restoreStates();
      else model.keepStates();
      kept = true;
      for (let step = 1; step <= steps; step++) {
        const tokens = Array.from({ length: rows }, (_, row) => asked[row]?.[step - 1] ?? idle);
        const logits = await model.stepRows(tokens);
        asked.forEach((own, row) => {
          const token = own[step];
          if (token === undefined) return;
          const list = nth(scores, row);
          list[c] = (list[c] ?? 0) + logProbability(nth(logits, row), token);
        });
      }
    }
    return scores;
  };
  return {
    maxTokens,
    itemsAtOnce: 4 * rows,
    async score(items) {
      const scores: number[][] = items.map(() => []);
      // Prompts of like length go together: what stands before the shorter ones is read for nothing.
      const order = items.map((_, i) => i)
        .sort((a, b) => nth(items, a).prompt.length - nth(items, b).prompt.length || a - b);
      for (let at = 0; at < order.length; at += rows) {
        const some = order.slice(at, at + rows);
        const found = await scoreTogether(some.map((i) => nth(items, i)));
        some.forEach((i, k) => scores[i] = nth(found, k));
      }
      return scores;
    },
  };
}

/** A stretch of tokens that begins a document, and what is to be done with logits after it. */
interface Segment {
  tokens: number[];
  /** `use` takes the logits, over the padded vocabulary, at `offset` of the segment. */
  wanted: { offset: number; use: (logits: Float32Array) => void }[];
}

/**
 * Reads segments with as few passes as first-fit packing takes, and hands out the logits.
 * @throws {RangeError} for a segment that is longer than a row.
 */
export async function logitsOfSegments(model: TrainableModel, segments: Segment[]): Promise<void> {
  const { batchSize, sequenceLength, config } = model;
  const size = batchSize * sequenceLength;
  for (const rows of packSegments(segments, batchSize, sequenceLength)) {
    const batch: Batch = {
      tokens: new Uint32Array(size).fill(config.endOfText),
      starts: new Uint8Array(size).fill(1),
      targets: new Int32Array(size).fill(IGNORED_TARGET),
    };
    const users = new Map<number, ((logits: Float32Array) => void)[]>();
    rows.forEach((segments, row) => {
      let base = row * sequenceLength;
      for (const { tokens, wanted } of segments) {
        batch.tokens.set(tokens, base);
        batch.starts.fill(0, base + 1, base + tokens.length);
        for (const { offset, use } of wanted) {
          users.set(base + offset, [...users.get(base + offset) ?? [], use]);
        }
        base += tokens.length;
      }
    });
    const positions = [...users.keys()];
    await model.logitsAt(batch, positions, (logits, i) => {
      for (const use of users.get(nth(positions, i)) ?? []) use(logits);
    });
  }
}

/** Segments packed into rows by first fit, and rows into passes. */
function packSegments(segments: Segment[], batchSize: number, length: number): Segment[][][] {
  const rows = firstFit(segments, length);
  const passes: Segment[][][] = [];
  for (let at = 0; at < rows.length; at += batchSize) {
    passes.push(rows.slice(at, at + batchSize));
  }
  return passes;
}

/**
 * The segments of one item: the prompt with each of {@linkcode readingsOf}, which serve all continuations;
 * the prompt alone where each has one token.
 */
function segmentsOf({ prompt, continuations }: ScoreItem, scores: number[]): Segment[] {
  const tokens = [...prompt];
  const last = tokens.length - 1;
  const segments: Segment[] = [];
  const leaves = readingsOf(continuations);
  const readOf = new Map<string, Segment>();
  for (const leaf of leaves.length ? leaves : [[]]) {
    const segment: Segment = { tokens: [...tokens, ...leaf], wanted: [] };
    segments.push(segment);
    for (let n = 0; n <= leaf.length; n++) {
      const key = leaf.slice(0, n).join();
      if (!readOf.has(key)) readOf.set(key, segment);
    }
  }
  continuations.forEach((continuation, c) => {
    const want = (token: number, i: number) => ({
      offset: last + i,
      use(logits: Float32Array) {
        scores[c] = (scores[c] ?? 0) + logProbability(logits, token);
      },
    });
    scores[c] = 0;
    const read = readOf.get(continuation.slice(0, -1).join());
    read?.wanted.push(...continuation.map(want));
  });
  return segments;
}

/**
 * What is to be read after a prompt to weigh its continuations: each without its last token, but for those
 * that begin another one, whose logits are read on the way.
 */
export function readingsOf(continuations: readonly (readonly number[])[]): number[][] {
  const read = continuations.map((tokens) => tokens.slice(0, -1)).filter((tokens) => tokens.length);
  const distinct = [...new Map(read.map((tokens) => [tokens.join(), tokens])).values()];
  return distinct.filter((short) =>
    !distinct.some((long) =>
      long.length > short.length && short.every((token, i) => token === long[i])
    )
  );
}

/** A scorer on passes over whole batches, whose rows hold as many prompts as fit. */
export function batchScorer(model: TrainableModel): Scorer {
  return {
    maxTokens: model.sequenceLength + 1,
    itemsAtOnce: 4 * model.batchSize,
    async score(items) {
      const scores = items.map((): number[] => []);
      await logitsOfSegments(model, items.flatMap((item, i) => segmentsOf(item, nth(scores, i))));
      return scores;
    },
  };
}
