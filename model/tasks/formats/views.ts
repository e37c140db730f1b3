/**
 * Files of any format as the tasks ask for them: tagged sentences, texts with labels, questions. What a
 * view cannot hold is told in notes.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { probe } from "./files.ts";
import { conll, FORMATS, jsonTexts, readRecords } from "./mod.ts";
import { pairsOf } from "./pairs.ts";
import { tagDocument } from "./sentences.ts";
import type { AnnotatedDocument, LabelledText, Question, TaggedTokens } from "./types.ts";

/** Records, and what the user is told about reading them. */
export interface View<Item> {
  /** The records, in the order of the file. */
  items: Item[];
  /** One sentence each. */
  notes: string[];
}

function refuse(path: string, format: string, wanted: string): never {
  throw new UserError(
    `Cannot use ${path}: read as ${format}, it does not hold ${wanted}; name another file, or its ` +
      `format with --format`,
  );
}

/**
 * Sentences with tags: as they are, or made of annotated documents.
 * @throws {UserError} where the file holds something else; naming the line of what cannot be read.
 */
export function readSentences(path: string, format?: string): View<TaggedTokens> {
  // A file of columns with a line that is none is known by nothing else: its reader names the line.
  const unknown = format === undefined && isUnknown(path);
  const { format: { name, kind }, records } = readRecords(path, unknown ? conll.name : format);
  if (kind === "sentence") return { items: records as TaggedTokens[], notes: [] };
  if (kind !== "document") return refuse(path, name, "tagged sentences or documents");
  const tagged = (records as AnnotatedDocument[]).map(tagDocument);
  const overlapping = tagged.reduce((sum, t) => sum + t.overlapping, 0);
  const notes = overlapping
    ? [`${path}: ${overlapping} entities overlap longer ones and are left out`]
    : [];
  return { items: tagged.flatMap((t) => t.sentences), notes };
}

function isUnknown(path: string): boolean {
  const looked = probe(path);
  return !looked.isFolder && !FORMATS.some((format) => format.recognise(looked) > 0);
}

/**
 * Texts with labels: as they are, or the pairs of entities of annotated documents.
 * @throws {UserError} as {@linkcode readSentences}.
 */
export function readTexts(path: string, format?: string): View<LabelledText> {
  // JSON lines that lack a text or a label are known by nothing else: their reader names the line.
  const unknown = format === undefined && isUnknown(path) && probe(path).jsonLines().length > 0;
  const { format: { name, kind }, records } = readRecords(path, unknown ? jsonTexts.name : format);
  if (kind === "text") return { items: records as LabelledText[], notes: [] };
  if (kind !== "document") return refuse(path, name, "texts with labels or documents");
  const { texts, across } = pairsOf(records as AnnotatedDocument[]);
  if (!texts.length) return refuse(path, name, "two related entities in any sentence");
  const notes = across
    ? [`${path}: ${across} relations hold between entities of different sentences and are left out`]
    : [];
  return { items: texts, notes };
}

/**
 * Questions.
 * @throws {UserError} as {@linkcode readSentences}.
 */
export function readQuestions(path: string, format?: string): Question[] {
  const { format: { name, kind }, records } = readRecords(path, format);
  return kind === "question" ? records as Question[] : refuse(path, name, "questions");
}
