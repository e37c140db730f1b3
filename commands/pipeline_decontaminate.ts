/** `pipeline decontaminate`: keeps evaluation sets out of training. @module */
import { jsonLine } from "../core/json.ts";
import type { Command } from "../core/cli.ts";
import { UsageError, UserError } from "../core/errors.ts";
import { exists } from "../core/files.ts";
import { formatTable } from "../core/reporter.ts";
import { readCatalogue } from "../pipeline/corpus.ts";
import { decontaminateCorpus } from "../pipeline/decontaminate.ts";
import { contaminationPath, NGRAM_WORDS } from "../pipeline/overlap/contamination.ts";
import { readTextCorpus } from "../pipeline/texts/state.ts";
import { CORPUS } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline decontaminate",
  summary: "Hold out of a corpus what evaluation sets were made from",
  description: "Reads evaluation files (PubMedQA's or BioASQ's JSON, any JSON lines, PubTator or " +
    "text), holds out the citations that they name by PMID, and every document that shares a run " +
    `of ${NGRAM_WORDS} words with them, unless more than ten documents have the run. Writes ` +
    "contamination.json, with each shared stretch, and builds the shards anew. Texts that are not " +
    "PubMed's are named by file and id, and held out by PMID where a column of theirs is a PMID. Later runs and " +
    "refreshes compare what is new with the same items, and keep out what was held out; a second " +
    "decontamination adds to the first. Without contamination.json, or where it was changed, no " +
    "shards are built.",
  positionals: [{ name: "FILE", help: "more evaluation files", variadic: true }],
  options: {
    corpus: CORPUS,
    against: { type: "list", placeholder: "FILE", help: "an evaluation file; may be repeated" },
    words: {
      type: "integer",
      min: 3,
      max: 100,
      default: NGRAM_WORDS,
      help: "words in a run that counts as an overlap",
    },
    "keep-overlaps": {
      type: "boolean",
      help: "report overlaps, and hold out by PMID only",
    },
    anew: {
      type: "boolean",
      help: "forget the evaluation files of earlier times instead of adding to them",
    },
  },
  examples: [
    "deno task pipeline decontaminate --corpus corpus --against ori_pqal.json BioASQ-test.json",
  ],
  async run(invocation) {
    const { reporter } = invocation;
    const corpus = invocation.requiredString("corpus");
    const against = [...invocation.list("against"), ...invocation.positionals];
    if (against.length === 0) throw new UsageError("Give --against FILE: what to compare with");
    for (const path of against) {
      if (!exists(path)) throw new UserError(`Cannot compare with ${path}: there is no such file`);
    }
    if (!readTextCorpus(corpus)) readCatalogue(corpus).close(); // says so where there is no corpus, before one is made
    let progress = reporter.progress("Reading", 0);
    let stage = "";
    const { report, shards } = await decontaminateCorpus({
      corpus,
      against,
      ngramWords: invocation.requiredNumber("words"),
      keepOverlaps: invocation.boolean("keep-overlaps"),
      anew: invocation.boolean("anew"),
      signal: invocation.signal,
      onProgress(name, done, total) {
        if (name !== stage) {
          progress.finish();
          progress = reporter.progress(name === "files" ? "Files" : "Shards", total);
          stage = name;
        }
        progress.update(done);
      },
    });
    progress.finish();
    const figures = {
      documents_checked: report.documents_checked,
      documents_held_out: report.documents_held_out,
      held_out_by_pmid: report.documents_held_out - report.held_out_by_overlap.length,
      held_out_by_overlap: report.held_out_by_overlap.length,
      overlaps: report.overlaps.length,
    };
    if (invocation.json) {
      const path = contaminationPath(corpus);
      return reporter.line(jsonLine({ ...figures, report: path, shards: shards?.figures }));
    }
    const rows = Object.entries(figures).map(([k, v]) => [k.replaceAll("_", " "), String(v)]);
    reporter.line(formatTable(["", ""], rows).split("\n").slice(2).join("\n"));
    reporter.line(`Details are in ${contaminationPath(corpus)}`);
    if (!shards) reporter.line('There are no shards yet; "pipeline run" will leave these out');
  },
};
