/**
 * The whole way for programs: from PubMed's XML to shards, training, evaluation and generation. Each
 * room has more behind a door of its own: `pubmamba/pipeline`, `pubmamba/model`, `pubmamba/tasks`
 * and `pubmamba/kernels`.
 *
 * ```ts
 * import * as pubmamba from "pubmamba";
 *
 * await pubmamba.runPipeline({
 *   source: "mirror",
 *   corpus: "corpus",
 *   tokenizer: "tokenizer.json",
 *   workers: 2,
 * });
 * const reporter = pubmamba.consoleReporter();
 * const signal = new AbortController().signal;
 * using corpus = pubmamba.openCorpus("corpus");
 * await pubmamba.trainRun({
 *   corpus,
 *   init: "random:tiny",
 *   out: "run",
 *   config: { steps: 2, batch: { rows: 1 } },
 *   resume: false,
 *   makeModel: pubmamba.deviceModel(),
 *   reporter,
 *   signal,
 * });
 * pubmamba.exportRun("run", "model");
 * const folder = pubmamba.openModelFolder("model");
 * const tokenizer = pubmamba.loadTokenizer("model/tokenizer.json");
 * const model = await pubmamba.recurrentModel(folder.config, folder.read);
 * const prompt = [folder.config.endOfText, ...tokenizer.encode("The effect of")];
 * for await (const { token } of pubmamba.generateTokens(model, prompt, { maxNewTokens: 5 })) {
 *   reporter.write(tokenizer.decode([token]));
 * }
 * model.destroy();
 * folder.close();
 * ```
 * @module
 */
export { Interrupted, UserError } from "./core/errors.ts";
export { consoleReporter } from "./core/reporter.ts";
export { DeviceError } from "./kernels/errors.ts";
export {
  deviceModel,
  evaluatePerplexity,
  exportRun,
  generateTokens,
  openCorpus,
  openMix,
  openModelFolder,
  rankRows,
  recurrentModel,
  trainRun,
} from "./model/mod.ts";
export { buildTextCorpus, loadTokenizer, runPipeline } from "./pipeline/mod.ts";
