/**
 * Tagged tokens in columns: CoNLL's files, BioBERT's with bare B, I and O, and the schemes IOB2, IOB1
 * and BIOES (also written IOBES or BILOU). All are read as IOB2; a bare tag gets the type "Entity".
 *
 * The token is in the first column and the tag in the last, whatever lies between (2 to 4 columns, tabs
 * or spaces). A blank line ends a sentence; "-DOCSTART-" and comment lines "###PMID" begin a document.
 * @module
 */
import { writeAtomic } from "../../../core/files.ts";
import { failAt, readLinesOf } from "./files.ts";
import type { Format, Probe, TaggedTokens } from "./types.ts";

/** The type of entities in files that name none. */
const BARE_TYPE = "Entity";

/** B, I or O, also in small letters; E and L end an entity, S and U are an entity of one token. */
const TAG = /^(?:O|([BIESLU])(?:[-_](\S+))?)$/i;

/** A tag's position and type; undefined for what is no tag. */
function parseTag(tag: string): { at: string; type: string } | undefined {
  const match = TAG.exec(tag);
  return match ? { at: match[1]?.toUpperCase() ?? "O", type: match[2] ?? BARE_TYPE } : undefined;
}

/**
 * Tags of any scheme in IOB2. An I, E or L that does not continue an entity of its type begins one, as
 * conlleval counts it.
 */
export function toIob2(tags: readonly string[]): string[] {
  let open: string | undefined;
  return tags.map((tag) => {
    const parsed = parseTag(tag);
    if (!parsed || parsed.at === "O") {
      open = undefined;
      return "O";
    }
    const { at, type } = parsed;
    const continues = (at === "I" || at === "E" || at === "L") && open === type;
    open = at === "E" || at === "L" || at === "S" || at === "U" ? undefined : type;
    return `${continues ? "I" : "B"}-${type}`;
  });
}

/** Tags of IOB2 in BIOES: S for an entity of one token, E for its last. */
export function toBioes(tags: readonly string[]): string[] {
  return tags.map((tag, i) => {
    if (tag === "O") return tag;
    const goesOn = tags[i + 1] === `I-${tag.slice(2)}`;
    if (tag.startsWith("B-")) return goesOn ? tag : `S-${tag.slice(2)}`;
    return goesOn ? tag : `E-${tag.slice(2)}`;
  });
}

/** A line's columns; tabs and spaces at its end are none. */
function columnsOf(line: string): string[] {
  const whole = line.trimEnd();
  const cells = whole.includes("\t") ? whole.split("\t") : whole.trim().split(/\s+/);
  return cells.map((cell) => cell.trim());
}

/** Whether a line before a sentence is a comment, as CoNLL-U has them: "# id 17". */
const isComment = (line: string): boolean =>
  line.startsWith("#") && parseTag(columnsOf(line).at(-1) ?? "") === undefined;

/** Whether a first line names its columns. */
const isHeading = (columns: readonly string[]): boolean =>
  columns.length > 1 && /^(token|word|text|form)s?$/i.test(columns[0] ?? "") &&
  /^(tag|label|ner|ner_?tag|iob2?|bio|entity)s?$/i.test(columns.at(-1) ?? "");

const documentOf = (line: string): string | undefined =>
  /^###\s*(\S+)/.exec(line)?.[1] ??
    (line.startsWith("-DOCSTART-") ? /\((\S+)\)/.exec(line)?.[1] ?? "" : undefined);

/** Reads a file of tagged tokens. */
export function readTagged(path: string): TaggedTokens[] {
  const sentences: (TaggedTokens & { raw: string[] })[] = [];
  let current: TaggedTokens & { raw: string[] } | undefined;
  let document: string | undefined;
  for (const [i, line] of readLinesOf(path).entries()) {
    const begun = documentOf(line);
    if (begun !== undefined) document = begun || document;
    if (line.trim() === "" || begun !== undefined) {
      current = undefined;
      continue;
    }
    const columns = columnsOf(line);
    const tag = columns.at(-1) ?? "";
    if (sentences.length === 0 && isHeading(columns)) continue;
    if (!current && isComment(line)) continue;
    if (columns.length < 2 || !parseTag(tag)) {
      failAt(
        path,
        i + 1,
        `"${
          line.slice(0, 60)
        }" is not a token and a tag (O, B or I, B-type or I-type, or of BIOES)`,
      );
    }
    if (!current) {
      current = { kind: "sentence", tokens: [], tags: [], raw: [], line: i + 1, document };
      sentences.push(current);
    }
    current.tokens.push(columns[0] ?? "");
    current.raw.push(tag);
  }
  return sentences.map(({ raw, ...sentence }) => {
    const { document, ...rest } = sentence;
    return { ...rest, tags: toIob2(raw), ...(document === undefined ? {} : { document }) };
  });
}

function recogniseTagged(probe: Probe): number {
  const all = probe.lines.filter((l) =>
    l.trim() !== "" && documentOf(l) === undefined && !isComment(l)
  );
  const rows = isHeading(columnsOf(all[0] ?? "")) ? all.slice(1) : all;
  if (probe.isFolder || rows.length === 0) return 0;
  const right = rows.filter((line) => {
    const columns = columnsOf(line);
    return columns.length >= 2 && columns.length <= 6 && parseTag(columns.at(-1) ?? "");
  });
  return right.length === rows.length ? 0.95 : right.length > 0.9 * rows.length ? 0.6 : 0;
}

function writeTagged(
  sentences: TaggedTokens[],
  path: string,
  write: (tags: readonly string[]) => string[],
): void {
  let document: string | undefined;
  const blocks = sentences.map((sentence) => {
    const head = sentence.document !== undefined && sentence.document !== document
      ? `###${sentence.document}\n`
      : "";
    document = sentence.document ?? document;
    const tags = write(sentence.tags);
    return head + sentence.tokens.map((token, i) => `${token}\t${tags[i] ?? "O"}\n`).join("");
  });
  writeAtomic(path, blocks.join("\n"));
}

/** Whether any tag of a file says more than B, I and O. */
const hasScheme = (probe: Probe, letters: RegExp): boolean =>
  probe.lines.some((line) => letters.test(columnsOf(line).at(-1) ?? ""));

/** CoNLL's columns with typed or bare tags. */
export const conll: Format<"sentence"> = {
  name: "conll",
  kind: "sentence",
  title: "a token and its IOB2 tag per line, as the NER sets of BioBERT and CoNLL have them",
  extension: ".tsv",
  recognise: (probe) => hasScheme(probe, /^[ESLU]([-_]|$)/i) ? 0 : recogniseTagged(probe),
  read: readTagged,
  write: (records, path) => writeTagged(records, path, (tags) => [...tags]),
};

/** BioBERT's own: bare tags, the type being that of the whole set. */
export const bareConll: Format<"sentence"> = {
  name: "conll-bare",
  kind: "sentence",
  title: "a token and B, I or O per line, without types, as BioBERT's NER folders have it",
  extension: ".tsv",
  recognise: (probe) =>
    hasScheme(probe, /^[BIESLU][-_]/i) || hasScheme(probe, /^[ESLU]$/i)
      ? 0
      : hasScheme(probe, /^[BI]$/i)
      ? Math.min(1, recogniseTagged(probe) + 0.04)
      : 0,
  read: readTagged,
  write: (records, path) => writeTagged(records, path, (tags) => tags.map((tag) => tag[0] ?? "O")),
};

/** The scheme that also marks last and single tokens. */
export const bioes: Format<"sentence"> = {
  name: "bioes",
  kind: "sentence",
  title: "a token and its BIOES tag per line",
  extension: ".tsv",
  recognise: (probe) => hasScheme(probe, /^[ESLU]([-_]|$)/i) ? recogniseTagged(probe) : 0,
  read: readTagged,
  write: (records, path) => writeTagged(records, path, toBioes),
};
