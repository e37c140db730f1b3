/** Which columns the documents of a corpus can be chosen by, and whether a choice makes sense. @module */
import { fail, UserError } from "../../core/errors.ts";
import { documentsHome } from "../corpus_paths.ts";
import type { Column } from "../texts/columns.ts";
import { columnsOf, readTextCorpus, type TextCorpusState } from "../texts/state.ts";
import { DOCUMENT_COLUMNS, scoreColumns } from "./columns.ts";
import type { Condition } from "./conditions.ts";
import { BUILT_IN } from "./document_table.ts";

/** The columns of a corpus. */
export interface KnownColumns {
  readonly names: readonly string[];
  has(name: string): boolean;
  /** @throws {UserError} where documents cannot be compared so. */
  check(condition: Condition): void;
  /** @throws {UserError} where documents cannot be put in order by the column. */
  checkOrder(name: string): void;
}

/**
 * The columns of a corpus and of a file of scores ("" for none).
 * @throws {UserError} where the file of scores cannot be read.
 */
export async function knownColumns(corpus: string, scores: string): Promise<KnownColumns> {
  const scored = scores === "" ? [] : await scoreColumns(scores);
  const texts = readTextCorpus(documentsHome(corpus));
  const first = [...BUILT_IN, ...scored];
  const columns = texts ? columnsOf(texts) : [];
  const own = texts ? columns.map((c) => c.name) : DOCUMENT_COLUMNS;
  const names = [...new Set([...first, ...(texts ? ["id"] : []), ...own])];
  const known = new Set(names);
  const kinds = (name: string) => kindsOf(texts ?? fail(`${corpus} is no corpus of texts`), name);
  // What is computed or scored goes before a column of the same name.
  const typed = (name: string) =>
    first.includes(name) ? undefined : columns.find((c) => c.name === name);
  return {
    names,
    has: (name) => known.has(name) || !texts && known.has(name.split(".")[0] ?? ""),
    check({ column: name, operator, values }) {
      const column = typed(name);
      if (!column) return;
      const refuse = (why: string): never => {
        throw new UserError(
          `Cannot compare "${name}" of ${corpus} with ${operator} ${values.join("|")}: ${why}`,
        );
      };
      if (column.kind === "mixed" && operator !== "=" && operator !== "!=") {
        refuse(`${kinds(name)}; use = or !=, or make its values of one kind`);
      }
      const odd = values.find((v) => !fits(column, v));
      if (odd !== undefined) refuse(`it is a ${column.kind}, and "${odd}" is none`);
    },
    checkOrder(name) {
      const column = typed(name);
      if (column?.kind !== "mixed") return;
      throw new UserError(
        `Cannot order the documents of ${corpus} by "${name}": ${
          kinds(name)
        }; make its values numbers`,
      );
    },
  };
}

function fits({ kind }: Column, value: string): boolean {
  return kind === "number"
    ? !Number.isNaN(Number(value))
    : kind === "boolean"
    ? /^(true|false)$/i.test(value)
    : true;
}

/** In which files a column is of which kind. */
function kindsOf({ files }: TextCorpusState, name: string): string {
  const kinds = new Map<string, string>();
  for (const file of files) {
    const kind = file.columns?.find((c) => c.name === name)?.kind;
    if (kind !== undefined && !kinds.has(kind)) kinds.set(kind, file.name);
  }
  return "it is of " +
    [...kinds].map(([k, file]) => `${k === "mixed" ? "several kinds" : `kind ${k}`} in ${file}`)
      .join(" and ");
}
