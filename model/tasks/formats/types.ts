/**
 * What the data sets of biomedical language processing hold, whatever file they come in. There are four
 * kinds: documents with entities and relations at places in their text, sentences of tagged tokens,
 * texts (or pairs of texts) with labels, and questions. Every format reads into one kind and is written
 * from it.
 * @module
 */

/** A piece of a document's text: `text.slice(start, end)`, in UTF-16 units as JavaScript counts. */
export interface Span {
  start: number;
  end: number;
}

/** An entity at its place. */
export interface Mention {
  /** Unique in its document. */
  id: string;
  type: string;
  /** In order; several where the entity is interrupted by other words. */
  spans: Span[];
  /** As the text has it; pieces joined by a space. */
  text: string;
  /** What it stands for in a vocabulary, such as MESH:D003866; empty where the set does not say. */
  identifiers: string[];
}

/** A relation between entities, or on the document's level between what they stand for. */
export interface DocumentRelation {
  type: string;
  /** By their roles, such as Arg1 and Arg2, in the set's order. */
  arguments: { role: string; /** A mention's id, or an identifier. */ entity: string }[];
  /** Whether `entity` names identifiers, so that the relation holds of the whole document. */
  level: "mention" | "document";
}

/** A document with what is marked in it. */
export interface AnnotatedDocument {
  kind: "document";
  id: string;
  /** Its parts lie one after another, with one character between them. */
  text: string;
  /** Where its parts (title, abstract, sentence) lie; the whole text where there is one part. */
  passages: (Span & { type: string })[];
  mentions: Mention[];
  relations: DocumentRelation[];
  /** Pairs that were looked at and found unrelated, where the set lists them. */
  unrelated?: DocumentRelation[];
}

/** A sentence as its tokens, each with a tag such as O, B-Disease or I-Disease (the scheme IOB2). */
export interface TaggedTokens {
  kind: "sentence";
  tokens: string[];
  tags: string[];
  /** Where it begins in its file, from 1. */
  line: number;
  /** The document that it is of, where the file says so. */
  document?: string;
}

/** A text, or two, with what it is to be classified as. */
export interface LabelledText {
  kind: "text";
  id: string;
  text: string;
  /** The second text of a pair. */
  pair?: string;
  /** One label; several, or none, where labels do not exclude each other. */
  labels: string[];
  /** A number in place of labels, such as the likeness of two sentences. */
  score?: number;
  /** The document that it is a sentence of, where the set says so. */
  document?: string;
  /** Where it begins in its file, from 1. */
  line?: number;
}

/** A question with its answer. */
export interface Question {
  kind: "question";
  id: string;
  question: string;
  /** What the answer is to be found in; empty where nothing is given. */
  contexts: string[];
  /** Where contexts come from, as URLs or PMIDs. */
  documents: string[];
  /** Choices, in order, of a question with choices. */
  options?: string[];
  answer:
    | { type: "choice"; index: number }
    | { type: "yesno"; value: string }
    /** Synonyms of one answer. */
    | { type: "factoid"; synonyms: string[][] }
    /** Each item with its synonyms. */
    | { type: "list"; items: string[][] }
    | { type: "summary" }
    /** The test split of a shared task. */
    | { type: "unknown" };
  /** An answer in sentences. */
  ideal: string[];
}

/** A record of any kind. */
export type TaskRecord = AnnotatedDocument | TaggedTokens | LabelledText | Question;

/** The kinds of records. */
export type RecordKind = TaskRecord["kind"];

/** The record of a kind. */
export type RecordOf<K extends RecordKind> = Extract<TaskRecord, { kind: K }>;

/** A file format. */
export interface Format<K extends RecordKind = RecordKind> {
  /** As `--format` names it. */
  name: string;
  kind: K;
  /** One line: what it is, and who releases what in it. */
  title: string;
  /** Whether it is a folder of files rather than one file. */
  folder?: boolean;
  /** What a file of it is called where nobody says: its extension. */
  extension: string;
  /** How sure it is that this is its format, 0 to 1, from the content alone. */
  recognise(probe: Probe): number;
  /** @throws {UserError} naming the file and the line of what cannot be read. */
  read(path: string): RecordOf<K>[];
  /** Writes a file, or a folder; absent where the format can only be read. */
  write?(records: RecordOf<K>[], path: string): void;
}

/** The beginning of a file, as formats look at it to recognise theirs. */
export interface Probe {
  path: string;
  isFolder: boolean;
  /** Names in a folder, sorted. */
  names: string[];
  /** Up to 200 lines from the start, without an unfinished last one. */
  lines: string[];
  /** The file as one JSON value; undefined where it is none. */
  json(): unknown;
  /** The first lines as JSON objects; empty where they are none. */
  jsonLines(): Record<string, unknown>[];
  /** The probe of a file in the folder. */
  child(name: string): Probe;
}
