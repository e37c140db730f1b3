/** `pipeline documents`: the live documents as JSON lines. @module */
import type { Command } from "../core/cli.ts";
import { fail, UserError } from "../core/errors.ts";
import { Interrupted } from "../core/errors.ts";
import { documentText } from "../pipeline/citation/types.ts";
import type { PrintedDocument } from "../pipeline/documents/reader.ts";
import { readCatalogue } from "../pipeline/corpus.ts";
import { liveDocuments } from "../pipeline/documents/live_documents.ts";
import { readTextDocuments } from "../pipeline/texts/documents.ts";
import { readTextCorpus, type TextCorpusState } from "../pipeline/texts/state.ts";
import { CORPUS } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline documents",
  summary: "Print the live documents as JSON lines, by ascending PMID",
  description:
    "Each has its fields and, as text, what is trained on: title, blank line, abstract. " +
    "Of a corpus of texts: its documents by their numbers, with source, id, text and the " +
    "columns of their records.",
  options: {
    corpus: CORPUS,
    pmid: { type: "integer", min: 1, help: "only this one (of texts, by its number)" },
  },
  examples: [
    "deno task pipeline documents --corpus corpus --pmid 23657305",
    "deno task pipeline documents --corpus corpus > documents.jsonl",
  ],
  async run(invocation) {
    const corpus = invocation.requiredString("corpus");
    const pmid = invocation.number("pmid");
    const texts = readTextCorpus(corpus);
    const catalogue = texts ? undefined : readCatalogue(corpus);
    const documents = catalogue
      ? liveDocuments(corpus, catalogue, pmid)
      : allTexts(corpus, texts ?? fail("there are neither citations nor texts"), pmid);
    let count = 0;
    let text = "";
    try {
      for await (const document of documents) {
        text += JSON.stringify(withText(document)) + "\n";
        if (++count % 100 === 0) {
          invocation.reporter.write(text);
          text = "";
          if (invocation.signal.aborted) throw new Interrupted();
        }
      }
    } finally {
      catalogue?.close();
    }
    invocation.reporter.write(text);
    if (pmid !== undefined && count === 0) {
      throw new UserError(
        `Cannot find ${texts ? "number" : "PMID"} ${pmid} among the live documents of ${corpus}`,
      );
    }
  },
};

/** A citation with the text that is trained on: title, blank line, abstract. */
function withText(document: PrintedDocument | Record<string, unknown>): object {
  if (!("abstract" in document) || "text" in document) return document;
  const { title, abstract } = document as PrintedDocument;
  return { ...document, text: documentText(title, abstract) };
}

/** The documents of a corpus of texts, or the one that has a number. */
async function* allTexts(
  corpus: string,
  { files }: TextCorpusState,
  only: number | undefined,
): AsyncGenerator<Record<string, unknown>> {
  for (const file of [...files].sort((a, b) => a.first - b.first)) {
    for await (const { number, source, values } of readTextDocuments(corpus, file)) {
      if (values.text === "" || only !== undefined && number !== only) continue;
      yield { number, source, ...values };
    }
  }
}
