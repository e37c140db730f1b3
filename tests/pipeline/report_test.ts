/** The corpus report against counts made another way. @module */
import { join } from "../../core/std.ts";
import { readCatalogue } from "../../pipeline/corpus.ts";
import { reportFigures } from "../../pipeline/report/figures.ts";
import { reportPage } from "../../pipeline/report/page.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { assert, assertEquals, assertStringIncludes } from "../assert.ts";
import { ROOT } from "../shared.ts";
import { documentsOf, withFolder } from "./support.ts";

Deno.test("the report's counts are those of the live documents", () =>
  withFolder(async (corpus) => {
    await runPipeline({
      source: join(ROOT, "fixtures/mirror"),
      corpus,
      tokenizer: join(ROOT, "fixtures/tokenizer.json"),
      sequenceLength: 128,
      workers: 2,
    });
    const catalogue = readCatalogue(corpus);
    const documents = await documentsOf(corpus);
    const figures = await reportFigures(corpus, catalogue);
    catalogue.close();
    assertEquals(figures.documents, documents.length);
    assertEquals(figures.withAbstract, documents.filter((d) => d.abstract !== "").length);
    assertEquals(figures.retracted, documents.filter((d) => d.retracted).length);
    const count = (names: string[]) => {
      const counts = new Map<string, number>();
      for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
      return counts;
    };
    assertEquals(new Map(figures.years), count(documents.map((d) => d.date.slice(0, 4))));
    const types = count(documents.flatMap((d) => [...new Set(d.publication_types)]));
    for (const [name, n] of figures.types) assertEquals(n, types.get(name), name);
    const mesh = count(documents.flatMap((d) => [...new Set(d.mesh.map((m) => m.name))]));
    for (const [name, n] of figures.mesh) assertEquals(n, mesh.get(name), name);
    assertEquals(figures.lengths.total, documents.length);
    assert(figures.tokens!.total > 0 && figures.tokens!.mean > 20);
    const page = reportPage(figures);
    assertStringIncludes(page, figures.journals[0]![0].replaceAll("&", "&amp;"));
    assert(!/<script|https?:\/\/(?!ftp)/.test(page), "the page needs nothing else");
    const odd = reportPage({ ...figures, mesh: [['<b>"&', 1]] });
    assertStringIncludes(odd, "&lt;b>&quot;&amp;");
  }));
