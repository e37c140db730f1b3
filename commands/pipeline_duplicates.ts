/** `pipeline duplicates`: near duplicates among the live documents. @module */
import type { Command } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { Interrupted } from "../core/errors.ts";
import { writeAtomic } from "../core/files.ts";
import { formatTable } from "../core/reporter.ts";
import { openCorpusTexts } from "../pipeline/corpus_texts.ts";
import { type DuplicatePair, findDuplicates } from "../pipeline/overlap/duplicates.ts";
import { CORPUS } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline duplicates",
  summary: "Report nearly equal documents (MinHash over runs of five words)",
  description:
    "Compares title and abstract of all live citations, or the documents of a corpus of texts, by " +
    "file and id. It reports and removes nothing: of a PMID the catalogue already keeps one version.",
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
    const { reporter, signal } = invocation;
    const started = performance.now();
    using corpus = openCorpusTexts(invocation.string("corpus")!);
    const progress = reporter.progress("Comparing", corpus.files * 2, "files");
    let pass = 0;
    const report = await findDuplicates(() => {
      const before = corpus.files * pass++;
      return corpus.read((done) => {
        if (signal.aborted) throw new Interrupted("Stopped; nothing was written");
        progress.update(before + done);
      });
    }, invocation.number("similarity")!);
    progress.finish();
    const { pairs, ...counts } = report;
    const out = invocation.string("out");
    if (out) writeAtomic(out, pairs.map((p) => JSON.stringify(told(p)) + "\n").join(""));
    const seconds = (performance.now() - started) / 1000;
    const figures = { ...counts, pairs: pairs.length, seconds };
    if (invocation.json) return reporter.line(jsonLine({ ...figures, out }));
    if (pairs.length) {
      const kind = pairs[0]!.names ? "document" : "PMID";
      reporter.line(formatTable([kind, kind, "similarity"], pairs.slice(0, 20).map(cells)));
    }
    reporter.line(
      `${pairs.length} pairs among ${counts.documents} documents` +
        (pairs.length > 20 && !out ? "; --out FILE writes them all" : ""),
    );
  },
};

/** A pair as a line of the file: by PMID, or by what its texts are. */
function told({ names, ...pair }: DuplicatePair): object {
  return names ? { document: names[0], other: names[1], similarity: pair.similarity } : pair;
}

function cells({ pmid, other, similarity, names }: DuplicatePair): string[] {
  const two = names?.map(({ source, id }) => `${id} of ${source}`) ?? [`${pmid}`, `${other}`];
  return [...two, similarity.toFixed(3)];
}
