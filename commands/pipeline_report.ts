/** `pipeline report`: a corpus as one HTML page. @module */
import { jsonLine } from "../core/json.ts";
import type { Command } from "../core/cli.ts";
import { writeAtomic } from "../core/files.ts";
import { join } from "../core/std.ts";
import { readCatalogue } from "../pipeline/corpus.ts";
import { reportFigures } from "../pipeline/report/figures.ts";
import { reportPage } from "../pipeline/report/page.ts";
import { CORPUS } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline report",
  summary: "Write a page about a corpus: years, languages, types, MeSH, journals, lengths, drops",
  options: {
    corpus: CORPUS,
    out: { type: "string", placeholder: "FILE", help: "the page (default: report.html in DIR)" },
  },
  examples: ["deno task pipeline report --corpus corpus --out corpus.html"],
  async run(invocation) {
    const corpus = invocation.requiredString("corpus");
    const { reporter, signal } = invocation;
    const out = invocation.string("out") ?? join(corpus, "report.html");
    const catalogue = readCatalogue(corpus);
    const progress = reporter.progress("Files", 0);
    try {
      const figures = await reportFigures(corpus, catalogue, {
        signal,
        onProgress: (done, total) => progress.update(done, `of ${total}`),
      });
      progress.finish();
      writeAtomic(out, reportPage(figures));
      reporter.line(invocation.json ? jsonLine({ out, ...figures }) : `Wrote ${out}`);
    } finally {
      catalogue.close();
    }
  },
};
