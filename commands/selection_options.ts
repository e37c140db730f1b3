/** The options that choose among a corpus's documents. @module */
import type { Invocation, OptionSpec } from "../core/cli.ts";
import type { SelectionSpec } from "../pipeline/selection/selection.ts";

/** Spread into a command's options. */
export const selectionOptions: Record<string, OptionSpec> = {
  filter: {
    type: "list",
    placeholder: "CONDITION",
    help:
      'only documents such as "year>=2015"; of one corpus of a mix, "c4: quality>=0.5"; may be ' +
      "repeated",
  },
  upsample: {
    type: "list",
    placeholder: "CONDITION:N",
    help: 'read some documents N times as often, such as "publication_type=Review:3"',
  },
  curriculum: {
    type: "string",
    placeholder: "COLUMN",
    help: "documents in order: tokens (length), difficulty, a score; COLUMN:desc for highest first",
  },
  scores: {
    type: "string",
    placeholder: "FILE",
    help: "further columns by pmid (of texts, the document's number), JSON lines or Parquet",
  },
};

/** What was given of {@linkcode selectionOptions}; repeated options are one text. */
export function givenSelection(invocation: Invocation): Partial<SelectionSpec> {
  const given: Partial<SelectionSpec> = {};
  for (const name of ["filter", "upsample"] as const) {
    const list = invocation.list(name);
    if (list.length) given[name] = list.join("; ");
  }
  for (const name of ["curriculum", "scores"] as const) {
    const text = invocation.string(name);
    if (text !== undefined) given[name] = text;
  }
  return given;
}

/** The whole selection. */
export function selectionOf(invocation: Invocation): SelectionSpec {
  return { filter: "", upsample: "", curriculum: "", scores: "", ...givenSelection(invocation) };
}
