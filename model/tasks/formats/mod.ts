/**
 * Every file format that tasks read, found by looking at the content.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { bigbioKb, bigbioPairs, bigbioQa, bigbioText } from "./bigbio.ts";
import { biocJson, biocXml } from "./bioc.ts";
import { brat } from "./brat.ts";
import { chemprot } from "./chemprot.ts";
import { bareConll, bioes, conll } from "./conll.ts";
import { ddi } from "./ddi.ts";
import { probe } from "./files.ts";
import { hoc } from "./hoc.ts";
import { nli4ct } from "./nli4ct.ts";
import { pubtator } from "./pubtator.ts";
import { bioasq, medmcqa, medqa, mmlu, pubmedqa, squad } from "./questions.ts";
import { jsonTexts, table } from "./texts.ts";
import type { Format, RecordKind, RecordOf } from "./types.ts";

export { conll } from "./conll.ts";
export { jsonTexts } from "./texts.ts";
export type {
  AnnotatedDocument,
  DocumentRelation,
  Format,
  LabelledText,
  Mention,
  Question,
  RecordKind,
  RecordOf,
  Span,
  TaggedTokens,
  TaskRecord,
} from "./types.ts";

/** Every format; a new one is a line here. */
export const FORMATS: readonly Format[] = [
  conll,
  bareConll,
  bioes,
  pubtator,
  brat,
  biocXml,
  biocJson,
  bigbioKb,
  chemprot,
  ddi,
  table,
  jsonTexts,
  bigbioText,
  bigbioPairs,
  nli4ct,
  hoc,
  bioasq,
  squad,
  pubmedqa,
  medqa,
  medmcqa,
  mmlu,
  bigbioQa,
] as unknown as Format[];

/** The names of formats, for `--format`. */
const FORMAT_NAMES: readonly string[] = FORMATS.map(({ name }) => name);

/**
 * A format by its name.
 * @throws {UserError} naming those that there are.
 */
export function formatNamed(name: string): Format {
  const format = FORMATS.find((f) => f.name === name);
  if (format) return format;
  throw new UserError(`Cannot use the format "${name}": choose one of ${FORMAT_NAMES.join(", ")}`);
}

/**
 * The format of a file or folder, by its content alone.
 * @throws {UserError} where no format knows it, or two are equally sure.
 */
export function recogniseFormat(path: string): Format {
  const looked = probe(path);
  const scored = FORMATS.map((format) => ({ format, score: format.recognise(looked) }))
    .filter(({ score }) => score > 0).sort((a, b) => b.score - a.score);
  const [best, next] = scored;
  if (!best) {
    throw new UserError(
      `Cannot tell what format ${path} has; say it with --format (${FORMAT_NAMES.join(", ")})`,
    );
  }
  if (next && next.score === best.score) {
    throw new UserError(
      `Cannot tell whether ${path} is ${best.format.name} or ${next.format.name}; say it with --format`,
    );
  }
  return best.format;
}

/** Records that were read, and the format that they came in. */
export interface ReadRecords<K extends RecordKind = RecordKind> {
  format: Format<K>;
  records: RecordOf<K>[];
}

/**
 * Reads a file or folder of whatever format.
 * @param name the format; by default it is found by looking
 * @throws {UserError} naming the file and the line of what cannot be read.
 */
export function readRecords(path: string, name?: string): ReadRecords {
  const format = name === undefined ? recogniseFormat(path) : formatNamed(name);
  const records = format.read(path);
  if (!records.length) {
    throw new UserError(`Cannot use ${path}: read as ${format.name}, it holds nothing`);
  }
  return { format, records };
}
