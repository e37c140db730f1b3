/** `pipeline duplicates`: near duplicates among the live documents. @module */
import type { Command } from "../core/cli.ts";
import { Interrupted } from "../core/errors.ts";
import { writeAtomic } from "../core/files.ts";
import { formatTable } from "../core/reporter.ts";
import { readCatalogue } from "../pipeline/corpus.ts";
import { liveTexts } from "../pipeline/documents/live_texts.ts";
import { findDuplicates } from "../pipeline/overlap/duplicates.ts";
import { CORPUS } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline duplicates",
  summary: "Report nearly equal documents (MinHash over runs of five words)",
  description:
    "Compares title and abstract of all live citations. It reports and removes nothing: " +
    "the catalogue already keeps one version of each PMID.",
  options: {
    corpus: CORPUS,
    similarity: {
      type: "number",
      min: 0.5,
      max: 1,
      default: 0.7,
      help: "least share of runs of five words in common",
    },
    out: { type: "string", placeholder: "F.jsonl", help: "write every pair there" },
  },
  examples: [
    "deno task pipeline duplicates --corpus corpus",
    "deno task pipeline duplicates --corpus corpus --similarity 0.9 --out duplicates.jsonl",
  ],
  async run(invocation) {
    const { reporter, signal } = invocation, corpus = invocation.string("corpus")!;
    const catalogue = readCatalogue(corpus), started = performance.now();
    const progress = reporter.progress("Comparing", catalogue.files().length * 2, "files");
    let pass = 0;
    try {
      const report = await findDuplicates(() => {
        const before = catalogue.files().length * pass++;
        return liveTexts(corpus, catalogue, (done) => {
          if (signal.aborted) throw new Interrupted("Stopped; nothing was written");
          progress.update(before + done);
        });
      }, invocation.number("similarity")!);
      progress.finish();
      const { pairs, ...counts } = report, out = invocation.string("out");
      if (out) writeAtomic(out, pairs.map((p) => JSON.stringify(p) + "\n").join(""));
      const seconds = (performance.now() - started) / 1000;
      const figures = { ...counts, pairs: pairs.length, seconds };
      if (invocation.json) return reporter.line(JSON.stringify({ ...figures, out }));
      if (pairs.length) {
        reporter.line(formatTable(
          ["PMID", "PMID", "similarity"],
          pairs.slice(0, 20).map((p) => [`${p.pmid}`, `${p.other}`, p.similarity.toFixed(3)]),
        ));
      }
      reporter.line(
        `${pairs.length} pairs among ${counts.documents} documents` +
          (pairs.length > 20 && !out ? "; --out FILE writes them all" : ""),
      );
    } finally {
      catalogue.close();
    }
  },
};
