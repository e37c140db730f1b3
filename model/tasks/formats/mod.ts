/**
 * Every file format that tasks read, found by looking at the content.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { exists } from "../../../core/files.ts";
import { basename, join } from "../../../core/std.ts";
import { bigbioKb, bigbioPairs, bigbioQa, bigbioText } from "./bigbio.ts";
import { biocJson, biocXml } from "./bioc.ts";
import { brat } from "./brat.ts";
import { chemprot } from "./chemprot.ts";
import { bareConll, bioes, conll } from "./conll.ts";
import { ddi } from "./ddi.ts";
import { probe } from "./files.ts";
import { hoc } from "./hoc.ts";
import { nli4ct } from "./nli4ct.ts";
import { splitOf } from "./split_names.ts";
import { pubtator } from "./pubtator.ts";
import { bioasq, medmcqa, medqa, mmlu, pubmedqa, squad } from "./questions.ts";
import { jsonTexts, table } from "./texts.ts";
import type { Format, Probe, RecordKind, RecordOf, TaskRecord } from "./types.ts";

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

/** Files and folders in a folder that may hold its records; others, such as a README, may stand beside. */
const partsIn = (looked: Probe): Probe[] =>
  looked.names.filter((name) => !name.startsWith(".") && exists(join(looked.path, name)))
    .map((name) => looked.child(name));

/**
 * The format of a folder whose files, or folders, are each a set of documents or tagged sentences of their
 * own, as where every document has a file; undefined where it is none.
 */
function formatOfParts(looked: Probe, depth = 3): Format | undefined {
  if (!looked.isFolder || depth === 0) return undefined;
  const found = new Set<Format>();
  const parts = partsIn(looked);
  // Splits are told apart, not put together.
  if (parts.some(({ path }) => splitOf(basename(path)) !== undefined)) return undefined;
  for (const part of parts) {
    const own = bestFormat(part) ?? formatOfParts(part, depth - 1);
    if (own?.kind === "document" || own?.kind === "sentence") found.add(own);
    else if (own || !part.isFolder && !isBeside(part)) return undefined;
    if (found.size > 1) return undefined;
  }
  return [...found][0];
}

/** Whether a file may stand beside the data. */
const isBeside = ({ path }: Probe): boolean =>
  /readme|licen[cs]e|\.(md|pdf|html?|dtd|conf)$/i.test(path);

/** The format that is surest, where one is. */
function bestFormat(looked: Probe): Format | undefined {
  let best: { format: Format; score: number } | undefined;
  for (const format of FORMATS) {
    const score = format.recognise(looked);
    if (score > (best?.score ?? 0)) best = { format, score };
  }
  return best?.format;
}

/** The format that a file or folder most likely has, as a whole or part by part. */
export function likelyFormat(looked: Probe): Format | undefined {
  return bestFormat(looked) ?? formatOfParts(looked);
}

/** Reads a file, or all parts of a folder that is one of parts. */
function readParts(format: Format, looked: Probe, depth = 3): TaskRecord[] {
  if (!looked.isFolder || depth === 0 || format.recognise(looked) > 0) {
    return format.read(looked.path);
  }
  return partsIn(looked).filter((part) => part.isFolder || !isBeside(part))
    .flatMap((part) => readParts(format, part, depth - 1));
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
  const ofParts = best ? undefined : formatOfParts(looked);
  if (ofParts) return ofParts;
  if (!best) {
    const split = looked.names.find((name) => splitOf(name) !== undefined);
    if (split !== undefined) {
      throw new UserError(
        `Cannot read ${path} as one set: it is a folder of splits, such as ${split}; name one of these`,
      );
    }
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
  const records = readParts(format, probe(path));
  if (!records.length) {
    throw new UserError(`Cannot use ${path}: read as ${format.name}, it holds nothing`);
  }
  return { format, records };
}
