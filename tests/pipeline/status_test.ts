import { join } from "../../core/std.ts";
import { command } from "../../commands/pipeline_status.ts";
import { parseInvocation } from "../../core/cli.ts";
import { readCatalogue } from "../../pipeline/corpus.ts";
import { decontaminateCorpus } from "../../pipeline/decontaminate.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { readManifest, SPLITS } from "../../pipeline/shards/mod.ts";
import { readStatus } from "../../pipeline/status.ts";
import { assert, assertEquals, assertStringIncludes } from "../assert.ts";
import { silentReporter } from "../model/helpers.ts";
import { ROOT } from "../shared.ts";
import { article, pubmedSet, putFile, withFolder } from "./support.ts";

Deno.test("status counts the tokens of the shards by split, and says what is held out and why", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    const records = (version: number) =>
      pubmedSet(...Array.from({ length: 300 }, (_, i) => article(i + 1, { version })));
    putFile(mirror, "baseline", 1, records(1));
    putFile(mirror, "updatefiles", 2, records(2)); // replaces every one of them
    const tokenizer = join(ROOT, "fixtures/tokenizer.json");
    await runPipeline({
      corpus,
      source: mirror,
      workers: 1,
      tokenizer,
      validation: 0.1,
      test: 0.05,
    });
    const questions = join(folder, "questions.json");
    Deno.writeTextFileSync(questions, JSON.stringify({ "7": { question: "Is it so?" } }));
    await decontaminateCorpus({ corpus, against: [questions] });

    const catalogue = readCatalogue(corpus);
    const status = readStatus(corpus, catalogue);
    catalogue.close();
    const { splits } = readManifest(corpus);
    assertEquals(status.tokens, SPLITS.reduce((n, s) => n + splits[s].tokens, 0));
    assert(status.tokens_of_all_versions > 1.9 * status.tokens, "both versions are in the files");
    for (const split of SPLITS) {
      const { documents, tokens, rows } = splits[split];
      assertEquals(status.splits[split], { documents, tokens, rows });
    }
    const { validation, test } = splits;
    assert(validation.documents > 10 && test.documents > 3);
    assertEquals(status.held_out, [
      { what: "validation", documents: validation.documents, why: "10% of all, drawn by seed 0" },
      { what: "test", documents: test.documents, why: "5% of all, drawn by seed 0" },
      {
        what: "evaluation sets",
        documents: 1,
        why: "1 named by PMID, 0 by shared words, in questions.json",
      },
    ]);

    const reporter = silentReporter();
    const { signal } = new AbortController();
    await command.run(parseInvocation(command, ["--corpus", corpus], reporter, signal));
    const text = reporter.lines.join("\n");
    const told = new RegExp(`^tokens +${status.tokens.toLocaleString("en")}$`, "m");
    assert(told.test(text), text);
    assertStringIncludes(text, "held out: validation");
    assert(/^year +2026$/m.test(text)); // no thousands in a year
  }));
