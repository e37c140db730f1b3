/**
 * Texts, and pairs of texts, as the tasks read them that label or rate them: from labelled files of any
 * format, and from files of new texts.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import type { OptionSpec } from "../../../core/cli.ts";
import { readJsonLines, readTextInput } from "../../../core/text_input.ts";
import type { Tokenizer } from "../../../pipeline/tokenizer/mod.ts";
import { recordsAt } from "../formats/released.ts";
import type { LabelledText } from "../formats/mod.ts";
import { readTexts } from "../formats/views.ts";
import type { MarkedText } from "../core/head_examples.ts";
import type { Given } from "../core/task.ts";

/** The kinds of texts, by what is to be said of each. */
export type TextKind = "one label" | "several labels" | "scores";

/** What the labels or scores of a set say that it is. */
function kindOfTexts(texts: readonly LabelledText[]): TextKind {
  if (texts.some(({ score }) => score !== undefined)) return "scores";
  return texts.every(({ labels }) => labels.length === 1) ? "one label" : "several labels";
}

/**
 * What the files that the options name hold; undefined where they name none, or none that can be read:
 * the task that reads them says what is wrong.
 */
export function kindOfFiles(given: Given): TextKind | undefined {
  const gold = given.string("gold");
  const data = given.string("data");
  try {
    const paths = gold === undefined ? recordsAt(data ?? "") : [gold];
    const texts = paths.flatMap((path) => readTexts(path, given.string("format")).items);
    return texts.length ? kindOfTexts(texts) : undefined;
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
}

/** The option that names a file of new texts. */
export const NEW_TEXTS: OptionSpec = {
  type: "string",
  placeholder: "F",
  help: "the file of texts: a text per line, or JSON lines with text, and text_pair for pairs",
  required: true,
};

/**
 * New texts: of each line of JSON the fields text and, of pairs, text_pair; of any other file each line,
 * whose second text follows a tab.
 * @throws {UserError} naming the file and line where a line is no JSON object with a text.
 */
export function readNewTexts(path: string): LabelledText[] {
  const item = (text: string, pair: string | undefined, i: number): LabelledText => ({
    kind: "text",
    id: String(i),
    text,
    ...(pair === undefined ? {} : { pair }),
    labels: [],
  });
  if (/\.(jsonl|ndjson|json)$/.test(path)) {
    return [...readJsonLines(path)].map(({ record }, i) => {
      const { text_pair: pair } = record;
      return item(record.text, typeof pair === "string" ? pair : undefined, i);
    });
  }
  return [...readTextInput(path)].map(({ text }, i) => {
    const [first = "", second] = text.split("\t");
    return item(first, second, i);
  });
}

/** A new text as a line of JSON begins. */
export const newTextJson = ({ text, pair }: LabelledText): Record<string, unknown> => ({
  text,
  ...(pair === undefined ? {} : { text_pair: pair }),
});

/** What a head reads of a text or a pair: the text, its partner behind it. */
interface ReadPair {
  tokens: number[];
  /** Tokens of the first text, and of the second; that of the first again where there is one text. */
  first: { from: number; to: number };
  second: { from: number; to: number };
  cut: number;
}

/** A text and its partner as at most `limit` tokens: the end of the first one is cut. */
function readPair(
  { text, pair }: LabelledText,
  limit: number,
  tokenizer: Tokenizer,
): ReadPair {
  const own = [...tokenizer.encode(text.trim())];
  const other = pair === undefined ? [] : [...tokenizer.encode(`\n${pair.trim()}`)];
  const kept = own.slice(0, Math.max(1, limit - other.length));
  const tokens = [...kept, ...other].slice(0, limit);
  const first = { from: 0, to: Math.max(1, kept.length) };
  return {
    tokens,
    first,
    second: pair === undefined ? first : { from: kept.length, to: tokens.length },
    cut: own.length + other.length - tokens.length,
  };
}

/** A text or a pair for a head that reads the means of both and the state at the end. */
export function pairItem(
  item: LabelledText,
  target: number | readonly number[],
  limit: number,
  tokenizer: Tokenizer,
): MarkedText {
  const { tokens, first, second, cut } = readPair(item, limit, tokenizer);
  return {
    // A text without a token is read as the boundary token alone.
    tokens: tokens.length ? tokens : [tokenizer.endOfText],
    items: [{
      marks: [{ kind: "mean", ...first }, { kind: "mean", ...second }, { kind: "text" }],
      target,
    }],
    cut,
  };
}
