import { originOf } from "../../../model/training/origin.ts";
import { modelCard } from "../../../model/weights/card.ts";
import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { exportRun } from "../../../model/training/export.ts";
import { openModelFolder } from "../../../model/weights/folder.ts";
import { readMetrics } from "../../../model/training/metrics.ts";
import { trainRun } from "../../../model/training/run.ts";
import { assert, assertEquals, assertThrows } from "../../assert.ts";
import { inventedCorpus, makeReference, silentReporter, withFolder } from "../helpers.ts";

Deno.test("exportRun() writes the chosen checkpoint with a card filled from the run", () =>
  withFolder(async (dir) => {
    const run = join(dir, "run");
    const out = join(dir, "model");
    await trainRun({
      corpus: inventedCorpus(),
      init: "random:tiny",
      out: run,
      config: {
        steps: 4,
        batch: { rows: 1 },
        checkpoint: { every: 2, keep: 5 },
        validation: { every: 2 },
      },
      resume: false,
      makeModel: makeReference,
      reporter: silentReporter(),
      signal: new AbortController().signal,
    });
    const result = exportRun(run, out);
    const folder = openModelFolder(out);
    folder.close();
    assertEquals([result.step, folder.config.hiddenSize, folder.config.vocabSize], [4, 64, 21]);
    const loss = readMetrics(run).at(-1)!.validation_loss!;
    assertEquals(result.validationPerplexity, Math.exp(loss));
    const card = Deno.readTextFileSync(join(out, "README.md"));
    for (const part of ["library_name: transformers", `value: ${Math.exp(loss)}`, "# model"]) {
      assert(card.includes(part), part);
    }
    assertEquals(
      Deno.readFileSync(join(out, "model.safetensors")),
      Deno.readFileSync(join(result.checkpoint, "model.safetensors")),
    );
    assertEquals(exportRun(run, join(dir, "two"), 2).step, 2);
    assertThrows(() => exportRun(run, out), UserError, "it holds");
    assertThrows(() => exportRun(run, join(dir, "three"), 3), UserError, "those of the steps 2, 4");
    assertThrows(() => exportRun(dir, join(dir, "three")), UserError, "has no run.json");
  }));

Deno.test("the card names the corpora, the base and the base's licence", () =>
  withFolder((dir) => {
    const base = join(dir, "base");
    Deno.mkdirSync(base);
    Deno.writeTextFileSync(join(base, "README.md"), "---\nlicense: cc-by-4.0\n---\n# Base\n");
    const corpus = { path: `${join(dir, "pubmed")}=0.8,${join(dir, "notes")}=0.2` };
    const origin = originOf({ init: base, corpus });
    assertEquals(origin.baseLicense, "cc-by-4.0");
    assertEquals(origin.corpora.map(({ name, share }) => [name, share]), [
      ["pubmed", 0.8],
      ["notes", 0.2],
    ]);
    const facts = {
      name: "m",
      kind: "mamba" as const,
      parameters: 1,
      steps: 1,
      tokens: 1,
      sequenceLength: 1,
      manifestSha256: "0",
    };
    const corpora = [
      { name: "pubmed", share: 0.8, citations: true },
      { name: "notes", share: 0.2, citations: false },
    ];
    const card = modelCard({ ...facts, ...origin, corpora });
    assert(card.includes("license: cc-by-4.0\n"), card);
    assert(
      card.includes(
        "trained further on PubMed's titles and abstracts (pubmed, 80% of the tokens) and the texts " +
          "of notes (20% of the tokens).",
      ),
      card,
    );
    const alone = [{ name: "notes", citations: false }];
    const other = modelCard({ ...facts, base: "org/name", corpora: alone });
    assert(other.includes("license: other\n") && other.includes("on the texts of notes."), other);
    assert(!other.includes("ncbi/pubmed") && !other.includes("- pubmed"), other);
    assert(!other.includes("National Library") && card.includes("- pubmed"), other);
    assert(!modelCard({ ...facts, base: undefined, corpora: alone }).includes("license"));
  }));
