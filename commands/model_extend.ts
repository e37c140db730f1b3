/** `model extend`: rows for an extended tokenizer's new ids. @module */
import type { Command } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { UsageError, UserError } from "../core/errors.ts";
import { exists } from "../core/files.ts";
import { extendModel, localModel, MOST_CONTEXTS } from "../model/weights/mod.ts";
import { openCorpusTexts } from "../pipeline/corpus_texts.ts";
import { heldOutOf } from "../pipeline/held_out.ts";
import { manifestPath, readManifest, splitOf } from "../pipeline/shards/mod.ts";
import { readTextInput } from "../core/text_input.ts";
import { deviceOptions, makeModelOf } from "./device_options.ts";
import { modelOption } from "./model_options.ts";

export const command: Command = {
  name: "model extend",
  summary: "Give a model the rows of an extended tokenizer",
  description:
    "Each new token's embedding is the mean of those of the old pieces that made it; all " +
    "else stays. With --contexts it is, as BIOptimus has it, the mean over those pieces and over up to " +
    `${MOST_CONTEXTS} places where the token stands of the model's hidden states there, moved and ` +
    "scaled to where embeddings lie; tokens without a place keep the mean of their pieces. Train on " +
    "afterwards: the new rows are a start. Compare perplexity per byte, which does not depend on how " +
    "text is cut.",
  options: {
    model: modelOption("the model", true),
    tokenizer: {
      type: "string",
      placeholder: "FILE",
      help: 'what "pipeline extend-tokenizer" wrote',
      required: true,
    },
    out: { type: "string", placeholder: "DIR", help: "the folder to write", required: true },
    contexts: {
      type: "string",
      placeholder: "FILE|DIR",
      help: "texts of the domain: JSON lines with text, a text a line, or a corpus, of which the " +
        "documents that are not held out are read",
    },
    "context-layer": {
      type: "integer",
      placeholder: "N",
      min: 1,
      help: "the layer whose hidden states are averaged (default the middle one)",
    },
    ...deviceOptions,
  },
  examples: [
    "deno task model extend --model mamba-130m --tokenizer bio.json --out mamba-130m-bio",
    "deno task model extend --model mamba-130m --tokenizer bio.json --contexts abstracts.jsonl --out mamba-130m-bio",
  ],
  async run(invocation) {
    const { reporter, signal } = invocation;
    const contexts = invocation.string("contexts");
    if (contexts !== undefined && !exists(contexts)) {
      throw new UserError(`Cannot read contexts from ${contexts}: there is no such file`);
    }
    const layer = invocation.number("context-layer");
    if (layer !== undefined && contexts === undefined) {
      throw new UsageError("--context-layer needs --contexts FILE");
    }
    const progress = contexts === undefined ? undefined : reporter.progress("Tokens", 0);
    const result = await extendModel(
      await localModel(invocation.requiredString("model"), reporter),
      invocation.requiredString("tokenizer"),
      invocation.requiredString("out"),
      contexts === undefined ? undefined : {
        makeModel: await makeModelOf(invocation),
        texts: textsOf(contexts),
        ...(layer === undefined ? {} : { layer }),
        onProgress: (done, total) => progress?.update(done, `of ${total}`),
        signal,
      },
    );
    progress?.finish();
    if (invocation.json) return reporter.line(jsonLine(result));
    const added = result.new_vocabulary - result.old_vocabulary;
    reporter.line(
      `${result.out} has ${result.new_vocabulary} ids, ${added} of them new` +
        (contexts === undefined ? "" : `, ${result.contextual} from their contexts`),
    );
  },
};

/** The texts of a file, or those of a corpus that no evaluation is made on. */
async function* textsOf(path: string): AsyncGenerator<string> {
  if (Deno.statSync(path).isFile) {
    for (const { text } of readTextInput(path)) yield text;
    return;
  }
  using corpus = openCorpusTexts(path);
  const shares = exists(manifestPath(path)) ? readManifest(path) : undefined;
  const heldOut = heldOutOf(path).pmids;
  for await (const { pmid, text } of corpus.read()) {
    const train = !shares || splitOf(pmid, shares.validation, shares.test) === "train";
    if (train && !heldOut.has(pmid)) yield text;
  }
}
