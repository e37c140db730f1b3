/**
 * Texts with labels in tables and JSON lines: any file with a column of texts, perhaps one of second
 * texts, and one of labels or scores. BioBERT's relation folders (GAD, EU-ADR: a sentence with @GENE$ and
 * @DISEASE$, tab, 0 or 1) and SciBERT's sets (`{"text", "label"}`) are such, and so are BLUE's HoC
 * (labels as "0_1,1_0,...": number and whether it holds) and BIOSSES (two sentences and a score).
 * @module
 */
import { writeAtomic } from "../../../core/files.ts";
import { failAt, readJsonLines, readText, textOf, textsOf } from "./files.ts";
import type { Format, LabelledText, Probe } from "./types.ts";

/** Names of columns, as data sets have them, the likelier first; case does not count. */
const COLUMNS = {
  id: ["id", "index", "idx", "guid", "pmid", "uid", "document_id"],
  text: [
    "text",
    "sentence",
    "sentences",
    "sentence1",
    "sentence_1",
    "text_1",
    "text1",
    "premise",
    "question1",
    "text_a",
    "sentence_a",
    "sent1",
    "abstract",
    "context",
    "passage",
    "content",
    "query",
  ],
  pair: [
    "text_pair",
    "pair",
    "sentence2",
    "sentence_2",
    "text_2",
    "text2",
    "hypothesis",
    "question2",
    "text_b",
    "sentence_b",
    "sent2",
    "statement",
    "claim",
    "response",
  ],
  label: [
    "label",
    "labels",
    "gold_label",
    "class",
    "category",
    "score",
    "similarity",
    "target",
    "relation",
    "relation_type",
    "annotation",
    "judgement",
    "judgment",
    "rating",
    "gold",
  ],
} as const;

/** Words of columns' names that tell them where no whole name does: "gold_relation", "abstractText". */
const WORDS: Partial<Record<keyof typeof COLUMNS, RegExp>> = {
  text: /(^|[_-])(text|sentence)s?([_-]|$)/,
  label: /(^|[_-])(labels?|relation|class|category|score)([_-]|$)/,
};

type Column = keyof typeof COLUMNS;

/** Where each column stands among the names of a header. */
function columnsOf(names: readonly string[]): Partial<Record<Column, number>> {
  const lower = names.map((name) => name.trim().toLowerCase());
  const found: Partial<Record<Column, number>> = {};
  for (const [column, known] of Object.entries(COLUMNS) as [Column, readonly string[]][]) {
    const name = known.find((candidate) => lower.includes(candidate));
    if (name !== undefined) found[column] = lower.indexOf(name);
  }
  for (const [column, word] of Object.entries(WORDS) as [Column, RegExp][]) {
    if (found[column] !== undefined) continue;
    const taken = Object.values(found);
    const at = lower.findIndex((name, i) =>
      !/\s/.test(name) && word.test(name) && !taken.includes(i)
    );
    if (at >= 0) found[column] = at;
  }
  return found;
}

const isHeader = (names: readonly string[]): boolean => {
  const { text, label } = columnsOf(names);
  return text !== undefined && label !== undefined;
};

/** BLUE's list of numbered labels that hold or do not: "0_0,1_1". */
const HOLDS = /^\d+_[01](,\d+_[01])*$/;

/** A list as Python or JSON writes it: ['one', 'two'], ["one"], []. */
const LIST = /^\[(?:\s*(?:"[^"]*"|'[^']*')\s*,?)*\s*\]$/;

/** What sets with several labels write where a text has none of them. */
const NO_LABELS = /^(null|none|nan)$/i;

/** How the cells of a column hold labels. */
interface LabelColumn {
  /** Whether a comma stands between labels, as in BLUE's HoC. */
  commas: boolean;
  /** Whether texts have any number of labels, so that "none" is no label of its own. */
  several: boolean;
}

/** Labels of one cell. */
function labelsOf(cell: string, { commas, several }: LabelColumn): string[] {
  const text = cell.trim();
  if (HOLDS.test(text)) {
    return text.split(",").filter((item) => item.endsWith("_1")).map((item) => item.slice(0, -2));
  }
  const parts = LIST.test(text)
    ? [...text.matchAll(/"([^"]*)"|'([^']*)'/g)].map(([, one, other]) => one ?? other ?? "")
    : text.split(commas ? /\s*[|;,]\s*/ : /\s*[|;]\s*/);
  return [...new Set(parts.map((part) => part.trim()))]
    .filter((label) => label !== "" && !(several && NO_LABELS.test(label)));
}

/**
 * How a column holds labels, seen from all of its cells. A comma separates labels where each part of
 * such a cell also stands alone or in other company: names of labels may have commas of their own.
 */
function labelColumn(cells: readonly string[]): LabelColumn {
  const distinct = [...new Set(cells.map((cell) => cell.trim()))];
  const whole = new Set(distinct.filter((cell) => !cell.includes(",")));
  const listed = distinct.filter((cell) =>
    cell.includes(",") && !HOLDS.test(cell) && !LIST.test(cell)
  );
  const uses = new Map<string, number>();
  for (const cell of listed) {
    for (const part of new Set(cell.split(",").map((p) => p.trim()))) {
      uses.set(part, (uses.get(part) ?? 0) + 1);
    }
  }
  const known = (part: string) => whole.has(part) || (uses.get(part) ?? 0) > 1;
  const commas = listed.length > 0 &&
    listed.every((cell) => cell.split(",").every((part) => known(part.trim())));
  const column: LabelColumn = { commas, several: false };
  const several = distinct.some((cell) =>
    HOLDS.test(cell) || LIST.test(cell) || labelsOf(cell, column).length > 1
  );
  return { commas, several };
}

/** The document of a text's id such as 10072428_s3: what stands before the sentence's number. */
const documentOf = (id: string): string | undefined => /^(\d{4,9})[_.]s?\d+$/.exec(id)?.[1];

/**
 * Whether the labels of a set are scores: all of them numbers, and not all of them whole, or a column
 * that is called so.
 */
function areScores(cells: readonly string[], name: string): boolean {
  const numbers = cells.filter((cell) => cell.trim() !== "").map(Number);
  if (!numbers.length || !numbers.every(Number.isFinite)) return false;
  return /score|similarity/i.test(name) || numbers.some((n) => !Number.isInteger(n));
}

const isQuoted = (cell: string): boolean => /^"(?:[^"]|"")*"$/.test(cell);

/**
 * The cells of a row between tabs. Quotation marks are mostly text there; they are taken off where they
 * were put around a cell by a program that doubles those within it, or around every cell.
 */
function tabbedCells(row: string): string[] {
  const cells = row.split("\t");
  const all = cells.every(isQuoted);
  return cells.map((cell) => {
    const inner = cell.slice(1, -1);
    return isQuoted(cell) && (all || inner.includes('""')) ? inner.replaceAll('""', '"') : cell;
  });
}

/**
 * A table's rows. Between commas by RFC 4180: fields may be quoted, quotes within are doubled. Between
 * tabs a row is a line.
 */
export function parseTable(
  text: string,
  separator: "," | "\t",
): { cells: string[]; line: number }[] {
  if (separator === "\t") {
    return text.split(/\r?\n/).map((row, i) => ({ cells: tabbedCells(row), line: i + 1 }))
      .filter(({ cells }) => cells.length > 1 || (cells[0] ?? "").trim() !== "");
  }
  const rows: { cells: string[]; line: number }[] = [];
  let cells: string[] = [];
  let cell = "";
  let quoted = false;
  let line = 1;
  let start = 1;
  const endRow = () => {
    cells.push(cell);
    if (cells.length > 1 || cells[0] !== "") rows.push({ cells, line: start });
    cells = [];
    cell = "";
  };
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === "\n") line++;
    if (quoted) {
      if (character !== '"') cell += character;
      else if (text[i + 1] === '"') {
        cell += '"';
        i++;
      } else quoted = false;
    } else if (character === '"' && cell === "") quoted = true;
    else if (character === ",") {
      cells.push(cell);
      cell = "";
    } else if (character === "\n") {
      endRow();
      start = line;
    } else if (character !== "\r") cell += character;
  }
  if (cell !== "" || cells.length) endRow();
  return rows;
}

/** Whether a cell is of running text rather than a label or a number. */
const isLong = (cell: string): boolean => cell.trim().split(/\s+/).length >= 3;

/**
 * Which column is which where no header tells: texts are those of mostly three words or more, the label
 * is the last of the others, or, where all of these stand before the text, the one with the fewest
 * different values; an id is a short column whose values all differ.
 */
function guessColumns(rows: readonly string[][]): Partial<Record<Column, number>> {
  const width = rows[0]?.length ?? 0;
  const valuesOf = (column: number) => rows.map((row) => row[column] ?? "");
  const all = Array.from({ length: width }, (_, column) => column);
  const long = all.filter((column) => 2 * valuesOf(column).filter(isLong).length > rows.length);
  const [text = 0, pair] = long.length ? long : all.slice(0, Math.max(1, Math.min(2, width - 1)));
  const rest = all.filter((column) => column !== text && column !== pair);
  const distinct = (column: number) => new Set(valuesOf(column)).size;
  const after = rest.filter((column) => column > text);
  const label = after.at(-1) ?? rest.toSorted((a, b) => distinct(a) - distinct(b))[0] ?? width - 1;
  const id = rest.find((column) =>
    column !== label && distinct(column) === rows.length &&
    valuesOf(column).every((cell) => !/\s/.test(cell.trim()))
  );
  return {
    text,
    label,
    ...(pair === undefined ? {} : { pair }),
    ...(id === undefined ? {} : { id }),
  };
}

const separatorOf = (firstLine: string): "," | "\t" => firstLine.includes("\t") ? "\t" : ",";

function readTable(path: string): LabelledText[] {
  const text = readText(path);
  const rows = parseTable(text, separatorOf(/\S.*/.exec(text)?.[0] ?? ""));
  const first = rows[0]?.cells ?? [];
  const headed = isHeader(first);
  // Without a header: text and label, or text, second text and label, with an id before them or not.
  const width = first.length;
  // BLUE's HoC has a column in its header that no row has: the second text's.
  const short = headed && rows.length > 1 &&
    rows.slice(1).every(({ cells }) => cells.length === width - 1);
  const { pair: absent, ...named } = columnsOf(first);
  const columns = headed
    ? short && absent !== undefined
      ? columnsOf(first.filter((_, i) => i !== absent))
      : columnsOf(first)
    : guessColumns(rows.map(({ cells }) => cells));
  const body = headed ? rows.slice(1) : rows;
  const cells = (column: number | undefined) =>
    body.map(({ cells }) => (column === undefined ? "" : cells[column] ?? ""));
  const labels = cells(columns.label);
  const scored = areScores(labels, headed ? first[named.label ?? 0] ?? "" : "");
  const column = labelColumn(labels);
  return body.map(({ cells, line }, i): LabelledText => {
    if (cells.length <= Math.max(columns.text ?? 0, columns.label ?? 0)) {
      failAt(path, line, `it has ${cells.length} columns, where ${width} are needed`);
    }
    const label = labels[i] ?? "";
    if (scored && label.trim() === "") failAt(path, line, "it has no score, as the others have");
    const pair = columns.pair === undefined ? undefined : cells[columns.pair];
    const id = columns.id === undefined ? String(i) : cells[columns.id] ?? String(i);
    const document = documentOf(id);
    return {
      kind: "text",
      id,
      text: cells[columns.text ?? 0] ?? "",
      ...(pair === undefined ? {} : { pair }),
      ...(document === undefined ? {} : { document }),
      labels: scored ? [] : labelsOf(label, column),
      ...(scored ? { score: Number(label) } : {}),
      line,
    };
  });
}

/** The least number of a few lines' columns that agree, or 0. */
function tableWidth(probe: Probe): number {
  const lines = probe.lines.filter((line) => line.trim() !== "").slice(0, 20);
  const widths = new Set(lines.map((line) => line.split("\t").length));
  return widths.size === 1 ? [...widths][0] ?? 0 : 0;
}

/** Tables of texts and labels, separated by tabs or commas. */
export const table: Format<"text"> = {
  name: "table",
  kind: "text",
  title:
    "a TSV or CSV of texts and labels or scores (GAD, EU-ADR, HoC of BLUE, BIOSSES, any other)",
  extension: ".tsv",
  recognise(probe) {
    const head = probe.lines.find((line) => line.trim() !== "") ?? "";
    if (probe.isFolder || /^\s*[[{<]/.test(head)) return 0;
    const first = parseTable(head, separatorOf(head))[0]?.cells;
    if (first && isHeader(first)) return 0.9;
    const width = tableWidth(probe);
    if (width < 2 || width > 4) return 0;
    // A column of long texts and one of short labels.
    const rows = probe.lines.filter((line) => line.trim() !== "").map((line) => line.split("\t"));
    const long = rows.filter((r) => r.slice(0, -1).some((c) => c.trim().split(/\s+/).length >= 3));
    const short = rows.filter((r) => (r.at(-1) ?? "").trim().split(/\s+/).length <= 3);
    if (long.length > 0.8 * rows.length && short.length === rows.length) return 0.7;
    // Or the label first: few labels for many texts.
    const labels = new Set(rows.map((r) => (r[0] ?? "").trim()));
    const texts = rows.filter((r) => isLong(r.at(-1) ?? ""));
    return texts.length > 0.8 * rows.length && labels.size <= rows.length / 2 + 1 &&
        labels.size < rows.length && [...labels].every((label) => label !== "" && !isLong(label))
      ? 0.65
      : 0;
  },
  read: readTable,
  write(records, path) {
    const clean = (text: string) => text.replace(/[\t\n\r]+/g, " ");
    const pairs = records.some((r) => r.pair !== undefined);
    const header = ["id", "text", ...(pairs ? ["text_pair"] : []), "label"].join("\t");
    const rows = records.map((r) =>
      [
        r.id,
        clean(r.text),
        ...(pairs ? [clean(r.pair ?? "")] : []),
        r.score === undefined ? r.labels.join("|") : String(r.score),
      ].join("\t")
    );
    writeAtomic(path, [header, ...rows].map((row) => row + "\n").join(""));
  },
};

/** JSON lines of texts and labels, SciBERT's among them. */
export const jsonTexts: Format<"text"> = {
  name: "jsonl",
  kind: "text",
  title: "JSON lines or a list with a text, perhaps a second one, and a label, labels or a score",
  extension: ".jsonl",
  recognise(probe) {
    if (probe.isFolder) return 0;
    const objects = probe.jsonLines();
    const right = objects.filter((one) => isHeader(Object.keys(one)));
    // Where some lack what others have, reading names the line.
    return right.length === 0 ? 0 : right.length === objects.length ? 0.9 : 0.3;
  },
  read(path) {
    const rows = readJsonLines(path);
    const keys = [...new Set(rows.flatMap(({ value }) => Object.keys(value)))];
    const columns = columnsOf(keys);
    const key = (column: Column) => {
      const at = columns[column];
      return at === undefined ? "" : keys[at] ?? "";
    };
    const cells = rows.map(({ value }) => textsOf(value[key("label")]));
    const scored = areScores(cells.map((c) => c.join("|")), key("label"));
    const column = labelColumn(cells.flatMap((c) => c.length === 1 ? c : []));
    return rows.map(({ value, line }, i): LabelledText => {
      const text = textOf(value[key("text")]);
      if (text === undefined) failAt(path, line, `it has no text under "${key("text") || "text"}"`);
      if (columns.label !== undefined && !(key("label") in value)) {
        failAt(path, line, `it has no "${key("label")}", as the others have`);
      }
      const pair = textOf(value[key("pair")]);
      const labels = cells[i] ?? [];
      if (scored && labels.length !== 1) failAt(path, line, "it has no score, as the others have");
      const id = textOf(value[key("id")]) ?? String(i);
      const document = documentOf(id);
      return {
        kind: "text",
        id,
        text,
        ...(pair === undefined ? {} : { pair }),
        ...(document === undefined ? {} : { document }),
        labels: scored ? [] : labels.length === 1 ? labelsOf(labels[0] ?? "", column) : labels,
        ...(scored ? { score: Number(labels[0]) } : {}),
        line,
      };
    });
  },
  write(records, path) {
    const lines = records.map((r) =>
      JSON.stringify({
        id: r.id,
        text: r.text,
        ...(r.pair === undefined ? {} : { text_pair: r.pair }),
        ...(r.score === undefined
          ? r.labels.length === 1 ? { label: r.labels[0] } : { labels: r.labels }
          : { score: r.score }),
      }) + "\n"
    );
    writeAtomic(path, lines.join(""));
  },
};
