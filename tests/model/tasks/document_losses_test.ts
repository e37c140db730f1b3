import { join } from "../../../core/std.ts";
import { DocumentLosses, type GroupLoss } from "../../../model/tasks/perplexity/document_losses.ts";
import { deviceModel } from "../../../model/mamba/device_model.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import { evaluatePerplexity } from "../../../model/training/perplexity.ts";
import { openCorpus } from "../../../model/training/shard_corpus.ts";
import { openStart } from "../../../model/training/start.ts";
import { runPipeline } from "../../../pipeline/run.ts";
import { assert, assertAlmostEquals, assertEquals } from "../../assert.ts";
import { silentReporter, withFolder } from "../helpers.ts";
import { ROOT } from "../../shared.ts";

Deno.test("DocumentLosses share out the whole loss among the documents' groups", () =>
  withFolder(async (dir) => {
    const corpus = join(dir, "corpus");
    const model = join(dir, "model");
    await runPipeline({
      corpus,
      source: join(ROOT, "fixtures", "mirror"),
      files: "1",
      tokenizer: join(ROOT, "fixtures", "tokenizer.json"),
      sequenceLength: 128,
      validation: 0.05,
      workers: 1,
    });
    using opened = openCorpus(corpus);
    const start = openStart("random:tiny", opened, { seed: 0 });
    writeModelFolder(model, start);
    const rows = Math.min(12, opened.split("validation").rows);
    const documents = await DocumentLosses.open(corpus, "validation");
    const result = await evaluatePerplexity({
      model,
      corpus: opened,
      split: "validation",
      rows,
      batchSize: 8,
      makeModel: deviceModel(),
      onRow: documents.onRow,
      reporter: silentReporter(),
    });
    const { year, type, mesh } = await documents.group(corpus, ["year", "type", "mesh"]);
    const sum = (groups: GroupLoss[], of: (g: GroupLoss) => number) =>
      groups.reduce((total, g) => total + of(g), 0);
    // Every document has one year; so the years add up to the whole.
    assertEquals(sum(year!, (g) => g.tokens), result.tokens);
    const nll = sum(year!, (g) => g.tokens * Math.log(g.perplexity));
    assertAlmostEquals(nll / result.tokens, result.loss, 1e-6);
    assert(year!.every((g) => /^\d{4}$|^unknown$/.test(g.group)), "grouped by years");
    assertEquals(year!.map((g) => g.group), year!.map((g) => g.group).toSorted());
    assert(sum(year!, (g) => g.documents) > 5);
    const articles = type!.find((g) => g.group === "Journal Article")!;
    assert(articles.tokens > 0.5 * result.tokens);
    assert(mesh!.length > 1);
    // Each heading comes with its id; a document's branches count once each.
    const { branch } = await documents.group(corpus, ["branch"], (_, ui) => [ui![0]!]);
    assertEquals(branch!.map((g) => g.group).toSorted(), ["Z"]); // the invented ids
    assertEquals(sum(branch!, (g) => g.tokens), result.tokens);
    const groups = [...year!, ...type!, ...mesh!];
    assert(groups.some((g) => g.documents === 1) && groups.some((g) => g.documents > 1));
    for (const { documents, interval, perplexity } of groups) {
      // One document has no spread, and no interval is claimed for it.
      if (documents === 1) assertEquals(interval, { low: NaN, high: NaN });
      else assert(interval.low <= perplexity + 1e-9 && perplexity <= interval.high + 1e-9);
    }
  }));
