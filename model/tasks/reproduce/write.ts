/** A reproduction with its files: table.txt, table.tex, table.json and index.html. @module */
import { exists, readText, writeAtomic } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import type { Row, SetSummary } from "./compare.ts";
import { folderName } from "./models.ts";
import { htmlPage, latexText, reportJson, type ReproductionReport, terminalText } from "./page.ts";
import { ratesFor, reproduce, type ReproduceRequest } from "./reproduce.ts";

/**
 * Does what is not done yet, writes the table and the page, and prints the table. Where everything is
 * done already, no file is written.
 * @returns everything for --json
 * @throws {UserError} as {@linkcode reproduce}.
 */
export async function reproduceAndWrite(
  request: ReproduceRequest,
): Promise<Record<string, unknown>> {
  const { out, reporter, found, base, models, protocol } = request;
  const { summaries, facts } = await reproduce(request);
  const report: ReproductionReport = {
    summaries,
    leftOut: found.leftOut,
    base,
    models: models.map(({ label, name }) => ({
      label,
      place: name,
      parameters: facts.get(label)?.parameters,
    })),
    protocol: protocolText(request),
    quick: protocol.quick,
  };
  const text = terminalText(report);
  const json = reportJson(report);
  const files: Record<string, string> = {
    "table.txt": text + "\n",
    "table.tex": latexText(report),
    "table.json": JSON.stringify(json, null, 2) + "\n",
    "index.html": htmlPage(report, (summary, row) => linksOf(out, summary, row)),
  };
  let written = 0;
  for (const [name, contents] of Object.entries(files)) {
    const path = join(out, name);
    if (exists(path) && readText(path) === contents) continue;
    writeAtomic(path, contents);
    written++;
  }
  reporter.line(text);
  reporter.log(
    written
      ? `Wrote ${Object.keys(files).join(", ")} in ${out}`
      : `Everything in ${out} was there already; nothing was written`,
  );
  return { ...json, files: Object.keys(files).map((name) => join(out, name)) };
}

/** What was done, in sentences. */
function protocolText({ found, protocol, base }: ReproduceRequest): string[] {
  const { seeds, rows, accumulate, epochs, quick, learningRates } = protocol;
  const tasks = new Map(found.sets.map((set) => [set.task.name, set]));
  const rates = learningRates && !quick
    ? `of ${learningRates.join(", ")}`
    : [...tasks].map(([name, set]) => `${ratesFor(set, protocol).join(", ")} (${name})`).join(", ");
  return [
    `Every model is asked as it is where a task is put in words, and taught where a set has splits: ` +
    `the same settings for each, the learning rate ${rates} by the development split and the first ` +
    `seed, ${
      epochs === undefined || quick ? "the task's own" : epochs
    } epochs at most, updates of ` +
    `${rows * accumulate} examples, ${quick ? 1 : seeds} ${
      seeds === 1 || quick ? "seed" : "seeds"
    }; ` +
    `each run is tested once.`,
    `Values are means over the seeds; intervals are 95% bootstrap intervals over questions, ` +
    `sentences or documents; differences are paired, from ${base} in the same role. A win or a loss ` +
    `is a difference whose interval leaves out 0; else it is a tie.`,
  ];
}

/** The results, samples and error pages of a row. */
function linksOf(
  out: string,
  { id }: SetSummary,
  { kind, name }: Row,
): { name: string; href: string }[] {
  if (kind !== "asked" && kind !== "taught") return [];
  const own = join("sets", id, folderName(name));
  const folders = kind === "asked"
    ? ["asked"]
    : [...Deno.readDirSync(join(out, own))].map((entry) => entry.name)
      .filter((entry) => entry.startsWith("seed-")).sort();
  return folders.flatMap((folder) => {
    const path = join(out, own, folder);
    if (!exists(path)) return [];
    return [...Deno.readDirSync(path)].map((entry) => entry.name).sort()
      .filter((entry) => /^(results|samples|errors)_/.test(entry))
      .map((entry) => ({
        name: `${kind === "taught" ? `${folder} ` : ""}${entry.split("_")[0]}`,
        href: [own, folder, entry].join("/"),
      }));
  });
}
