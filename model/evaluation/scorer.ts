/**
 * Log-probabilities of given continuations, whatever computes the model: the one thing that
 * multiple-choice tasks ask of it.
 * @module
 */
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
export function logProbability(logits: ArrayLike<number>, token: number): number {
  let largest = -Infinity, sum = 0;
  for (let i = 0; i < logits.length; i++) largest = Math.max(largest, logits[i]!);
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! - largest);
  return logits[token]! - largest - Math.log(sum);
}

/**
 * A scorer that reads token by token. The first tokens of all continuations come from one reading
 * of the prompt; a continuation of several tokens costs one more reading, but for one of them.
 */
export function recurrentScorer(model: RecurrentModel): Scorer {
  const read = async (prompt: ArrayLike<number>) => {
    model.reset();
    let logits = new Float32Array();
    for (let i = 0; i < prompt.length; i++) {
      logits = await model.step(prompt[i]!) as Float32Array<ArrayBuffer>;
    }
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

/** One continuation to score, and where its score goes. */
interface Job {
  prompt: ScoreItem["prompt"];
  continuation: number[];
  put: (score: number) => void;
}

/**
 * A scorer on the forward pass over whole rows, a continuation a row. Where the model does not tell
 * rows apart, each pass scores its first row only; such a model is best built with one row.
 */
export function batchScorer(model: TrainableModel): Scorer {
  const { batchSize, sequenceLength, config } = model, size = batchSize * sequenceLength;
  let rowsAtOnce = batchSize;
  const pass = async (jobs: Job[]) => {
    const batch: Batch = {
      tokens: new Uint32Array(size).fill(config.endOfText),
      starts: new Uint8Array(size).fill(1),
      targets: new Int32Array(size).fill(IGNORED_TARGET),
    };
    jobs.forEach(({ prompt, continuation }, row) => {
      const length = prompt.length + continuation.length - 1, base = row * sequenceLength;
      if (length > sequenceLength) {
        throw new RangeError(`${length} tokens do not fit a row of ${sequenceLength}`);
      }
      batch.tokens.set(prompt, base);
      batch.tokens.set(continuation.slice(0, -1), base + prompt.length);
      batch.starts.fill(0, base + 1, base + length);
      batch.targets.set(continuation, base + prompt.length - 1);
    });
    const { nll, rowNll } = await model.evaluate(batch);
    if (!rowNll && jobs.length > 1) return false;
    jobs.forEach(({ put }, row) => put(-(rowNll ? rowNll[row]! : nll)));
    return true;
  };
  return {
    maxTokens: sequenceLength + 1,
    itemsAtOnce: batchSize,
    async score(items) {
      const scores = items.map(({ continuations }) => new Array<number>(continuations.length));
      const jobs = items.flatMap(({ prompt, continuations }, i) =>
        continuations.map((continuation, c): Job => ({
          prompt,
          continuation,
          put: (score) => scores[i]![c] = score,
        }))
      );
      for (let at = 0; at < jobs.length;) {
        const some = jobs.slice(at, at + rowsAtOnce);
        if (await pass(some)) at += some.length;
        else rowsAtOnce = 1;
      }
      return scores;
    },
  };
}
