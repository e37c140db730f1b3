/** `pipeline where`: from a PMID to its places in the shards. @module */
import type { Command } from "../core/cli.ts";
import { UserError } from "../core/errors.ts";
import { readCatalogue } from "../pipeline/corpus.ts";
import { readHeldOut } from "../pipeline/overlap/contamination.ts";
import { readTextCorpus } from "../pipeline/text_corpus_check.ts";
import { type Whereabouts, whereIs } from "../pipeline/tokens/provenance.ts";
import { CORPUS } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline where",
  summary: "Find a PMID in the shards, and count its tokens",
  description: "Says in which split, shard and rows the document lies, and how many training " +
    "tokens it is; of a document that is in none, why, and how many tokens it would be.",
  options: {
    corpus: CORPUS,
    pmid: { type: "integer", min: 1, help: "the citation", required: true },
  },
  examples: ["deno task pipeline where --corpus corpus --pmid 23657305"],
  async run(invocation) {
    const { reporter } = invocation, corpus = invocation.string("corpus")!;
    const pmid = invocation.number("pmid")!, found = await whereIs(corpus, pmid);
    const reason = found.shard === "" ? whyNot(corpus, found) : "";
    if (invocation.json) return reporter.line(JSON.stringify({ ...found, reason }));
    if (found.shard === "") {
      reporter.line(`PMID ${pmid} is in no shard: ${reason}`);
    } else {
      reporter.line(`PMID ${pmid} is ${found.tokens} tokens of ${found.shard}`);
      for (const { row, start, length, version, source } of found.pieces) {
        reporter.line(
          `row ${row}, columns ${start} to ${
            start + length - 1
          }: version ${version} from ${source}`,
        );
      }
    }
    for (const { source, version, tokens } of found.records) {
      reporter.line(`${source} has version ${version}, ${tokens} tokens`);
    }
  },
};

/**
 * Why a PMID is in no shard.
 * @throws {UserError} where the corpus does not know it at all.
 */
function whyNot(corpus: string, { pmid, records }: Whereabouts): string {
  const texts = readTextCorpus(corpus);
  if (texts) {
    const known = pmid < texts.next ? "its text is empty, or its file was taken away" : undefined;
    if (known) return known;
    throw new UserError(
      `Cannot find document ${pmid} in ${corpus}: its documents have numbers below ${texts.next}`,
    );
  }
  const catalogue = readCatalogue(corpus);
  try {
    const live = [...catalogue.live(pmid)].length > 0;
    if (!live && records.length === 0) {
      throw new UserError(`Cannot find PMID ${pmid} in ${corpus}: no live citation has it`);
    }
    if (!live) return "it was deleted";
    if (readHeldOut(corpus).pmids.has(pmid)) return "it is held out for evaluation";
    return "a policy keeps its text out of training, or the shards are older than it";
  } finally {
    catalogue.close();
  }
}
