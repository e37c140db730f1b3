/**
 * Questions: BioASQ's JSON, BioBERT's SQuAD form of it, PubMedQA, MedQA, MedMCQA, and MMLU's tables.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { writeAtomic } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import {
  failAt,
  objectOf,
  objectsOf,
  readJson,
  readJsonLines,
  readText,
  textOf,
  textsOf,
} from "./files.ts";
import { parseTable } from "./texts.ts";
import type { Format, Probe, Question } from "./types.ts";

/** Lists of synonyms, as BioASQ writes them: a list of lists, or a plain list of texts. */
const synonymLists = (value: unknown): string[][] =>
  (Array.isArray(value) ? value : [value]).map((item) => textsOf(item))
    .filter((item) => item.length > 0);

function bioasqAnswer(type: string | undefined, exact: unknown): Question["answer"] {
  if (type === "summary") return { type: "summary" };
  if (exact === undefined || exact === null) return { type: "unknown" };
  if (type === "yesno") {
    return { type: "yesno", value: (textsOf(exact)[0] ?? "").toLowerCase() };
  }
  if (type === "list") return { type: "list", items: synonymLists(exact) };
  // A plain list of texts is one answer with its synonyms.
  const plain = Array.isArray(exact) && exact.every((item) => textOf(item) !== undefined);
  return { type: "factoid", synonyms: plain ? [textsOf(exact)] : synonymLists(exact) };
}

const isBioasq = (value: unknown): boolean =>
  objectsOf(objectOf(value)?.questions).some((q) => "body" in q && "type" in q);

/** BioASQ's training and test files. */
export const bioasq: Format<"question"> = {
  name: "bioasq",
  kind: "question",
  title: "BioASQ's JSON of questions, with snippets, exact and ideal answers",
  extension: ".json",
  recognise: (probe) => !probe.isFolder && isBioasq(probe.json()) ? 0.99 : 0,
  read(path) {
    const value = readJson(path);
    if (!isBioasq(value)) {
      throw new UserError(`Cannot read ${path}: it has no "questions" with a body and a type`);
    }
    return objectsOf(objectOf(value)?.questions).map((q, i): Question => {
      const type = textOf(q.type);
      return {
        kind: "question",
        id: textOf(q.id) ?? String(i),
        question: textOf(q.body) ?? "",
        contexts: objectsOf(q.snippets).flatMap((s) => textOf(s.text) ?? []),
        documents: textsOf(q.documents),
        answer: bioasqAnswer(type, q.exact_answer),
        ideal: textsOf(q.ideal_answer),
      };
    });
  },
  write(questions, path) {
    const out = questions.map((q) => {
      const { answer } = q;
      const exact = answer.type === "yesno"
        ? answer.value
        : answer.type === "factoid"
        ? answer.synonyms
        : answer.type === "list"
        ? answer.items
        : answer.type === "choice"
        ? [[q.options?.[answer.index] ?? ""]]
        : undefined;
      return {
        id: q.id,
        type: answer.type === "choice" || answer.type === "unknown" ? "factoid" : answer.type,
        body: q.question,
        documents: q.documents,
        snippets: q.contexts.map((text) => ({ text, document: q.documents[0] ?? "" })),
        ...(exact === undefined ? {} : { exact_answer: exact }),
        ...(q.ideal.length ? { ideal_answer: q.ideal } : {}),
      };
    });
    writeAtomic(path, JSON.stringify({ questions: out }, undefined, 1) + "\n");
  },
};

const isSquad = (value: unknown): boolean =>
  objectsOf(objectOf(value)?.data).some((d) => objectsOf(d.paragraphs).length > 0);

/**
 * BioBERT's form of BioASQ: a question occurs once per snippet, with "_001" and so on behind its id; the
 * occurrences are put together again, and their answers are synonyms of one.
 */
export const squad: Format<"question"> = {
  name: "squad",
  kind: "question",
  title: "SQuAD's JSON, as BioBERT has BioASQ's questions: a paragraph and its questions",
  extension: ".json",
  recognise: (probe) => !probe.isFolder && isSquad(probe.json()) ? 0.99 : 0,
  read(path) {
    const questions = new Map<string, Question>();
    for (const article of objectsOf(objectOf(readJson(path))?.data)) {
      for (const paragraph of objectsOf(article.paragraphs)) {
        const context = textOf(paragraph.context) ?? "";
        for (const qa of objectsOf(paragraph.qas)) {
          const id = (textOf(qa.id) ?? String(questions.size)).replace(/_\d{3}$/, "");
          const spoken = textOf(qa.answers)?.toLowerCase();
          const names = spoken === undefined
            ? objectsOf(qa.answers).flatMap((a) => textOf(a.text) ?? [])
            : [];
          const known = questions.get(id) ?? {
            kind: "question",
            id,
            question: textOf(qa.question) ?? "",
            contexts: [],
            documents: [],
            answer: spoken === "yes" || spoken === "no"
              ? { type: "yesno", value: spoken }
              : { type: "unknown" },
            ideal: [],
          };
          if (!known.contexts.includes(context)) known.contexts.push(context);
          const before = known.answer.type === "factoid" ? known.answer.synonyms[0] ?? [] : [];
          const all = [...new Set([...before, ...names])];
          if (all.length) known.answer = { type: "factoid", synonyms: [all] };
          questions.set(id, known);
        }
      }
    }
    return [...questions.values()];
  },
  write(questions, path) {
    const paragraphs = questions.flatMap((q) =>
      (q.contexts.length ? q.contexts : [""]).map((context, i) => {
        const names = q.answer.type === "factoid"
          ? q.answer.synonyms.flat()
          : q.answer.type === "list"
          ? q.answer.items.flat()
          : q.answer.type === "choice"
          ? [q.options?.[q.answer.index] ?? ""]
          : [];
        const answers = q.answer.type === "yesno" ? q.answer.value : names.flatMap((text) => {
          const at = context.toLowerCase().indexOf(text.toLowerCase());
          return at < 0 ? [] : [{ text, answer_start: at }];
        });
        const id = `${q.id}_${String(i + 1).padStart(3, "0")}`;
        return { context, qas: [{ id, question: q.question, answers }] };
      })
    );
    const data = { version: "1.0", data: [{ title: "questions", paragraphs }] };
    writeAtomic(path, JSON.stringify(data, undefined, 1) + "\n");
  },
};

/** A file as one JSON value; undefined where it is JSON lines or none at all. */
function readWhole(path: string): unknown {
  try {
    return JSON.parse(readText(path));
  } catch {
    return undefined;
  }
}

const pubmedqaEntries = (value: unknown): [string, Record<string, unknown>][] => {
  const entries = Object.entries(objectOf(value) ?? {})
    .flatMap(([id, one]): [string, Record<string, unknown>][] => {
      const object = objectOf(one);
      return object ? [[id, object]] : [];
    });
  return entries.every(([, one]) => "QUESTION" in one && "CONTEXTS" in one) ? entries : [];
};

/** A decision as the measures have it: yes, no or maybe. */
function decisionOf(decision: string | undefined): Question["answer"] {
  return decision === undefined
    ? { type: "unknown" }
    : { type: "yesno", value: decision.trim().toLowerCase() };
}

/** PubMedQA: an object by PMID, or as the hub has it, a line each. */
export const pubmedqa: Format<"question"> = {
  name: "pubmedqa",
  kind: "question",
  title: "PubMedQA's JSON by PMID: question, contexts, final decision",
  extension: ".json",
  recognise(probe) {
    if (linesWith(probe, "question", "context", "final_decision")) return 0.99;
    return !probe.isFolder && pubmedqaEntries(probe.json()).length ? 0.99 : 0;
  },
  read(path) {
    const entries = pubmedqaEntries(readWhole(path));
    const lines = entries.length ? [] : readJsonLines(path);
    const onLines = lines.map(({ value, line }): Question => {
      const id = textOf(value.pubid) ?? textOf(value.id) ?? String(line);
      const context = objectOf(value.context);
      const long = textOf(value.long_answer);
      return {
        kind: "question",
        id,
        question: textOf(value.question) ??
          failAt(path, line, 'it has no "question"'),
        contexts: textsOf(context ? context.contexts : value.context),
        documents: [id],
        answer: decisionOf(textOf(value.final_decision)),
        ideal: long === undefined ? [] : [long],
      };
    });
    const byPmid = entries.map(([id, one]): Question => {
      const long = textOf(one.LONG_ANSWER);
      return {
        kind: "question",
        id,
        question: textOf(one.QUESTION) ?? "",
        contexts: textsOf(one.CONTEXTS),
        documents: [id],
        answer: decisionOf(textOf(one.final_decision)),
        ideal: long === undefined ? [] : [long],
      };
    });
    return [...byPmid, ...onLines];
  },
  write(questions, path) {
    const out = Object.fromEntries(questions.map((q) => [q.id, {
      QUESTION: q.question,
      CONTEXTS: q.contexts,
      ...(q.answer.type === "yesno" ? { final_decision: q.answer.value } : {}),
      LONG_ANSWER: q.ideal.join(" "),
    }]));
    writeAtomic(path, JSON.stringify(out, undefined, 1) + "\n");
  },
};

const linesWith = (probe: Probe, ...keys: string[]): boolean => {
  const lines = probe.isFolder ? [] : probe.jsonLines();
  return lines.length > 0 && lines.every((line) => keys.every((key) => key in line));
};

/** A question with choices. */
function choiceQuestion(
  id: string,
  question: string,
  options: string[],
  index: number | undefined,
  context?: string,
): Question {
  return {
    kind: "question",
    id,
    question,
    contexts: context ? [context] : [],
    documents: [],
    options,
    answer: index === undefined ? { type: "unknown" } : { type: "choice", index },
    ideal: [],
  };
}

const LETTERS = "ABCDEFGHIJ";

/** Options by letter: as an object, or as a list of texts or of keys and values, or two lists. */
function optionsOf(value: unknown): Record<string, unknown> | undefined {
  const { text, label } = objectOf(value) ?? {};
  if (Array.isArray(text) && Array.isArray(label)) {
    return Object.fromEntries(label.map((key, i) => [textOf(key) ?? String(i), text[i]]));
  }
  if (!Array.isArray(value)) return objectOf(value);
  const entries = value.map((option, i): [string, unknown] => {
    const { key, value: text } = objectOf(option) ?? {};
    return [textOf(key) ?? LETTERS[i] ?? String(i), text ?? option];
  });
  return entries.length ? Object.fromEntries(entries) : undefined;
}

/**
 * The place of an answer among options: a number counts from 0, a text is a letter, whatever its case, or
 * the option's own words. -1 for none of them.
 */
function placeOf(answer: unknown, letters: readonly string[], texts: readonly string[]): number {
  if (typeof answer === "number") return answer < texts.length ? answer : -1;
  const text = (textOf(answer) ?? "").trim();
  const same = (other: string) => other.trim().toLowerCase() === text.toLowerCase();
  const letter = letters.findIndex(same);
  if (letter >= 0) return letter;
  return texts.includes(text) ? texts.indexOf(text) : texts.findIndex(same);
}

/** MedQA: options by letter; MMLU on the hub: choices, and the number of the right one. */
export const medqa: Format<"question"> = {
  name: "medqa",
  kind: "question",
  title: "MedQA's JSON lines: a question, options by letter, the answer's letter or number",
  extension: ".jsonl",
  recognise: (probe) =>
    linesWith(probe, "question", "options") || linesWith(probe, "question", "choices") ? 0.97 : 0,
  read: (path) =>
    readJsonLines(path).map(({ value, line }) => {
      const options = optionsOf(value.options ?? value.choices) ??
        failAt(path, line, "it has no options by letter");
      const letters = Object.keys(options).sort();
      const texts = letters.map((letter) => textOf(options[letter]) ?? "");
      const answer = value.answer_idx ?? value.answerKey ?? value.answer;
      const known = answer !== undefined && answer !== null && answer !== "" && answer !== -1;
      const index = known ? placeOf(answer, letters, texts) : undefined;
      if (index !== undefined && index < 0) {
        failAt(path, line, `the answer "${textOf(answer) ?? ""}" is none of the options`);
      }
      const id = textOf(value.id) ?? String(line);
      return choiceQuestion(id, textOf(value.question) ?? "", texts, index);
    }),
  write(questions, path) {
    const lines = questions.map((q) => {
      const options = Object.fromEntries((q.options ?? []).map((o, i) => [LETTERS[i], o]));
      const index = q.answer.type === "choice" ? q.answer.index : undefined;
      return JSON.stringify({
        id: q.id,
        question: q.question,
        options,
        ...(index === undefined ? {} : { answer: q.options?.[index], answer_idx: LETTERS[index] }),
      }) + "\n";
    });
    writeAtomic(path, lines.join(""));
  },
};

/** MedMCQA: options as opa to opd, the answer from 1 (as released) or from 0 (as on the hub). */
export const medmcqa: Format<"question"> = {
  name: "medmcqa",
  kind: "question",
  title: "MedMCQA's JSON lines: opa, opb, opc, opd, and cop, the number of the right one",
  extension: ".jsonl",
  recognise: (probe) => linesWith(probe, "question", "opa", "opb") ? 0.99 : 0,
  read(path) {
    const rows = readJsonLines(path);
    const numbers = rows.map(({ value }) => Number(value.cop ?? NaN));
    const fromZero = numbers.includes(0) && !numbers.includes(4);
    return rows.map(({ value, line }, i) => {
      const options = ["opa", "opb", "opc", "opd"].map((key) => textOf(value[key]) ?? "");
      const number = numbers[i] ?? NaN;
      const index = number - (fromZero ? 0 : 1);
      const known = Number.isInteger(number) && number >= 0;
      if (known && (index < 0 || index >= options.length)) {
        failAt(path, line, `cop is ${number}, which is none of the four options`);
      }
      return choiceQuestion(
        textOf(value.id) ?? String(line),
        textOf(value.question) ?? "",
        options,
        known ? index : undefined,
      );
    });
  },
};

/** The rows of a table of MMLU without one that names the columns. */
function withoutHeading<Row extends { cells: string[] }>(rows: Row[]): Row[] {
  const [first = "", ...rest] = rows[0]?.cells ?? [];
  const heading = /^question$/i.test(first.trim()) &&
    /^(answer|target|label)$/i.test(rest.at(-1) ?? "");
  return heading ? rows.slice(1) : rows;
}

/** MMLU: a table without a header: question, four options, the answer's letter. */
export const mmlu: Format<"question"> = {
  name: "mmlu",
  kind: "question",
  title: "MMLU's CSV of a subject: question, four options, the answer's letter",
  extension: ".csv",
  recognise(probe) {
    if (probe.isFolder) {
      const tables = probe.names.filter((name) => name.endsWith(".csv"));
      const first = tables[0];
      return first !== undefined && mmlu.recognise(probe.child(first)) > 0 ? 0.9 : 0;
    }
    const rows = withoutHeading(parseTable(probe.lines.join("\n"), ","));
    // The last row may be cut within a quotation.
    const whole = rows.length > 1 ? rows.slice(0, -1) : rows;
    return whole.length > 0 &&
        whole.every(({ cells }) => cells.length === 6 && /^[A-D]$/i.test(cells[5]?.trim() ?? ""))
      ? 0.97
      : 0;
  },
  read(path) {
    if (Deno.statSync(path).isDirectory) return readSubjects(path);
    return withoutHeading(parseTable(readText(path), ",")).map(({ cells, line }, i) => {
      const letter = cells[5]?.trim().toUpperCase() ?? "";
      if (cells.length !== 6 || !/^[A-D]$/.test(letter)) {
        failAt(path, line, "it is not a question, four options and a letter from A to D");
      }
      const index = LETTERS.indexOf(letter);
      return choiceQuestion(String(i), cells[0] ?? "", cells.slice(1, 5), index);
    });
  },
};

/** MMLU's subjects that are of biology and medicine, as its files are called. */
const BIOMEDICAL =
  /anatomy|clinical_knowledge|(college|high_school)_biology|college_medicine|medical_genetics|professional_medicine|virology|nutrition|human_aging/;

/**
 * The subjects of a folder, of whose files each has one: those of biology and medicine, or where there
 * are none of these all of them.
 */
function readSubjects(folder: string): Question[] {
  const tables = [...Deno.readDirSync(folder)].map((entry) => entry.name)
    .filter((name) => name.endsWith(".csv")).sort();
  const chosen = tables.filter((name) => BIOMEDICAL.test(name));
  return (chosen.length ? chosen : tables).flatMap((name) => {
    const subject = name.replace(/(_(test|dev|val|train))?\.csv$/, "");
    return mmlu.read(join(folder, name)).map((question) => ({
      ...question,
      id: `${subject}.${question.id}`,
    }));
  });
}
