/** `evaluate perplexity` of documents, each by itself, and by the v1 protocol beside that. @module */
import { UsageError } from "../../../core/errors.ts";
import { formatTable } from "../../../core/reporter.ts";
import type { Tokenizer } from "../../../pipeline/tokenizer/mod.ts";
import { withoutHead } from "../../mamba/config.ts";
import { localModel } from "../../weights/mod.ts";
import { bootstrapInterval, formatInterval, type Interval } from "../../statistics/mod.ts";
import { type Split } from "../../training/mod.ts";
import { openReader } from "../core/reader.ts";
import type { MeasurementRequest } from "../core/task.ts";
import { comparePerplexities, comparisonText } from "./comparison.ts";
import type { DocumentTotal } from "./document_losses.ts";
import {
  drawDocuments,
  readCorpusDocuments,
  readTextDocuments,
  type TextDocument,
} from "./documents.ts";
import {
  type DocumentScore,
  scoreByV1,
  scoreDocuments,
  type ScoringRequest,
  V1_TOKENS,
} from "./score_documents.ts";

/** What one model came to by one protocol. */
interface DocumentsResult {
  documents: number;
  /** Documents that were read in several windows, or cut by v1. */
  long_documents: number;
  /** Scored tokens. */
  tokens: number;
  words: number;
  bytes: number;
  /** The cross-entropy: mean negative log-likelihood of a token, in nats; by v1 of the batches' means. */
  loss: number;
  /** exp of that. */
  perplexity: number;
  /** 95%, by a bootstrap over documents. */
  interval: Interval;
  /** Absent by v1, which scores other things than text. */
  word_perplexity?: number;
  bits_per_byte?: number;
  byte_perplexity?: number;
}

/** A model's results by the protocols that were asked for. */
interface ModelResults {
  documents: DocumentsResult;
  totals: DocumentTotal[];
  v1?: DocumentsResult;
  v1Totals?: DocumentTotal[];
}

const RESAMPLES = 2000;

/** Scores documents as the options ask, and a base beside. */
export async function measureDocuments(
  request: MeasurementRequest,
  protocol: "documents" | "v1",
): Promise<{ text: string; json: Record<string, unknown> }> {
  const { given, model, reporter } = request;
  const window = given.number("window") ?? 1024;
  const stride = given.number("stride") ?? Math.ceil(window / 2);
  if (stride > window) {
    throw new UsageError(
      `Option --stride is ${stride}: give at most the window, ${window}, so that nothing is left out`,
    );
  }
  const seed = given.number("seed") ?? 0;
  const corpus = given.string("corpus");
  const { documents: all, notes } = corpus === undefined
    ? await readTextDocuments(given.string("text") ?? "")
    : {
      documents: await readCorpusDocuments(corpus, given.string("split") as Split),
      notes: [],
    };
  for (const note of notes) reporter.log(note);
  const documents = drawDocuments(all, given.number("rows"), seed);
  const settings = { protocol, window, stride, documents, seed };
  const own = await scoreModel(request, model, settings);
  const drawn = documents.length < all.length
    ? `${documents.length} of ${all.length} documents, drawn by seed ${seed}`
    : `${documents.length} documents`;
  const text = [resultsTable(drawn, own)];
  const json: Record<string, unknown> = {
    model,
    protocol,
    of_documents: all.length,
    seed,
    window,
    stride,
    ...own.documents,
    ...(own.v1 ? { v1: own.v1 } : {}),
  };
  const base = given.string("base");
  if (base !== undefined) {
    const other = await scoreModel(request, base, settings);
    const comparison = comparePerplexities(own.totals, other.totals, seed);
    text.push(`Its base, ${base}:`, resultsTable(drawn, other), comparisonText(comparison));
    json.base = { name: base, ...other.documents, ...(other.v1 ? { v1: other.v1 } : {}) };
    json.comparison = comparison;
    if (own.v1Totals && other.v1Totals) {
      const byV1 = comparePerplexities(own.v1Totals, other.v1Totals, seed);
      text.push(`By v1. ${comparisonText(byV1)}`);
      json.comparison_v1 = byV1;
    }
  }
  return { text: text.join("\n\n"), json };
}

/** How documents are scored, the same for both models. */
interface Settings {
  protocol: "documents" | "v1";
  window: number;
  stride: number;
  documents: readonly TextDocument[];
  seed: number;
}

async function scoreModel(
  { given, makeModel, reporter, signal }: MeasurementRequest,
  name: string,
  { protocol, window, stride, documents, seed }: Settings,
): Promise<ModelResults> {
  const { folder, tokenizer } = openReader(await localModel(name, reporter), {
    tokenizerFile: given.string("tokenizer"),
    log: (message) => reporter.log(message),
  });
  const config = withoutHead(folder.config);
  const batchSize = given.number("batch-size") ?? 8;
  const within = async <T>(
    shape: { batchSize: number; sequenceLength: number },
    score: (scoring: ScoringRequest) => Promise<T>,
  ): Promise<T> => {
    const made = await makeModel(config, { ...shape, training: false });
    try {
      made.model.writeParameters(folder.read);
      return await score({ documents, tokenizer, model: made.model, reporter, signal });
    } finally {
      made.close();
    }
  };
  try {
    const rowLength = rowLengthOf(documents, tokenizer, window);
    const honest = await within(
      { batchSize: Math.min(batchSize, documents.length), sequenceLength: rowLength },
      (scoring) => scoreDocuments(scoring, Math.min(stride, rowLength)),
    );
    const totals = totalsOf(honest.scores, documents);
    const found = { documents: summarize(honest.scores, documents, seed), totals };
    if (protocol !== "v1") return found;
    const { scores, batchMean } = await within(
      { batchSize: Math.min(batchSize, documents.length), sequenceLength: V1_TOKENS },
      scoreByV1,
    );
    return {
      ...found,
      v1: summarize(scores, documents, seed, batchMean),
      v1Totals: totalsOf(scores, documents),
    };
  } finally {
    folder.close();
  }
}

/** Tokens of a row: the window, or what the longest document takes where that is less. */
function rowLengthOf(
  documents: readonly TextDocument[],
  tokenizer: Tokenizer,
  window: number,
): number {
  let longest = 1;
  for (const { text } of documents) {
    longest = Math.max(longest, tokenizer.encode(text).length + 1);
    if (longest >= window) return window;
  }
  return Math.min(window, Math.ceil(longest / 32) * 32);
}

const bytesOf = (text: string): number => new TextEncoder().encode(text).length;

const wordsOf = (text: string): number => text.split(/\s+/).filter((word) => word !== "").length;

const totalsOf = (
  scores: readonly DocumentScore[],
  documents: readonly TextDocument[],
): DocumentTotal[] =>
  scores.map(({ nll, tokens }, i) => ({
    // Names may repeat; places do not.
    id: String(i),
    nll,
    tokens,
    bytes: bytesOf(documents[i]?.text ?? ""),
  }));

function summarize(
  scores: readonly DocumentScore[],
  documents: readonly TextDocument[],
  seed: number,
  batchMean?: number,
): DocumentsResult {
  const lossOf = (indices: ArrayLike<number>) => {
    let nll = 0;
    let tokens = 0;
    for (let i = 0; i < indices.length; i++) {
      const score = scores[indices[i] ?? 0];
      nll += score?.nll ?? NaN;
      tokens += score?.tokens ?? NaN;
    }
    return nll / tokens;
  };
  const all = Uint32Array.from(scores, (_, i) => i);
  const nll = scores.reduce((sum, score) => sum + score.nll, 0);
  const loss = batchMean ?? lossOf(all);
  const words = documents.reduce((sum, { text }) => sum + wordsOf(text), 0);
  const bytes = documents.reduce((sum, { text }) => sum + bytesOf(text), 0);
  return {
    documents: scores.length,
    long_documents: scores.filter(({ long }) => long).length,
    tokens: scores.reduce((sum, { tokens }) => sum + tokens, 0),
    words,
    bytes,
    loss,
    perplexity: Math.exp(loss),
    interval: bootstrapInterval(scores.length, (indices) => Math.exp(lossOf(indices)), {
      resamples: RESAMPLES,
      seed,
    }),
    ...(batchMean === undefined
      ? {
        word_perplexity: Math.exp(nll / words),
        bits_per_byte: nll / bytes / Math.LN2,
        byte_perplexity: Math.exp(nll / bytes),
      }
      : {}),
  };
}

/** Both protocols side by side, where both were asked for. */
function resultsTable(drawn: string, { documents, v1 }: ModelResults): string {
  const columns = [documents, ...(v1 ? [v1] : [])];
  const row = (name: string, value: (result: DocumentsResult) => string) => [
    name,
    ...columns.map(value),
  ];
  const number = (value: number | undefined, digits: number) => value?.toFixed(digits) ?? "-";
  return formatTable(
    [`perplexity, ${drawn}`, "real tokens", ...(v1 ? ["v1, padding scored"] : [])],
    [
      row("longer than what is read at once", (r) => r.long_documents.toLocaleString("en")),
      row("scored tokens", (r) => r.tokens.toLocaleString("en")),
      row("cross-entropy (nats per token)", (r) => r.loss.toFixed(4)),
      row("perplexity", (r) => r.perplexity.toFixed(3)),
      row("95% interval", (r) => formatInterval(r.interval, 3)),
      row("perplexity of a word", (r) => number(r.word_perplexity, 3)),
      row("bits per byte", (r) => number(r.bits_per_byte, 4)),
      row("perplexity of a byte", (r) => number(r.byte_perplexity, 4)),
    ],
  );
}
