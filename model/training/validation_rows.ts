/**
 * What each validation came to row by row: validation.jsonl. With it runs can be compared on the rows
 * that both have scored, without scoring them again.
 * @module
 */
import { exists, writeAtomic } from "../../core/files.ts";
import { join } from "../../core/std.ts";

/** The scored rows of one corpus, in ascending order. */
export interface ScoredRows {
  /** The corpus's name in a mix; "" where there is only one. */
  corpus: string;
  /** Their numbers in the split. */
  rows: number[];
  /** The summed negative log-likelihood of each, in nats. */
  nll: number[];
  /** The scored tokens of each. */
  targets: number[];
}

/** One line of validation.jsonl. */
export interface ValidationRows {
  /** After which update. */
  step: number;
  parts: ScoredRows[];
}

const VALIDATION_FILE = "validation.jsonl";

/** Reads a run's validations up to `lastStep`; a line cut short by a kill ends them. */
export function readValidations(run: string, lastStep = Infinity): ValidationRows[] {
  const path = join(run, VALIDATION_FILE);
  const all: ValidationRows[] = [];
  if (!exists(path)) return all;
  for (const line of Deno.readTextFileSync(path).split("\n").slice(0, -1)) {
    const one = JSON.parse(line) as ValidationRows;
    if (one.step > lastStep) break;
    all.push(one);
  }
  return all;
}

/** Cuts a run's validations back to those up to `lastStep`. */
export function cutValidations(run: string, lastStep: number): void {
  const path = join(run, VALIDATION_FILE);
  if (exists(path)) writeAtomic(path, readValidations(run, lastStep).map(lineOf).join(""));
}

/** Appends a validation. */
export function appendValidation(run: string, one: ValidationRows): void {
  const file = Deno.openSync(join(run, VALIDATION_FILE), { append: true, create: true });
  try {
    const bytes = new TextEncoder().encode(lineOf(one));
    for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
    file.syncSync();
  } finally {
    file.close();
  }
}

/** Nine digits are more than the sums of f32 losses hold. */
const lineOf = ({ step, parts }: ValidationRows): string => {
  const rounded = parts.map(({ nll, ...part }) => ({
    ...part,
    nll: nll.map((value) => Number(value.toPrecision(9))),
  }));
  return JSON.stringify({ step, parts: rounded }) + "\n";
};
