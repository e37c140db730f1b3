/** Conditions on documents' columns: "year>=2015", "publication_types=Review|Meta-Analysis". @module */
import { UserError } from "../../core/errors.ts";
import { nth } from "../../core/nth.ts";

const OPERATORS = ["!=", ">=", "<=", "=", ">", "<"] as const;

/** A comparison of a column with values. */
export interface Condition {
  column: string;
  operator: typeof OPERATORS[number];
  /** Alternatives; only = and != take more than one. */
  values: string[];
}

/** How often documents that fulfil a condition are read. */
interface Upsampling {
  condition: Condition;
  factor: number;
}

/** A column's values in a document: none where it is unknown there, several where it is a list. */
export type Values = readonly (string | number | boolean)[];

/**
 * Reads conditions separated by ";", all of which a document has to fulfil.
 * @throws {UserError} where one is written otherwise.
 */
export function parseConditions(text: string): Condition[] {
  return parts(text).map(parseCondition);
}

/**
 * Reads "publication_types=Review:3; year<1990:0.5": documents that fulfil a condition count so many
 * times as much.
 * @throws {UserError} where it is written otherwise, or a factor is not above 0.
 */
export function parseUpsampling(text: string): Upsampling[] {
  return parts(text).map((part) => {
    const match = /^(.*):\s*(\d*\.?\d+)$/.exec(part);
    const factor = Number(match?.[2]);
    if (!match || !(factor > 0 && factor <= 1000)) {
      throw new UserError(
        `Cannot use --upsample "${part}": it must be CONDITION:FACTOR with a factor above 0 and at ` +
          "most 1000, such as publication_types=Review:3",
      );
    }
    return { condition: parseCondition(nth(match, 1)), factor };
  });
}

const parts = (text: string) => text.split(";").map((p) => p.trim()).filter((p) => p !== "");

function parseCondition(text: string): Condition {
  const match = /^\s*([^=!<>|;]*[^=!<>|;\s])\s*(!=|>=|<=|=|>|<)\s*(.*?)\s*$/.exec(text);
  const operator = OPERATORS.find((o) => o === match?.[2]);
  const values = match?.[3] ? match[3].split("|").map((v) => v.trim()) : [];
  const turned = /^([=<>!]+)\s*(.*)$/.exec(match?.[3] ?? "");
  if (match && turned) {
    const both = [nth(match, 2), ...nth(turned, 1)];
    const meant = both.includes(">")
      ? ">="
      : both.includes("<")
      ? "<="
      : both.includes("!")
      ? "!="
      : "=";
    throw new UserError(
      `Cannot read the condition "${text}": there is no comparison "${match[2]}${
        turned[1]
      }"; did ` +
        `you mean "${match[1]}${meant}${turned[2]}"?`,
    );
  }
  const single = operator === "=" || operator === "!=" ? true : values.length === 1;
  if (!match || !operator || values.length === 0 || !single) {
    throw new UserError(
      `Cannot read the condition "${text}": it must be COLUMN, one of ${
        OPERATORS.join(" ")
      }, and a ` +
        "value (with = and != also several, separated by |), such as year>=2015",
    );
  }
  return { column: nth(match, 1), operator, values };
}

/**
 * True where a document's values fulfil a condition: any of a list's for all operators but !=, which
 * wants none of them to be equal. Numbers are compared as numbers, all else as text in small letters.
 */
export function fulfils({ operator, values }: Condition, own: Values): boolean {
  if (operator === "!=") return !own.some((v) => values.some((w) => compare(v, w) === 0));
  return own.some((v) =>
    values.some((w) => {
      const order = compare(v, w);
      return operator === "="
        ? order === 0
        : operator === ">"
        ? order > 0
        : operator === ">="
        ? order >= 0
        : operator === "<"
        ? order < 0
        : order <= 0;
    })
  );
}

function compare(own: string | number | boolean, other: string): number {
  if (own !== "" && other !== "") {
    const [a, b] = [Number(own), Number(other)];
    if (typeof own !== "boolean" && !Number.isNaN(a) && !Number.isNaN(b)) return a - b;
  }
  const a = String(own).toLowerCase();
  const b = other.toLowerCase();
  return a < b ? -1 : a > b ? 1 : 0;
}
