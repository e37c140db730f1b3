import { UserError } from "../../core/errors.ts";
import { join } from "../../core/std.ts";
import { readMetrics, type StepMetrics } from "../../model/training/metrics.ts";
import { readSamples } from "../../model/training/samples.ts";
import { trainRun } from "../../model/training/run.ts";
import { History } from "../../model/watch/history.ts";
import { openWatch } from "../../model/watch/mod.ts";
import { WatchServer } from "../../model/watch/server.ts";
import { assert, assertAlmostEquals, assertEquals, assertRejects } from "../assert.ts";
import { browserTest, type Page } from "../browser.ts";
import { withFolder } from "./helpers.ts";
import { readingRun } from "./training/reading_run.ts";

const metricsOf = (step: number): StepMetrics => ({
  step,
  tokens: step * 100,
  loss: 3 + 1 / step,
  learning_rate: 1e-3,
  grad_norm: 2,
  tokens_per_second: 50,
  ...(step % 10 === 0 ? { validation_loss: 3.5 } : {}),
});

const HOST = "127.0.0.1:1234";
const ask = (server: WatchServer, path = "/", init: RequestInit = {}, host = HOST) =>
  server.handle(new Request(`http://${HOST}${path}`, { headers: { host }, ...init }), [HOST]);

interface ServerSentEvent {
  name: string;
  data: Record<string, unknown>;
}

/** Events of a stream as they come; signs of life left out. */
async function* eventsOf(response: Response): AsyncGenerator<ServerSentEvent> {
  let text = "";
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    text += piece;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const block = text.slice(0, end);
      const name = /^event: (.*)$/m.exec(block)?.[1];
      text = text.slice(end + 2);
      if (name) yield { name, data: JSON.parse(/^data: (.*)$/m.exec(block)![1]!) };
    }
  }
}

Deno.test("History keeps few points, each the mean of its steps, and forgets none", () => {
  const history = new History(100);
  for (let step = 1; step <= 5000; step++) history.add(metricsOf(step));
  const { points, stepsPerPoint } = history;
  assert(points.length <= 101 && points.length > 50, `${points.length} points`);
  assertEquals(stepsPerPoint, 64);
  assertEquals(points.at(-1)!.step, 5000);
  let from = 1;
  for (const point of points) {
    let sum = 0;
    for (let step = from; step <= point.step; step++) sum += metricsOf(step).loss;
    assertAlmostEquals(point.loss, sum / (point.step - from + 1), 1e-12);
    from = point.step + 1;
  }
});

Deno.test("WatchServer answers its own host, and only what there is", async () => {
  const server = new WatchServer("a <run>");
  const page = ask(server);
  assertEquals(page.status, 200);
  const html = await page.text();
  assert(html.includes("<h1>a &lt;run&gt;</h1>") && html.includes("EventSource"));
  assert(!/(src|href)="(?!data:)/.test(html), "no outside file");
  assert(page.headers.get("content-security-policy")!.includes("default-src 'none'"));
  const refused = [
    [ask(server, "/", {}, "evil.example"), 403],
    [ask(server, "/", { method: "POST" }), 405],
    [ask(server, "/metrics.jsonl"), 404],
  ] as const;
  for (const [response, status] of refused) {
    assertEquals(response.status, status);
    await response.text();
  }
  server.close();
});

Deno.test("WatchServer tells who connects everything, then what is new, and cuts off who lags", async () => {
  const server = new WatchServer("run");
  server.began(30, [1, 2, 3].map(metricsOf), [], "tiny");
  server.steps([metricsOf(4)]);
  const events = eventsOf(ask(server, "/events"));
  const next = async () => (await events.next()).value as ServerSentEvent;
  const first = await next();
  assertEquals(first.name, "everything");
  assertEquals((first.data.columns as { step: number[] }).step, [1, 2, 3, 4]);
  assertEquals([first.data.steps, first.data.subtitle], [30, "tiny"]);
  server.steps([metricsOf(5), metricsOf(6)]);
  const { name, data } = await next();
  assertEquals([name, data.step, data.loss], ["steps", [5, 6], [3 + 1 / 5, 3 + 1 / 6]]);
  const sample = { step: 6, prompt: "no", text: " way", temperature: 0, seed: 0 };
  server.sampled([sample]);
  assertEquals(await next() as unknown, { name: "samples", data: [sample] });
  // Back at step 2: what was later is gone.
  server.began(30, [1, 2].map(metricsOf), [], "tiny");
  assertEquals(((await next()).data.columns as { step: number[] }).step, [1, 2]);
  const idle = ask(server, "/events");
  assertEquals(server.readers, 2);
  for (let i = 0; i < 600; i++) server.sampled([sample]);
  assertEquals(server.readers, 0);
  await idle.body!.cancel();
  await events.return(undefined);
  server.close();
});

Deno.test("openWatch() says where it cannot listen", () =>
  withFolder(async (dir) => {
    const watch = await openWatch(dir, 0, () => {});
    const port = Number(new URL(watch.url).port);
    await assertRejects(
      () => openWatch(dir, port, () => {}),
      UserError,
      `Cannot watch at port ${port}: something else listens there; name another with --watch`,
    );
    await watch.close("finished");
  }));

/** What the page shows of its charts and its state. */
const SHOWN = `({
  step: document.body.dataset.step,
  status: document.body.dataset.status,
  charts: document.querySelectorAll("canvas").length,
  samples: [...document.querySelectorAll("#samples .sample")].map((p) => p.textContent),
  tiles: [...document.querySelectorAll(".tile b")].map((b) => b.textContent),
})`;

interface Shown {
  step: string;
  status: string;
  charts: number;
  samples: string[];
  tiles: string[];
}

async function waitFor(page: Page, selector: string): Promise<Shown> {
  await page.waitForSelector(selector, { timeout: 120_000 });
  return await page.evaluate(SHOWN) as Shown;
}

browserTest(
  "a browser watches a run, and comes back when it does",
  (browser) =>
    withFolder(async (dir) => {
      const abort = new AbortController();
      const first = readingRun(dir, "run", { signal: abort.signal });
      const watch = await openWatch(first.out, 0, () => {});
      const port = Number(new URL(watch.url).port);
      const page = await browser.newPage({ viewport: { width: 1240, height: 1500 } });
      const errors: string[] = [];
      page.on("pageerror", (error) => errors.push(error.message!));
      await page.goto(watch.url);
      await waitFor(page, "body[data-status='Starting']");
      const listener = {
        ...watch,
        step(metrics: StepMetrics) {
          watch.step(metrics);
          if (metrics.step === 6) abort.abort(); // the next one may be on its way already
        },
      };
      await trainRun({ ...first, listener }).catch(() => {});
      await watch.close("stopped");
      const stopped = readMetrics(first.out).length;
      assert(stopped === 6 || stopped === 7, `the run stopped after step ${stopped}`);
      const half = await waitFor(
        page,
        `body[data-step='${stopped}'][data-status^='Stopped after']`,
      );
      assertEquals(half.charts, 4);
      assertEquals(half.samples, readSamples(first.out).map((s) => s.prompt + s.text));
      const again = await openWatch(first.out, port, () => {});
      const rest = readingRun(dir, "run", { resume: true, config: {}, listener: again });
      await trainRun(rest);
      await waitFor(page, "body[data-step='12'][data-last='12']");
      await again.close("finished");
      const end = await waitFor(page, "body[data-status^='Finished']");
      const metrics = readMetrics(first.out);
      assertEquals(end.tiles.slice(0, 3), [
        "12 / 12",
        metrics.at(-1)!.loss.toFixed(3),
        metrics.at(-1)!.validation_loss!.toFixed(3),
      ]);
      assertEquals(end.samples.length, 6);
      assertEquals(errors, []);
      const shots = Deno.env.get("PUBMAMBA_SCREENSHOTS");
      if (shots) await page.screenshot({ path: join(shots, "watch.png"), fullPage: true });
      await page.close();
    }),
);
