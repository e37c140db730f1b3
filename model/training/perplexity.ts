/** Loss and perplexity on held-out rows. @module */
import project from "../../deno.json" with { type: "json" };
import { fail, Interrupted } from "../../core/errors.ts";
import type { Reporter } from "../../core/reporter.ts";
import { loadTokenizer, type Tokenizer } from "../../pipeline/tokenizer/mod.ts";
import { makeBatch, type MakeModel, type TrainableModel, withoutHead } from "../mamba/mod.ts";
import { localModel } from "../weights/mod.ts";
import { openScoredWeights } from "./scored_weights.ts";
import { requireRows, type RowSource, type Split, type TrainingCorpus } from "./corpus.ts";
import { bootstrapInterval, type Interval } from "../statistics/mod.ts";
import { ALONE, type Job, requireSame, warnOfSharedDevices } from "./job.ts";
import { drawHeldOut, type DrawnPart, drawnSource } from "./held_out.ts";
import { checkFits } from "./start.ts";
import type { ScoredRows } from "./validation_rows.ts";

/** Summed negative log-likelihood of some whole rows. */
interface RowLoss {
  rows: number;
  nll: number;
  /** Scored positions. */
  targets: number;
}

/** Hears of each row: its number, its positions' losses in nats (0 where not scored), its targets. */
export type OnRow = (
  row: number,
  losses: Float32Array | Float64Array,
  targets: Int32Array,
) => void;

/** Which rows {@linkcode batchLosses} evaluates. */
interface EvaluatedRows {
  source: RowSource;
  /** The first so many of the source. */
  count: number;
  /** Every process evaluates each `size`th batch from its `rank` on; a process alone all of them. */
  job: Pick<Job, "rank" | "size">;
}

/** A loss, and the first row that it is of. */
interface PlacedLoss extends RowLoss {
  at: number;
}

/** What the rows of one batch came to. */
interface BatchLosses {
  /** One entry per row where the model tells rows apart, otherwise one for the batch. */
  losses: PlacedLoss[];
  /** The losses of positions in nats, row after row, where the model gives them. */
  positionNll: Float32Array | Float64Array | undefined;
}

/** Evaluates rows of a source with as few batches as possible, of which a rank takes its share. */
async function* batchLosses(
  model: TrainableModel,
  { source, count, job }: EvaluatedRows,
  endOfText: number,
): AsyncGenerator<BatchLosses, undefined> {
  const { batchSize, sequenceLength } = model;
  const begin = (at: number) => {
    const size = Math.min(batchSize, count - at);
    const rows = Array.from({ length: size }, (_, i) => source.row(at + i));
    const batch = makeBatch(rows, batchSize, sequenceLength, endOfText);
    const report = model.evaluate(batch);
    report.catch(() => {}); // an error is thrown where the report is awaited
    return { at, size, batch, report };
  };
  // The next batch is queued before the results of this one are read, so the device never waits.
  const stride = job.size * batchSize;
  const start = job.rank * batchSize;
  let next = start < count ? begin(start) : undefined;
  while (next) {
    const { at, size, batch, report } = next;
    next = at + stride < count ? begin(at + stride) : undefined;
    const { nll, targets, rowNll, positionNll } = await report;
    if (!rowNll) {
      yield { losses: [{ at, rows: size, nll, targets }], positionNll };
      continue;
    }
    const losses = Array.from({ length: size }, (_, r) => {
      const own = batch.targets.subarray(r * sequenceLength, (r + 1) * sequenceLength);
      const scored = own.reduce((sum, t) => sum + Number(t >= 0), 0);
      return { at: at + r, rows: 1, nll: rowNll[r] ?? NaN, targets: scored };
    });
    yield { losses, positionNll };
  }
}

/** The loss on held-out rows: on all of them, and on those of each corpus of a mix by its name. */
export interface HeldOutLoss {
  /** Mean negative log-likelihood of a scored token, in nats. */
  loss: number;
  /** Undefined where there is one corpus. */
  byCorpus?: Record<string, number>;
  /** What the rows came to one by one; nothing where the model does not tell rows apart. */
  parts: ScoredRows[];
}

/** All ranks' losses, in the order of rows, on every rank. */
async function gatherLosses(job: Job, own: PlacedLoss[]): Promise<RowLoss[]> {
  if (job.size === 1) return own;
  return inOrder(await job.gather(own));
}

/** Losses of all ranks in the order of rows. */
function inOrder(losses: PlacedLoss[][]): PlacedLoss[] {
  const all = losses.flat().sort((a, b) => a.at - b.at);
  return all.map((one) => ({ ...one, nll: one.nll ?? NaN })); // JSON has no such number
}

/**
 * The loss on at most `count` rows of a split, drawn by `seed`; the same on every rank of a job, whose
 * ranks share the work.
 * @see drawHeldOut
 */
export async function heldOutLoss(
  model: TrainableModel,
  source: RowSource,
  { count, seed, job }: { count: number; seed: number; job: Job },
  { endOfText }: Pick<TrainingCorpus, "endOfText">,
): Promise<HeldOutLoss> {
  const losses: RowLoss[] = [];
  const byCorpus: Record<string, number> = {};
  const scored: ScoredRows[] = [];
  const parts = drawHeldOut(source, count, seed);
  for (const part of parts) {
    const own: PlacedLoss[] = [];
    const source = drawnSource(part);
    const rows = { source, count: source.rows, job };
    for await (const { losses } of batchLosses(model, rows, endOfText)) own.push(...losses);
    const all = await gatherLosses(job, own);
    byCorpus[part.name] = meanOf(all);
    losses.push(...all);
    if (all.length !== part.rows.length) continue; // batches, not rows
    scored.push({
      corpus: part.name,
      rows: part.rows,
      nll: all.map(({ nll }) => nll),
      targets: all.map(({ targets }) => targets),
    });
  }
  const loss = meanOf(losses);
  return { loss, ...parts.length > 1 ? { byCorpus } : {}, parts: scored };
}

/** Each token weighs the same, whichever row it is in. */
function meanOf(losses: Iterable<RowLoss>): number {
  let nll = 0;
  let targets = 0;
  for (const one of losses) {
    nll += one.nll;
    targets += one.targets;
  }
  return nll / targets;
}

/** What {@linkcode evaluatePerplexity} takes. */
export interface PerplexityRequest {
  /** A model folder. */
  model: string;
  /** What it is scored on. */
  corpus: TrainingCorpus;
  /** Which documents. */
  split: Split;
  /** Only so many rows of the split, drawn by the seed. */
  rows?: number;
  /** Rows computed at once. */
  batchSize: number;
  /** Of the rows that are drawn, and of the bootstrap. */
  seed?: number;
  /** Makes what computes it. */
  makeModel: MakeModel;
  /** Gets the losses of each row. */
  onRow?: OnRow;
  /** Shows the progress. */
  reporter: Reporter;
  /** Ends the evaluation without a result. */
  signal?: AbortSignal;
  /**
   * The ranks that share the batches, each of which is to ask for the same and gets the same result;
   * by default one process.
   */
  job?: Job;
}

/** How well a model predicts held-out text. */
export interface PerplexityResult {
  /** Which documents. */
  split: Split;
  /** Rows scored. */
  rows: number;
  /** Rows of the split. */
  of_rows: number;
  /** Of the rows that were drawn. */
  seed: number;
  /** Scored tokens: all that have a predecessor in their row, padding excluded. */
  tokens: number;
  /** Mean negative log-likelihood of a token, in nats. */
  loss: number;
  /** exp(loss): of one token. */
  perplexity: number;
  /** 95% bootstrap interval of the perplexity, over rows (or batches, where rows are not told apart). */
  interval: Interval;
  /** UTF-8 bytes of the scored text; with them the loss can be compared across tokenizers. */
  bytes?: number;
  /** Words of the scored text, as spaces tell them apart. */
  words?: number;
  /** exp of the loss in nats, a word. */
  word_perplexity?: number;
  /** The loss in bits, a byte of text. */
  bits_per_byte?: number;
  /** exp of the loss in nats, a byte of text. */
  byte_perplexity?: number;
}

/**
 * The perplexity of a model on a split: every scored token weighs the same, padding is not scored.
 * @throws {UserError} where model and corpus do not belong together, or the split is empty.
 * @throws {Interrupted} when the signal fires.
 */
export async function evaluatePerplexity(request: PerplexityRequest): Promise<PerplexityResult> {
  const { corpus, split, job = ALONE } = request;
  // Ranks agree anew for every model: until then, what all of them fail with is told once.
  if (job.size > 1) job.begun = false;
  const whole = requireRows(corpus, split);
  const drawn = drawHeldOut(whole, request.rows ?? whole.rows, request.seed ?? 0);
  const path = await localModel(request.model, request.reporter);
  const folder = openScoredWeights(path, (message) => request.reporter.log(message));
  try {
    const { config, tokenizerFile } = folder;
    checkFits(request.model, config, tokenizerFile, corpus);
    const source = joined(drawn);
    const { rows } = source;
    const batchSize = Math.min(request.batchSize, rows);
    const { sequenceLength } = corpus;
    const made = await request.makeModel(withoutHead(config), {
      batchSize,
      sequenceLength,
      training: false,
    });
    try {
      await requireSame(job, {
        "program version": project.version,
        "model": request.model,
        "corpus": corpus.manifestSha256,
        "choice of rows": JSON.stringify([split, rows, batchSize, request.seed ?? 0]),
        "device": made.device,
      });
      await warnOfSharedDevices(job, made, request.reporter);
      made.model.writeParameters(folder.read);
      const losses = await collect(request, made.model, source, rows);
      const seed = request.seed ?? 0;
      const result = {
        split,
        rows,
        of_rows: whole.rows,
        seed,
        ...summarize(losses, request.seed ?? 0),
      };
      if (!tokenizerFile) return result;
      return { ...result, ...perByte(tokenizerFile, source, result, config.endOfText) };
    } finally {
      made.close();
    }
  } finally {
    folder.close();
  }
}

/** Drawn rows of one or more corpora, one after the other. */
function joined(parts: DrawnPart[]): RowSource & { numberOf(index: number): number } {
  const places = parts.flatMap(({ source, rows }) => rows.map((row) => ({ source, row })));
  const placeAt = (index: number) =>
    places[index] ?? fail(`row ${index} of ${places.length} was not drawn`);
  return {
    rows: places.length,
    /** The number of a row in its own corpus. */
    numberOf: (index) => placeAt(index).row,
    row(index) {
      const { source, row } = placeAt(index);
      return source.row(row);
    },
  };
}

/**
 * The losses of all rows, in their order. Ranks take the batches in turn and give each other what they
 * came to, so that each has what a process alone has, to the byte.
 */
async function collect(
  request: PerplexityRequest,
  model: TrainableModel,
  source: ReturnType<typeof joined>,
  rows: number,
): Promise<RowLoss[]> {
  const { reporter, signal, corpus, onRow, job = ALONE } = request;
  const all: RowLoss[] = [];
  const progress = reporter.progress("Evaluating", rows, "rows");
  const batches = batchLosses(model, { source, count: rows, job }, corpus.endOfText);
  const round = job.size * model.batchSize;
  try {
    for (let first = 0; first < rows; first += round) {
      // A rank may have no part in the last round.
      const { value: own } = await batches.next();
      const said = await job.gather({
        stop: signal?.aborted === true,
        losses: own?.losses ?? [],
      });
      if (said.some(({ stop }) => stop)) {
        throw job.agreed(new Interrupted("Interrupted; nothing was written"));
      }
      const size = Math.min(round, rows - first);
      if (onRow) {
        const positions = await gatherPositions(job, own, { size, model });
        tellRows(onRow, positions, { source, first, size, corpus });
      }
      all.push(...inOrder(said.map(({ losses }) => losses)));
      progress.update(first + size, `loss ${meanOf(all).toFixed(4)}`);
    }
  } finally {
    progress.finish();
  }
  return all;
}

/** The losses of positions of a round's `size` rows, of which every rank has those of a batch. */
async function gatherPositions(
  { ranks, rank, size: processes }: Job,
  own: BatchLosses | undefined,
  { size, model }: { size: number; model: TrainableModel },
): Promise<Float64Array> {
  const { batchSize, sequenceLength } = model;
  if (own && !own.positionNll) throw new TypeError("This model gives no losses of positions");
  const starts = Array.from({ length: processes }, (_, r) => Math.min(size, r * batchSize));
  const counts = starts.map((start) => Math.min(batchSize, size - start));
  // Rows that only fill the batch up are left away.
  const scored = own?.positionNll?.subarray(0, (counts[rank] ?? 0) * sequenceLength) ?? [];
  const losses = Float64Array.from(scored); // exact, also where they are of single precision
  if (!ranks) return losses;
  const whole = new Float64Array(size * sequenceLength);
  const bytes = 8 * sequenceLength;
  await ranks.gather(
    new Uint8Array(losses.buffer),
    new Uint8Array(whole.buffer),
    starts.map((start) => start * bytes),
    counts.map((count) => count * bytes),
  );
  return whole;
}

/** Tells the losses of positions row by row. */
function tellRows(
  onRow: OnRow,
  positions: Float64Array,
  { source, first, size, corpus }: {
    source: ReturnType<typeof joined>;
    first: number;
    size: number;
    corpus: TrainingCorpus;
  },
): void {
  const { sequenceLength, endOfText } = corpus;
  for (let r = 0; r < size; r++) {
    const index = first + r;
    const { targets } = makeBatch([source.row(index)], 1, sequenceLength, endOfText);
    const losses = positions.subarray(r * sequenceLength, (r + 1) * sequenceLength);
    onRow(source.numberOf(index), losses, targets);
  }
}

function summarize(losses: RowLoss[], seed: number) {
  const loss = meanOf(losses);
  const lossAt = (i: number) => losses[i] ?? fail(`row ${i} has no loss`);
  const drawn = (indices: Uint32Array) => Math.exp(meanOf(Array.from(indices, lossAt)));
  return {
    tokens: losses.reduce((sum, one) => sum + one.targets, 0),
    loss,
    perplexity: Math.exp(loss),
    interval: bootstrapInterval(losses.length, drawn, { resamples: 2000, seed }),
  };
}

function perByte(
  tokenizerFile: string,
  source: RowSource,
  { rows, loss, tokens }: { rows: number; loss: number; tokens: number },
  endOfText: number,
) {
  const tokenizer = loadTokenizer(tokenizerFile);
  const encoder = new TextEncoder();
  let bytes = 0;
  let words = 0;
  for (let i = 0; i < rows; i++) {
    // What is scored: all but the first column. Boundaries are scored too, but stand for no text.
    const text = source.row(i).subarray(1).filter((token) => token !== endOfText);
    bytes += encoder.encode(tokenizer.decode(text)).length;
    words += wordsOfRow(source.row(i).subarray(1), tokenizer, endOfText);
  }
  const nats = loss * tokens / bytes;
  return {
    bytes,
    words,
    word_perplexity: Math.exp(loss * tokens / words),
    bits_per_byte: nats / Math.LN2,
    byte_perplexity: Math.exp(nats),
  };
}

/** Words of a row, document by document: the last word of one and the first of the next are two. */
function wordsOfRow(row: Uint16Array, tokenizer: Tokenizer, endOfText: number): number {
  let words = 0;
  for (let from = 0; from < row.length;) {
    const end = row.indexOf(endOfText, from);
    const to = end < 0 ? row.length : end;
    words += tokenizer.decode(row.subarray(from, to)).split(/\s+/).filter(Boolean).length;
    from = to + 1;
  }
  return words;
}
