import { type ReportData, reportHtml, thinOut } from "../../model/report/mod.ts";
import type { StepMetrics } from "../../model/training/metrics.ts";
import { join, toFileUrl } from "../../core/std.ts";
import { assert, assertAlmostEquals, assertEquals, assertStringIncludes } from "../assert.ts";
import { browserTest, inEveryLook } from "../browser.ts";

/** A loss curve with noise and validation every 20 steps. */
function metrics(steps: number): StepMetrics[] {
  return Array.from({ length: steps }, (_, i) => ({
    step: i + 1,
    tokens: (i + 1) * 2048,
    loss: 2 + 5.6 * Math.exp(-i / 60) + 0.15 * Math.sin(i * 12.9898),
    learning_rate: 1e-3 * Math.min(1, (i + 1) / 20) * (0.55 + 0.45 * Math.cos(Math.PI * i / steps)),
    grad_norm: 1 + 3 * Math.exp(-i / 40) + 0.3 * Math.sin(i * 78.233),
    tokens_per_second: 5000 + 300 * Math.sin(i / 7),
    validation_loss: i % 20 === 19 ? 2.1 + 5.5 * Math.exp(-i / 60) : undefined,
  }));
}

const DATA: ReportData = {
  title: "Demo run",
  subtitle: "tiny Mamba, 0.3 M parameters, on llvmpipe",
  highlights: [
    { label: "perplexity before", value: "2,210" },
    { label: "perplexity after", value: "8.4" },
    { label: "tokens a second", value: "5,120" },
    { label: "documents", value: "2,992" },
  ],
  metrics: metrics(300),
  tables: [{
    title: "Held-out documents",
    header: ["", "before", "after"],
    rows: [["perplexity", "2210.0", "8.4"], ["bits a byte", "2.9", "0.5"]],
    note: "Token-weighted, over the documents that training never saw.",
  }],
  samples: [{
    prompt: "Redral anaemia is treated with",
    text: " stepanmustan </script><b>, 20 mg.",
  }],
};

Deno.test("a report is one file that asks for nothing else and keeps text as text", () => {
  const html = reportHtml(DATA);
  assert(!/(src|href)="(?!data:)/.test(html), "no outside file");
  assertStringIncludes(html, "stepanmustan &lt;/script&gt;&lt;b&gt;");
  assertStringIncludes(html, '<td class="number">8.4</td>');
  assert(html.length < 150_000, `${html.length} characters`);
});

Deno.test("a report without steps has no charts and keeps its tables", () => {
  const html = reportHtml({ ...DATA, metrics: [] });
  assert(!html.includes("<canvas") && !html.includes("uPlot"));
  assertStringIncludes(html, "Held-out documents");
});

Deno.test("thinning keeps means, the last step and the newest validation loss", () => {
  const all = metrics(1000);
  const few = thinOut(all, 100);
  assertEquals(few.length, 100);
  assertEquals(few.at(-1)!.step, 1000);
  const mean = (m: StepMetrics[]) => m.reduce((sum, x) => sum + x.loss, 0) / m.length;
  assertAlmostEquals(mean(few), mean(all), 1e-12);
  assertEquals(few[1]!.validation_loss, all[19]!.validation_loss);
  assertEquals(thinOut(all, 1000), all);
});

browserTest("a browser draws the report's curves", async (browser) => {
  const folder = await Deno.makeTempDir();
  try {
    const file = join(folder, "report.html");
    await Deno.writeTextFile(file, reportHtml(DATA));
    const url = toFileUrl(file).href;
    await inEveryLook(browser, url, { name: "run-report", charts: 4 });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
