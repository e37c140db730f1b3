/** Documents whose perplexity is asked for, each by itself: of files of texts, of questions, of a corpus. @module */
import { UserError } from "../../../core/errors.ts";
import { readTextInput } from "../../../core/text_input.ts";
import { basename, join } from "../../../core/std.ts";
import { readPlacements, type Split, tokenizerPath } from "../../../pipeline/shards/mod.ts";
import { textFiles } from "../../../pipeline/texts/corpus.ts";
import { readRecords } from "../../../pipeline/texts/records.ts";
import { loadTokenizer } from "../../../pipeline/tokenizer/mod.ts";
import { openCorpus } from "../../training/mod.ts";
import { Random } from "../../mamba/random.ts";
import { probe } from "../formats/files.ts";
import { FORMATS } from "../formats/mod.ts";
import type { Question } from "../formats/types.ts";
import { readQuestions } from "../formats/views.ts";

/** A document. */
export interface TextDocument {
  id: string;
  text: string;
}

/** Documents, and what the user is told about reading them. */
interface ReadDocuments {
  documents: TextDocument[];
  notes: string[];
}

/**
 * The documents of a file or folder: each JSON line or Parquet row with a `text`, each whole .txt file,
 * each line of any other; of a file of questions, each question with its answer.
 * @throws {UserError} naming the file and the line of what cannot be read, or where there is no text.
 */
export async function readTextDocuments(path: string): Promise<ReadDocuments> {
  const looked = probe(path);
  if (!looked.isFolder) {
    const questions = FORMATS.some((f) => f.kind === "question" && f.recognise(looked) > 0.9);
    if (questions) return questionDocuments(path);
  }
  const files = looked.isFolder ? textFiles(path).map((name) => join(path, name)) : [path];
  if (!files.length) {
    throw new UserError(
      `Cannot read the texts in ${path}: it has no .jsonl, .ndjson, .parquet or .txt file`,
    );
  }
  const documents: TextDocument[] = [];
  for (const file of files) {
    const name = looked.isFolder ? `${basename(file)} ` : "";
    for await (const { id, text } of recordsOf(file)) {
      if (text.trim() !== "") documents.push({ id: `${name}${id}`, text });
    }
  }
  if (!documents.length) throw new UserError(`Cannot score ${path}: there is no text in it`);
  return { documents, notes: [] };
}

async function* recordsOf(file: string): AsyncGenerator<TextDocument> {
  if (/\.(jsonl|ndjson|parquet|txt)$/.test(file)) {
    yield* readRecords(file);
    return;
  }
  let line = 0;
  for (const { text } of readTextInput(file)) yield { id: String(++line), text };
}

/**
 * Questions with their answers as texts: "Question: ... Answer: ...", the answer being the first ideal
 * one, or where there is none the exact one. Questions without any answer are left out.
 */
function questionDocuments(path: string): ReadDocuments {
  const questions = readQuestions(path);
  const documents = questions.flatMap((question) => {
    const answer = answerOf(question);
    return answer
      ? [{ id: question.id, text: `Question: ${question.question.trim()}\nAnswer: ${answer}` }]
      : [];
  });
  if (!documents.length) {
    throw new UserError(`Cannot score ${path}: none of its questions has an answer`);
  }
  const left = questions.length - documents.length;
  return {
    documents,
    notes: left ? [`${path}: ${left} questions without an answer are left out`] : [],
  };
}

function answerOf({ ideal: [ideal], answer, options }: Question): string {
  if (ideal?.trim()) return ideal.trim();
  switch (answer.type) {
    case "choice":
      return options?.[answer.index] ?? "";
    case "yesno":
      return answer.value;
    case "factoid":
      return answer.synonyms.flatMap((names) => names[0] ?? [])[0] ?? "";
    case "list":
      return answer.items.flatMap((names) => names[0] ?? []).join(", ");
    default:
      return "";
  }
}

/**
 * The documents of a corpus's split as texts, put together from the rows that they lie in.
 * @throws {UserError} where there are no shards, or the corpus's tokenizer is missing.
 */
export async function readCorpusDocuments(folder: string, split: Split): Promise<TextDocument[]> {
  using corpus = openCorpus(folder);
  corpus.tokenizer(); // says so where it is missing or changed
  const tokenizer = loadTokenizer(tokenizerPath(folder));
  const source = corpus.split(split);
  const pieces = new Map<string, { chunk: number; tokens: Uint16Array | Uint32Array }[]>();
  for await (const { pmid, version, row, start, length, chunk } of readPlacements(folder, split)) {
    const tokens = source.row(row).subarray(start, start + length)
      .filter((token) => token !== corpus.endOfText);
    const key = version === 1 ? String(pmid) : `${pmid}.${version}`;
    const own = pieces.get(key) ?? [];
    own.push({ chunk, tokens });
    pieces.set(key, own);
  }
  if (!pieces.size) {
    throw new UserError(`Cannot use the corpus ${folder}: its ${split} split is empty`);
  }
  return [...pieces].map(([id, own]) => {
    const inOrder = own.sort((a, b) => a.chunk - b.chunk);
    const tokens = inOrder.flatMap((piece) => [...piece.tokens]);
    return { id, text: tokenizer.decode(Uint32Array.from(tokens)) };
  });
}

/** At most `count` of the documents, drawn by a seed, in their order. */
export function drawDocuments(
  documents: readonly TextDocument[],
  count: number | undefined,
  seed: number,
): TextDocument[] {
  if (count === undefined || count >= documents.length) return [...documents];
  const order = documents.map((_, i) => i);
  const random = new Random(seed, "scored documents");
  for (let i = 0; i < count; i++) {
    const j = i + random.integer(order.length - i);
    [order[i], order[j]] = [order[j] ?? 0, order[i] ?? 0];
  }
  const chosen = new Set(order.slice(0, count));
  return documents.filter((_, i) => chosen.has(i));
}
