/** `pipeline where`: from a PMID to its places in the shards. @module */
import type { Command } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { UserError } from "../core/errors.ts";
import { exists } from "../core/files.ts";
import { join } from "../core/std.ts";
import { documentText } from "../pipeline/citation/types.ts";
import { readCatalogue } from "../pipeline/corpus.ts";
import { liveDocuments } from "../pipeline/documents/live_documents.ts";
import type { PrintedDocument } from "../pipeline/documents/reader.ts";
import { heldOutOf } from "../pipeline/held_out.ts";
import { readDropped } from "../pipeline/overlap/dropped_duplicates.ts";
import { textIds } from "../pipeline/texts/documents.ts";
import { readTextCorpus } from "../pipeline/texts/state.ts";
import { type Whereabouts, whereIs } from "../pipeline/shards/mod.ts";
import { loadTokenizer } from "../pipeline/tokenizer/mod.ts";
import { CORPUS } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline where",
  summary: "Find a PMID in the shards, and count its tokens",
  description: "Says in which split, shard and rows the document lies, and how many training " +
    "tokens it is; of a document that is in none, why, and how many tokens it would be.",
  options: {
    corpus: CORPUS,
    pmid: {
      type: "integer",
      min: 1,
      help: "the citation; in a corpus of texts the document's number",
      required: true,
    },
  },
  examples: ["deno task pipeline where --corpus corpus --pmid 23657305"],
  async run(invocation) {
    const { reporter } = invocation;
    const corpus = invocation.requiredString("corpus");
    const pmid = invocation.requiredNumber("pmid");
    const found = await whereIs(corpus, pmid);
    const reason = found.shard === "" ? await whyNot(corpus, found) : "";
    const texts = readTextCorpus(corpus);
    const id = texts && (await textIds(corpus, texts, [pmid])).get(pmid);
    if (invocation.json) {
      return reporter.line(jsonLine({ ...found, ...(texts ? { id } : {}), reason }));
    }
    const name = texts ? `Document ${pmid}, id ${JSON.stringify(id ?? "")},` : `PMID ${pmid}`;
    if (found.shard === "") {
      reporter.line(`${name} is in no shard: ${reason}`);
    } else {
      reporter.line(`${name} is ${found.tokens} tokens of ${found.shard}`);
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
async function whyNot(corpus: string, { pmid, records }: Whereabouts): Promise<string> {
  const texts = readTextCorpus(corpus);
  if (texts) {
    const heldOut = whyHeldOut(corpus, pmid);
    if (heldOut) return heldOut;
    if (pmid < texts.next) return "its text is empty, or its file was taken away or changed";
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
    if (!live) {
      const tokens = records.at(-1)?.tokens ?? 0;
      return `it was deleted, which takes ${tokens} tokens out of training`;
    }
    const heldOut = whyHeldOut(corpus, pmid);
    if (heldOut) return heldOut;
    for await (const document of liveDocuments(corpus, catalogue, pmid)) {
      const dropped = reasonOf(corpus, document);
      if (!dropped) break;
      const tokenizer = loadTokenizer(join(corpus, "tokenizer.json"));
      // With the boundary that every document begins with.
      const tokens = 1 + tokenizer.encode(documentText(document.title, document.abstract)).length;
      return `it was dropped as ${dropped}, which takes ${tokens} tokens out of training`;
    }
    return "the shards are older than it";
  } finally {
    catalogue.close();
  }
}

/** Why a report of the corpus keeps a document out of the shards; undefined where none does. */
function whyHeldOut(corpus: string, pmid: number): string | undefined {
  if (!heldOutOf(corpus).pmids.has(pmid)) return undefined;
  const copy = readDropped(corpus)?.dropped.find((d) => d.pmid === pmid);
  return copy
    ? `it was dropped as a near copy of ${copy.kept}, similarity ${copy.similarity.toFixed(3)}`
    : "it is held out for evaluation";
}

/** The reason under which a policy dropped a document, as rejected/ has it. */
function reasonOf(corpus: string, { source, pmid, version }: PrintedDocument): string | undefined {
  const file = join(corpus, "rejected", `${source}.jsonl`);
  if (!exists(file)) return undefined;
  for (const line of Deno.readTextFileSync(file).split("\n")) {
    if (!line) continue;
    const record = JSON.parse(line) as { pmid: number; version: number; reason: string };
    if (record.pmid === pmid && record.version === version) return record.reason;
  }
}
