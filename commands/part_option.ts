/** `--part`: a share of the work of `pipeline run` and `refresh`. @module */
import { jsonLine } from "../core/json.ts";
import type { Invocation, OptionSpec } from "../core/cli.ts";
import { formatTable } from "../core/reporter.ts";
import { type Part, partName, partOf } from "../pipeline/parts/part.ts";
import type { PartSummary } from "../pipeline/parts/run_part.ts";

/** The option. */
export const PART: OptionSpec = {
  type: "string",
  placeholder: "I/N",
  help:
    "do part I of N only, for many machines; then pipeline finish (default: what Slurm's array " +
    'or an Indexed Job says; "off" for all of the work)',
};

/** The part that a call is; undefined where it is to do all of the work. */
export function partOfCall(invocation: Invocation): Part | undefined {
  const given = invocation.string("part");
  const part = partOf(given, environment);
  if (part && given === undefined) {
    invocation.reporter.log(
      `This is part ${partName(part)}, as the environment says; "pipeline finish" merges the parts`,
    );
  }
  return part;
}

/** A variable; none where the right to look is missing. */
function environment(name: string): string | undefined {
  try {
    return Deno.env.get(name);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return undefined;
    throw error;
  }
}

/** Prints what a part did. */
export function printPart({ json, reporter }: Invocation, summary: PartSummary): void {
  if (json) return reporter.line(jsonLine(summary));
  const { files, files_added, records_added } = summary;
  reporter.line(
    formatTable(["", ""], [
      ["part", partName(summary)],
      ["files of this part", String(files)],
      ["made by this call", String(files_added)],
      ["records of those", String(records_added)],
    ]).split("\n").slice(2).join("\n"),
  );
}
