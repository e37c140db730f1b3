/** `pipeline export`: a corpus for other trainers. @module */
import type { Command } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { CitationTable } from "../pipeline/citation_table.ts";
import { EXPORT_FORMATS, exportDocuments, type ExportFormat } from "../pipeline/shards/mod.ts";
import { CORPUS, grouped } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline export",
  summary: "Write the documents of a corpus's shards in the format of another trainer",
  description:
    "jsonl: one file a split, an object with id (the PMID, or the number of another text), " +
    "version, source and text on each line. megatron: <split>.bin and .idx of Megatron-LM, tokenized, end of text after each " +
    "document. hf-dataset: Parquet files that load_dataset reads, with " +
    "year, journal and MeSH headings of citations. The documents are those that " +
    "were packed: live, kept by the policies, not held out; their text is in NFC.",
  options: {
    corpus: CORPUS,
    format: { type: "string", choices: EXPORT_FORMATS, help: "what to write", required: true },
    out: { type: "string", placeholder: "DIR", help: "the folder to write to", required: true },
  },
  examples: [
    "deno task pipeline export --corpus corpus --format jsonl --out exported",
    "deno task pipeline export --corpus corpus --format megatron --out megatron",
  ],
  async run(invocation) {
    const { reporter, signal } = invocation;
    const format = invocation.string("format") as ExportFormat;
    const corpus = invocation.requiredString("corpus");
    const citations = format === "hf-dataset" ? await CitationTable.open(corpus) : undefined;
    const progress = reporter.progress("Exporting", 0, "documents");
    const done = await exportDocuments(
      corpus,
      format,
      invocation.requiredString("out"),
      { citations, signal, onProgress: (n) => progress.update(n) },
    );
    progress.finish();
    if (invocation.json) return reporter.line(jsonLine({ format, ...done }));
    const { train, validation, test } = done.documents;
    reporter.line(
      `${grouped(train)} documents to train on, ${grouped(validation)} for validation, ` +
        `${grouped(test)} for testing, in ` +
        done.files.join(", "),
    );
  },
};
