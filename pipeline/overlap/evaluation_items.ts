/**
 * Evaluation sets as items with texts and PMIDs, whatever their layout: JSON keyed by PMID
 * (PubMedQA), JSON with a list (BioASQ's `questions`), JSON lines, PubTator, or plain text.
 * @module
 */
import { UserError } from "../../core/errors.ts";
import { readJson } from "../../core/files.ts";
import { readLines } from "../../core/text_input.ts";

/** One question, passage or sentence that a model will be tested on. */
export interface EvaluationItem {
  /** Its key, id or line in the file. */
  id: string;
  /** The citations that it was made from. */
  pmids: number[];
  texts: string[];
}

const PUBMED_URL = /(?:pubmed\/|pubmed\.ncbi\.nlm\.nih\.gov\/)(\d{1,9})\b/g;
const PMID_KEYS = new Set(["pmid", "pubmed_id", "pubmedid", "document_id"]);
const DIGITS = /^\d{1,9}$/;

/**
 * The items of an evaluation file.
 * @throws {UserError} where it cannot be read or has no items.
 */
export function readEvaluationItems(path: string): EvaluationItem[] {
  const items = /\.(jsonl|ndjson)$/.test(path)
    ? [...jsonLines(path)]
    : path.endsWith(".json")
    ? jsonItems(readJson(path, "evaluation file"))
    : [...plainItems(path)];
  if (items.length === 0) {
    throw new UserError(
      `Cannot compare with ${path}: it has no items; give JSON, JSON lines or text`,
    );
  }
  return items;
}

function* jsonLines(path: string): Generator<EvaluationItem> {
  let number = 0;
  for (const { line } of readLines(path)) {
    number++;
    if (line.trim() === "") continue;
    try {
      yield itemOf(JSON.parse(line), `line ${number}`);
    } catch (error) {
      throw new UserError(`Cannot read ${path}, line ${number}: ${(error as Error).message}`);
    }
  }
}

function jsonItems(value: unknown): EvaluationItem[] {
  if (Array.isArray(value)) return value.map((v, i) => itemOf(v, String(i)));
  if (typeof value !== "object" || value === null) return [];
  const entries = Object.entries(value);
  // A wrapper such as {"questions": [...]} holds the items in its one list of objects.
  const lists = entries.filter(([, v]) => Array.isArray(v) && typeof v[0] === "object");
  if (lists.length > 0 && entries.every(([k]) => !DIGITS.test(k))) {
    return lists.flatMap(([key, list]) =>
      (list as unknown[]).map((v, i) => itemOf(v, `${key} ${i}`))
    );
  }
  return entries.map(([key, v]) => {
    const item = itemOf(v, key);
    return {
      ...item,
      id: key,
      pmids: DIGITS.test(key) ? [...item.pmids, Number(key)] : item.pmids,
    };
  });
}

/** One item of a JSON value; an `id` inside names it. */
function itemOf(value: unknown, id: string): EvaluationItem {
  const item: EvaluationItem = { id, pmids: [], texts: [] };
  const own = (value as { id?: unknown } | null)?.id;
  if (typeof own === "string" || typeof own === "number") item.id = String(own);
  const walk = (v: unknown, key: string) => {
    if (typeof v === "string" || typeof v === "number") {
      const text = String(v);
      if (PMID_KEYS.has(key.toLowerCase()) && DIGITS.test(text)) item.pmids.push(Number(text));
      else if (typeof v === "string") {
        for (const match of v.matchAll(PUBMED_URL)) item.pmids.push(Number(match[1]));
        item.texts.push(v);
      }
    } else if (Array.isArray(v)) v.forEach((w) => walk(w, key));
    else if (v !== null && typeof v === "object") {
      for (const [k, w] of Object.entries(v)) walk(w, k);
    }
  };
  walk(value, "");
  return item;
}

/** Paragraphs; PubTator's "PMID|t|..." and "PMID|a|..." lines carry their PMID. */
function* plainItems(path: string): Generator<EvaluationItem> {
  let item: EvaluationItem | undefined;
  let number = 0;
  for (const { line } of readLines(path)) {
    number++;
    if (line.trim() === "") {
      if (item) yield joined(item);
      item = undefined;
      continue;
    }
    item ??= { id: `line ${number}`, pmids: [], texts: [] };
    const pubtator = /^(\d{1,9})\|[ta]\|(.*)$/.exec(line);
    if (pubtator) {
      item.pmids.push(Number(pubtator[1]));
      item.texts.push(pubtator[2] ?? "", "\n");
    } else item.texts.push(line.split("\t")[0] ?? "", " "); // IOB: one word per line, its tag after a tab
  }
  if (item) yield joined(item);
}

const joined = (item: EvaluationItem): EvaluationItem => ({
  ...item,
  texts: [item.texts.join("")],
});
