/**
 * Selections of a mix: each rule is for all corpora, or for the one that stands before it, as in
 * "c4: quality>=0.5".
 * @module
 */
import { UserError } from "../../core/errors.ts";
import { nth } from "../../core/nth.ts";
import { basename } from "../../core/std.ts";
import { hasCitations } from "./columns.ts";
import { parseConditions, parseUpsampling } from "./conditions.ts";
import { type KnownColumns, knownColumns } from "./known_columns.ts";
import type { SelectionSpec } from "./selection.ts";

/** A rule, and the corpus of the mix that it is for; undefined for all. */
interface Rule {
  text: string;
  corpus: number | undefined;
}

/** What looks like a corpus before a rule, where no column is meant. */
const LOOKS_NAMED = /^([^=!<>|;:]+):(?!\s*(asc|desc)$)/;

/**
 * What is selected of each corpus of a mix. A rule for all holds in the corpora that have its column,
 * and the others stay whole; a file of scores for all is of PMIDs, so it is for corpora of PubMed.
 * @param paths the corpora, as the mix names them
 * @param folders where they are: kept sets of a run that goes on after a refresh have other places
 * @throws {UserError} where a rule cannot be read, names another corpus, or no corpus has its column.
 */
export async function selectionsOfMix(
  paths: readonly string[],
  spec: SelectionSpec,
  folders: readonly string[] = paths,
): Promise<SelectionSpec[]> {
  const rules = (text: string) =>
    text.split(";").map((t) => t.trim()).filter((t) => t !== "")
      .map((t) => ruleOf(t, paths));
  // A path may have any characters: several files are told by the corpora before them.
  const scores = ruleOf(spec.scores, paths).corpus === undefined
    ? spec.scores === "" ? [] : [{ text: spec.scores, corpus: undefined }]
    : rules(spec.scores);
  const scoresOf = paths.map((_, i) =>
    scores.find((r) => r.corpus === i)?.text ??
      (hasCitations(nth(folders, i)) ? scores.find((r) => r.corpus === undefined)?.text ?? "" : "")
  );
  if (scores.length > 0 && scoresOf.every((file) => file === "")) {
    throw new UserError(
      `Cannot use the scores in ${spec.scores}: they are by PMID, and none of the corpora is ` +
        `PubMed's; say whose document numbers they are by, such as "${nameOf(paths, 0)}: FILE"`,
    );
  }
  const known = await Promise.all(
    folders.map((folder, i) => knownColumns(folder, nth(scoresOf, i))),
  );
  const chosen = (text: string, columnOf: (rule: string) => string) => {
    const parts: string[][] = paths.map(() => []);
    for (const { text: rule, corpus } of rules(text)) {
      const column = columnOf(rule);
      const holds = known.map((k) => k.has(column));
      if (corpus === undefined && !holds.includes(true)) {
        throw unknown(paths, known, rule, column);
      }
      // A corpus that is named is told itself where it has no such column.
      paths.forEach((_, i) => {
        if (corpus === i || corpus === undefined && holds[i]) nth(parts, i).push(rule);
      });
    }
    return parts;
  };
  const filters = chosen(spec.filter, (rule) => nth(parseConditions(rule), 0).column);
  const factors = chosen(spec.upsample, (rule) => nth(parseUpsampling(rule), 0).condition.column);
  const orders = chosen(spec.curriculum, (rule) => rule.replace(/:(asc|desc)$/, "").trim());
  return paths.map((path, i) => {
    const own = nth(orders, i);
    if (own.length > 1) {
      throw new UserError(
        `Cannot order the documents of ${path} by ${own.join(" and ")}: give one curriculum`,
      );
    }
    return {
      filter: nth(filters, i).join("; "),
      upsample: nth(factors, i).join("; "),
      curriculum: own[0] ?? "",
      scores: nth(scoresOf, i),
    };
  });
}

/** What a corpus of a mix is called: its folder's name, or its path where two have that name. */
export function nameOf(paths: readonly string[], index: number): string {
  const path = nth(paths, index);
  const name = basename(path);
  return paths.filter((p) => basename(p) === name).length > 1 ? path : name;
}

function ruleOf(text: string, paths: readonly string[]): Rule {
  for (const [corpus, path] of paths.entries()) {
    for (const name of [path, nameOf(paths, corpus)]) {
      if (text.startsWith(`${name}:`)) return { text: text.slice(name.length + 1).trim(), corpus };
    }
  }
  return { text, corpus: undefined };
}

function unknown(
  paths: readonly string[],
  known: KnownColumns[],
  rule: string,
  column: string,
): UserError {
  const named = LOOKS_NAMED.exec(rule)?.[1];
  if (named !== undefined) {
    return new UserError(
      `Cannot use "${rule}": the mix has no corpus "${named}"; it has ` +
        paths.map((_, i) => nameOf(paths, i)).join(", "),
    );
  }
  const lists = known.map((k, i) => `${nameOf(paths, i)} has ${k.names.join(", ")}`);
  return new UserError(
    `Cannot select documents of the mix by "${column}": no corpus has such a column; ` +
      lists.join("; "),
  );
}
