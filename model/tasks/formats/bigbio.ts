/**
 * BigBIO's schemas (Fries et al. 2022) as JSON lines: kb (documents with passages, entities, relations),
 * text (labels), pairs (two texts with a label or a score), te (premise, hypothesis) and qa.
 * @module
 */
import { writeAtomic } from "../../../core/files.ts";
import { inCharacters, placeSpans, textAt } from "./documents.ts";
import { failAt, objectsOf, readJsonLines, textOf, textsOf } from "./files.ts";
import { mentionRelations } from "./brat.ts";
import { offsetsOf } from "./offsets.ts";
import type { AnnotatedDocument, Format, LabelledText, Probe, Question, Span } from "./types.ts";

const linesWith = (probe: Probe, ...keys: string[]): boolean => {
  const lines = probe.isFolder ? [] : probe.jsonLines();
  return lines.length > 0 && lines.every((line) => keys.every((key) => key in line));
};

const jsonLines = (values: unknown[]): string =>
  values.map((value) => JSON.stringify(value) + "\n").join("");

/** Spans as BigBIO has them: lists of [start, end]. */
function spansOf(value: unknown): Span[] {
  if (!Array.isArray(value)) return [];
  return value.filter((pair): pair is [number, number] =>
    Array.isArray(pair) && pair.length === 2 && pair.every((n) => typeof n === "number")
  ).map(([start, end]) => ({ start, end }));
}

/** Documents with entities and relations. */
export const bigbioKb: Format<"document"> = {
  name: "bigbio-kb",
  kind: "document",
  title: "BigBIO's schema kb as JSON lines: passages, entities, relations",
  extension: ".jsonl",
  recognise: (probe) => linesWith(probe, "passages", "entities") ? 0.98 : 0,
  read: (path) =>
    readJsonLines(path).map(({ value, line }): AnnotatedDocument => {
      let text = "";
      const passages: AnnotatedDocument["passages"] = [];
      for (const passage of objectsOf(value.passages)) {
        const own = textsOf(passage.text).join(" ");
        const start = spansOf(passage.offsets)[0]?.start ?? [...text].length;
        const gap = start - [...text].length;
        if (gap < 0) failAt(path, line, `a passage begins at ${start}, inside the one before it`);
        text += " ".repeat(gap);
        passages.push({
          type: textOf(passage.type) ?? "text",
          start: text.length,
          end: text.length + own.length,
        });
        text += own;
      }
      const offsets = offsetsOf(text);
      const mentions = objectsOf(value.entities).map((entity) => {
        const words = textsOf(entity.text).join(" ");
        const spans = placeSpans(text, spansOf(entity.offsets), words, { path, line, offsets });
        return {
          id: textOf(entity.id) ?? "",
          type: textOf(entity.type) ?? "Entity",
          spans,
          text: textAt(text, spans),
          identifiers: objectsOf(entity.normalized).flatMap((n) => textOf(n.db_id) ?? []),
        };
      });
      const relations = objectsOf(value.relations).map((relation) => ({
        type: textOf(relation.type) ?? "relation",
        level: "mention" as const,
        arguments: [
          { role: "Arg1", entity: textOf(relation.arg1_id) ?? "" },
          { role: "Arg2", entity: textOf(relation.arg2_id) ?? "" },
        ],
      }));
      const id = textOf(value.document_id) ?? textOf(value.id) ?? String(line);
      return { kind: "document", id, text, passages, mentions, relations };
    }),
  write(documents, path) {
    const values = documents.map((document) => {
      const place = inCharacters(document);
      const pair = (span: Span) => {
        const { start, end } = place(span);
        return [start, end];
      };
      const prefix = document.id;
      return {
        id: document.id,
        document_id: document.id,
        passages: document.passages.map((passage, i) => ({
          id: `${prefix}_p${i}`,
          type: passage.type,
          text: [document.text.slice(passage.start, passage.end)],
          offsets: [pair(passage)],
        })),
        entities: document.mentions.map((mention) => ({
          id: mention.id,
          type: mention.type,
          text: mention.spans.map(({ start, end }) => document.text.slice(start, end)),
          offsets: mention.spans.map(pair),
          normalized: mention.identifiers.map((identifier) => ({
            db_name: "",
            db_id: identifier,
          })),
        })),
        events: [],
        coreferences: [],
        relations: mentionRelations(document).map((relation, i) => ({
          id: `${prefix}_r${i}`,
          type: relation.type,
          arg1_id: relation.arguments[0]?.entity,
          arg2_id: relation.arguments[1]?.entity,
          normalized: [],
        })),
      };
    });
    writeAtomic(path, jsonLines(values));
  },
};

/** Texts with labels. */
export const bigbioText: Format<"text"> = {
  name: "bigbio-text",
  kind: "text",
  title: "BigBIO's schema text as JSON lines: a text and its labels",
  extension: ".jsonl",
  recognise: (probe) => linesWith(probe, "document_id", "text", "labels") ? 0.97 : 0,
  read: (path) =>
    readJsonLines(path).map(({ value, line }): LabelledText => ({
      kind: "text",
      id: textOf(value.document_id) ?? textOf(value.id) ?? String(line),
      text: textsOf(value.text).join(" "),
      labels: textsOf(value.labels),
      line,
    })),
  write: (records, path) =>
    writeAtomic(
      path,
      jsonLines(records.map((r) => ({
        id: r.id,
        document_id: r.id,
        text: r.pair === undefined ? r.text : `${r.text} ${r.pair}`,
        labels: r.labels,
      }))),
    ),
};

/** A score as a number with a point, by which it is told from a class. */
const scoreText = (score: number): string =>
  Number.isInteger(score) ? score.toFixed(1) : String(score);

/** Two texts with a label, or with a number. */
export const bigbioPairs: Format<"text"> = {
  name: "bigbio-pairs",
  kind: "text",
  title: "BigBIO's schemas pairs and te as JSON lines: two texts and a label or a score",
  extension: ".jsonl",
  recognise: (probe) =>
    linesWith(probe, "text_1", "text_2", "label") || linesWith(probe, "premise", "hypothesis")
      ? 0.97
      : 0,
  read: (path) => {
    const rows = readJsonLines(path);
    const cells = rows.map(({ value }) => textOf(value.label) ?? "").filter((label) =>
      label !== ""
    );
    // Scores are numbers of which some have a point; whole numbers alone are classes.
    const scored = cells.length > 0 && cells.every((cell) => Number.isFinite(Number(cell))) &&
      cells.some((cell) => cell.includes("."));
    return rows.map(({ value, line }): LabelledText => {
      const label = textOf(value.label) ?? "";
      const score = scored && label !== "" ? Number(label) : undefined;
      return {
        kind: "text",
        id: textOf(value.document_id) ?? textOf(value.id) ?? String(line),
        text: textOf(value.text_1) ?? textOf(value.premise) ?? "",
        pair: textOf(value.text_2) ?? textOf(value.hypothesis) ?? "",
        labels: label === "" || score !== undefined ? [] : [label],
        ...(score === undefined ? {} : { score }),
        line,
      };
    });
  },
  write: (records, path) =>
    writeAtomic(
      path,
      jsonLines(records.map((r) => ({
        id: r.id,
        document_id: r.id,
        text_1: r.text,
        text_2: r.pair ?? "",
        label: r.score === undefined ? r.labels.join("|") : scoreText(r.score),
      }))),
    ),
};

/** Questions. */
export const bigbioQa: Format<"question"> = {
  name: "bigbio-qa",
  kind: "question",
  title: "BigBIO's schema qa as JSON lines",
  extension: ".jsonl",
  recognise: (probe) => linesWith(probe, "question", "choices", "answer", "type") ? 0.98 : 0,
  read: (path) =>
    readJsonLines(path).map(({ value, line }): Question => {
      const options = textsOf(value.choices);
      const answers = textsOf(value.answer);
      const yesno = /yes\/?no/i.test(textOf(value.type) ?? "") ||
        answers.length === 1 && /^(yes|no|maybe)$/i.test(answers[0] ?? "");
      const index = options.indexOf(answers[0] ?? "");
      const answer: Question["answer"] = answers.length === 0
        ? { type: "unknown" }
        : yesno
        ? { type: "yesno", value: (answers[0] ?? "").toLowerCase() }
        : options.length
        ? index < 0
          ? failAt(path, line, `the answer "${answers[0]}" is none of the choices`)
          : { type: "choice", index }
        : /list/i.test(textOf(value.type) ?? "")
        ? { type: "list", items: answers.map((a) => [a]) }
        : { type: "factoid", synonyms: [answers] };
      const context = textOf(value.context);
      return {
        kind: "question",
        id: textOf(value.question_id) ?? textOf(value.id) ?? String(line),
        question: textOf(value.question) ?? "",
        contexts: context ? [context] : [],
        documents: [],
        ...(options.length && !yesno ? { options } : {}),
        answer,
        ideal: [],
      };
    }),
  write: (records, path) =>
    writeAtomic(
      path,
      jsonLines(records.map((q) => ({
        id: q.id,
        question_id: q.id,
        document_id: q.documents[0] ?? q.id,
        question: q.question,
        type: q.answer.type === "choice" ? "multiple_choice" : q.answer.type,
        choices: q.options ?? (q.answer.type === "yesno" ? ["yes", "no"] : []),
        context: q.contexts.join("\n"),
        answer: answerTexts(q),
      }))),
    ),
};

/** A question's answer as texts: the choice, yes or no, or each item's first name. */
function answerTexts({ answer, options }: Question): string[] {
  if (answer.type === "choice") return [options?.[answer.index] ?? ""];
  if (answer.type === "yesno") return [answer.value];
  if (answer.type === "factoid") return answer.synonyms.flatMap((s) => s[0] ?? []);
  if (answer.type === "list") return answer.items.flatMap((item) => item[0] ?? []);
  return [];
}
