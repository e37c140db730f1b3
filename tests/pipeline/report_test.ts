/** The corpus report against counts made another way. @module */
import { join, toFileUrl } from "../../core/std.ts";
import { readCatalogue } from "../../pipeline/corpus.ts";
import { type Count, type ReportFigures, reportFigures } from "../../pipeline/report/figures.ts";
import { reportPage } from "../../pipeline/report/page.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { readStatus } from "../../pipeline/status.ts";
import { assert, assertEquals, assertStringIncludes } from "../assert.ts";
import { browserTest, inEveryLook } from "../browser.ts";
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
    assert(!/(src|href)="(?!data:)/.test(page), "the page needs nothing else");
    const odd = reportPage({ ...figures, mesh: [['<b>"&', 1]] });
    assertStringIncludes(odd, "&lt;b&gt;&quot;&amp;");
  }));

/** A corpus of a few decades. */
function figuresOf(status: ReportFigures["status"]): ReportFigures {
  const years = Array.from({ length: 40 }, (_, i): Count => [String(1980 + i), (i + 3) ** 2]);
  const some = (name: string): Count[] =>
    Array.from(
      { length: 12 },
      (_, i) => [`${name} ${"of some length ".repeat(i % 4)}${i}`, 120 - i],
    );
  const bell = (binWidth: number) => ({
    binWidth,
    counts: Array.from(
      { length: 40 },
      (_, i) => Math.round(900 * Math.exp(-(((i - 14) / 6) ** 2))),
    ),
    total: 12_345,
    mean: 14 * binWidth,
  });
  return {
    status,
    documents: 12_345,
    withAbstract: 11_000,
    retracted: 3,
    years: [["", 7], ...years.filter(([year]) => year !== "1990")],
    languages: some("language"),
    types: some("type"),
    mesh: some("heading"),
    journals: some("journal"),
    dropped: [["no_abstract", 1345], ["language", 12]],
    lengths: bell(100),
    tokens: bell(25),
  };
}

browserTest(
  "a browser shows a corpus's report, wide and narrow, light and dark",
  (browser) =>
    withFolder(async (corpus) => {
      await runPipeline({ source: join(ROOT, "fixtures/mirror"), corpus, workers: 1 });
      const catalogue = readCatalogue(corpus);
      const status = readStatus(corpus, catalogue);
      catalogue.close();
      const file = join(corpus, "report.html");
      Deno.writeTextFileSync(file, reportPage(figuresOf(status)));
      await inEveryLook(browser, toFileUrl(file).href, {
        name: "corpus-report",
        charts: 3,
        async check(page) {
          // The cursor over the middle of the first chart names a year and how many there are of it.
          await page.hover("#years .u-over");
          const legend = await page.evaluate(
            `document.querySelector("#years .u-legend").textContent`,
          );
          const [, year, count] =
            /year:(\d+)citations:([\d,]+)/.exec(String(legend).replace(/\s/g, "")) ??
              [];
          assertEquals(Number(count?.replace(",", "")), (Number(year) - 1980 + 3) ** 2);
          const ticks = await page.evaluate(
            `document.querySelectorAll("#years .u-axis").length`,
          );
          assertEquals(ticks, 2);
        },
      });
    }),
);
