/**
 * Relations between entities: sentences with two marked entities and a label (ChemProt as SciBERT
 * splits it), and PubTator documents with chemical-induced-disease pairs (BioCreative V CDR).
 * @module
 */
import { fail, UserError } from "../../../core/errors.ts";
import type { ChoiceItem } from "../core/choices.ts";
import type { Counts } from "../core/task.ts";
import { NOT_EVALUATED } from "../formats/chemprot.ts";
import { titleAndRest } from "../formats/documents.ts";
import { type AnnotatedDocument, readRecords } from "../formats/mod.ts";
import { documentRelations } from "../formats/pubtator.ts";
import { readTexts, type View } from "../formats/views.ts";

/** The labels of ChemProt in SciBERT's split, in alphabetical order. */
export const CHEMPROT_LABELS = [
  "ACTIVATOR",
  "AGONIST",
  "AGONIST-ACTIVATOR",
  "AGONIST-INHIBITOR",
  "ANTAGONIST",
  "DOWNREGULATOR",
  "INDIRECT-DOWNREGULATOR",
  "INDIRECT-UPREGULATOR",
  "INHIBITOR",
  "PRODUCT-OF",
  "SUBSTRATE",
  "SUBSTRATE_PRODUCT-OF",
  "UPREGULATOR",
] as const;

/** A label as words that a model can say: INDIRECT-UPREGULATOR is "indirect upregulator". */
export function relationWords(label: string): string {
  return label.toLowerCase().replace(/[-_]/g, " ");
}

/** Labels that mean "none of the others" in the sets that are in use, in lower case. */
const NEGATIVE_LABELS = ["false", "none", "negative", "no_relation", "no relation", "na"];

/** The label among some that means "none of the others", where there is one. */
export function negativeLabel(labels: readonly string[]): string | undefined {
  // BLUE's DDI has "DDI-false".
  const named = labels.find((label) => {
    const [last = ""] = /[^-:]*$/.exec(label.toLowerCase()) ?? [];
    return NEGATIVE_LABELS.includes(label.toLowerCase()) || last === "false";
  });
  // GAD and EU-ADR have 1 for a relation and 0 for none.
  const binary = labels.length === 2 && labels.includes("0") && labels.includes("1");
  return named ?? (binary ? "0" : undefined);
}

/**
 * The prompt of one sentence; the answer follows as " inhibitor". Which entity is the chemical the
 * sets do not say: the marks are in the order of the text.
 */
function relationPrompt(text: string, labels: readonly string[]): string {
  return `Name the relation of the two marked entities, the first in << >> and the second in ` +
    `[[ ]], as one of: ` +
    `${labels.map(relationWords).join(", ")}.\n\nSentence:\n${text.trim()}\n\nAnswer:`;
}

/**
 * Sentences as the items of a multiple-choice task.
 * @throws {UserError} for a label that is not among `labels`.
 */
export function relationItems(
  examples: readonly RelationExample[],
  labels: readonly string[],
): ChoiceItem[] {
  return examples.map(({ text, label }, i) => {
    const gold = labels.indexOf(label);
    if (gold < 0 && label !== NO_LABEL) {
      throw new UserError(
        `Cannot use example ${i + 1}: its label "${label}" is not among ${labels.join(", ")}`,
      );
    }
    return { id: String(i + 1), prompt: relationPrompt(text, labels), gold };
  });
}

/** Stands for the label of a sentence that has none as yet. */
export const NO_LABEL = "";

/** A sentence with two entities marked, `<< first >>` and `[[ second ]]`, and their relation. */
export interface RelationExample {
  /** The sentence, with its marks. */
  text: string;
  /** {@linkcode NO_LABEL} where it is to be predicted. */
  label: string;
}

function readText(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new UserError(`Cannot read the relations file ${path}: there is no such file`);
  }
}

/**
 * Reads JSON lines with "text" and "label". A null label is "no answer", allowed for systems.
 * @throws {UserError} naming the file and the line.
 */
export function readRelationLines(path: string): { text?: string; label: string | null }[] {
  const lines = readText(path).split("\n");
  const examples: { text?: string; label: string | null }[] = [];
  lines.forEach((line, index) => {
    if (line.trim() === "") return;
    const fail = (what: string): never => {
      throw new UserError(`Cannot read ${path}, line ${index + 1}: ${what}`);
    };
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      fail("it is not JSON");
    }
    if (typeof value !== "object" || value === null) return fail("it is not an object");
    const { text, label } = value as { text?: unknown; label?: unknown };
    if (label !== null && typeof label !== "string") return fail('it has no "label"');
    if (text !== undefined && typeof text !== "string") return fail('its "text" is not a string');
    examples.push({ text, label });
  });
  return examples;
}

/**
 * Words that stand for entities in sets that hide their names: @GENE$ in BioBERT's GAD, @drug$ in BLUE's
 * DDI, and @CHEM-GENE$ in its ChemProt for two that overlap.
 */
const PLACEHOLDER = /@[A-Za-z][A-Za-z_-]*\$/g;

/**
 * A sentence with its first two placeholders marked, where no entities are marked yet; one that stands
 * for both entities is marked as either.
 */
function markPlaceholders(text: string): string {
  if (text.includes("<<") && text.includes("[[")) return text;
  const [only, second] = text.match(PLACEHOLDER) ?? [];
  if (only !== undefined && second === undefined) {
    return text.replace(only, () => `<< ${only} >> [[ ${only} ]]`);
  }
  let seen = 0;
  return text.replace(PLACEHOLDER, (word) => {
    seen++;
    return seen === 1 ? `<< ${word} >>` : seen === 2 ? `[[ ${word} ]]` : word;
  });
}

/**
 * Reads sentences with a relation each, in any format: JSON lines, tables, or documents whose entities
 * are paired. Notes tell what is left out.
 * @throws {UserError} naming the file, and the example that has no label or several.
 */
export function readRelations(path: string, format?: string): View<RelationExample> {
  const { items, notes } = readTexts(path, format);
  const examples = items.map(({ text, labels, id, line }) => {
    const [label, second] = labels;
    if (label === undefined || second !== undefined) {
      throw new UserError(
        `Cannot use ${path}${line === undefined ? "" : `, line ${line}`}: the example ${id} has ` +
          `${labels.length} labels (${labels.join(", ")}), where one is needed`,
      );
    }
    return { text: markPlaceholders(text), label };
  });
  return { items: examples, notes };
}

/** An entity of a PubTator document: characters [start, end) of title, a space, abstract. */
export interface PubtatorMention {
  /** Its first character. */
  start: number;
  /** The character after its last. */
  end: number;
  /** What stands there. */
  text: string;
  /** Such as Chemical or Disease. */
  type: string;
  /** Concept identifiers; several for a composite mention. */
  ids: string[];
}

/** One PubTator document. */
export interface PubtatorDocument {
  /** Of the article. */
  pmid: string;
  /** The article's title. */
  title: string;
  /** The article's abstract. */
  abstract: string;
  /** In the order of the file. */
  mentions: PubtatorMention[];
  /** Relation type and the two concepts, such as CID D008750 D003866. */
  relations: { type: string; first: string; second: string }[];
}

/**
 * Reads documents with relations, in any format of annotated documents. Relations between mentions are
 * told by what these stand for, or by their places where the set does not say.
 * @throws {UserError} naming the file and the line: another shape, a document's id out of place, or a
 * mention whose text is not what its offsets say.
 */
export function readRelationDocuments(path: string, format?: string): PubtatorDocument[] {
  const { format: { name, kind }, records } = readRecords(path, format);
  if (kind !== "document") {
    throw new UserError(
      `Cannot use ${path}: read as ${name}, it holds no documents with relations`,
    );
  }
  return (records as AnnotatedDocument[]).map((document) => {
    const { title, rest } = titleAndRest(document);
    const placed = new Map(document.mentions.map((m) => {
      const place = m.spans.map(({ start, end }) => `${start}-${end}`).join(";");
      return [m.id, `${m.type} ${place}`];
    }));
    return {
      pmid: document.id,
      title,
      abstract: rest,
      mentions: document.mentions.map(({ spans, text, type, identifiers }) => ({
        start: spans[0]?.start ?? 0,
        end: spans.at(-1)?.end ?? 0,
        text,
        type,
        ids: identifiers,
      })),
      relations: documentRelations(document)
        .filter(({ type }) => type !== NOT_EVALUATED)
        .map(({ type, arguments: args }) => {
          const of = (i: number) => {
            const entity = args[i]?.entity ?? "";
            return placed.get(entity) ?? entity;
          };
          return { type, first: of(0), second: of(1) };
        }),
    };
  });
}

/** Reads a PubTator file. @throws {UserError} as {@linkcode readRelationDocuments}. */
export function readPubtator(path: string): PubtatorDocument[] {
  return readRelationDocuments(path, "pubtator");
}

/**
 * Right, wrong and missed relations of each gold document; documents that only the system has are
 * an error, documents that it lacks are missed.
 */
export function compareRelations(
  gold: readonly Pick<PubtatorDocument, "pmid" | "relations">[],
  system: readonly Pick<PubtatorDocument, "pmid" | "relations">[],
): Counts[] {
  const known = new Set(gold.map((d) => d.pmid));
  const stranger = system.find((d) => !known.has(d.pmid));
  if (stranger) {
    throw new UserError(
      `Cannot score the system file: PMID ${stranger.pmid} is not in the gold file; ` +
        `give the gold file of the same documents`,
    );
  }
  const keys = (documents: typeof gold, pmid: string) =>
    new Set(
      documents.filter((d) => d.pmid === pmid)
        .flatMap((d) => d.relations.map((r) => `${r.type}\t${r.first}\t${r.second}`)),
    );
  return gold.map(({ pmid }) => {
    const want = keys(gold, pmid);
    const got = keys(system, pmid);
    const truePositives = [...got].filter((k) => want.has(k)).length;
    return {
      truePositives,
      falsePositives: got.size - truePositives,
      falseNegatives: want.size - truePositives,
    };
  });
}

/** The sum of counts, over all or over a resample. */
export function sumCounts(counts: readonly Counts[], indices?: ArrayLike<number>): Counts {
  const sum = { truePositives: 0, falsePositives: 0, falseNegatives: 0 };
  for (let i = 0; i < (indices ?? counts).length; i++) {
    const own = counts[indices?.[i] ?? i] ?? fail("there is no such sentence");
    sum.truePositives += own.truePositives;
    sum.falsePositives += own.falsePositives;
    sum.falseNegatives += own.falseNegatives;
  }
  return sum;
}
