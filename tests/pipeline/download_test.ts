/** What a user sees of a download, and that Ctrl-C ends it at once and keeps what came. @module */
import { join } from "../../core/std.ts";
import { DownloadMeter } from "../../pipeline/ingest/download_meter.ts";
import { openSource } from "../../pipeline/source/open.ts";
import { Interrupted } from "../../core/errors.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "../assert.ts";
import { ROOT } from "../shared.ts";
import { type Fault, nameOf, serveFile, withFolder, withServer } from "./support.ts";

const FIXTURES = join(ROOT, "fixtures/mirror");

Deno.test("the meter counts what came, the share of files, and the speed of the last seconds", () => {
  let now = 0;
  const meter = new DownloadMeter(() => now);
  meter.update("a", 500, 1000); // 500 bytes are from an earlier run
  meter.update("b", 0, 4000);
  now = 1000;
  meter.update("a", 1000, 1000);
  meter.update("b", 1000, 4000);
  assertEquals(meter.figures, { bytes: 1500, bytesPerSecond: 1500, files: 1.25 });
  meter.finished("a");
  assertEquals(meter.figures.files, 1.25);
  for (let second = 2; second <= 20; second++) {
    now = 1000 * second;
    meter.update("b", 1000 + 100 * (second - 1), 4000);
  }
  const { bytes, bytesPerSecond } = meter.figures;
  assertEquals([bytes, bytesPerSecond], [3400, 100]);
  meter.update("b", 200, 4000); // from the start again: nothing is taken back
  assertEquals(meter.figures.bytes, 3400);
});

/** Sends 3,000 bytes of every file and then nothing more. */
const stalls: Fault = async (request, path) => {
  if (!path.endsWith(".xml.gz")) return undefined;
  const whole = serveFile(request, join(FIXTURES, path));
  const data = new Uint8Array(await whole.arrayBuffer());
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(data.slice(0, 3000)),
  });
  return new Response(body, { status: whole.status, headers: whole.headers });
};

/** Waits for something that will come. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

const sizeOf = (path: string): number => {
  try {
    return Deno.statSync(path).size;
  } catch {
    return 0;
  }
};

Deno.test("Ctrl-C in a download asks for nothing more, keeps what came, and says so", () =>
  withFolder((folder) =>
    withServer(FIXTURES, async (url, requests) => {
      const corpus = join(folder, "corpus");
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", join(ROOT, "main.ts"), "pipeline", "run"].concat(
          ["--source", url, "--corpus", corpus, "--connections", "2", "--workers", "1"],
        ),
        stdout: "null",
        stderr: "piped",
      }).spawn();
      const partial = (n: number) => join(corpus, "raw", nameOf(n) + ".partial");
      await until(() => [1, 2].every((n) => sizeOf(partial(n)) === 3000));
      const asked = requests.length;
      child.kill("SIGINT");
      const { code, stderr } = await child.output();
      const text = new TextDecoder().decode(stderr);
      assertEquals(code, 130, text);
      assertEquals(requests.slice(asked).map((r) => r.path), []);
      assertEquals([1, 2].map((n) => sizeOf(partial(n))), [3000, 3000]);
      assertStringIncludes(text, "Stopping; what has come is kept");
      assertStringIncludes(text, "Stopped; 0 of 5 files are in, and what came of others is kept");
      assert(!text.includes("step"), text);
    }, stalls)
  ));

Deno.test("a request that begins after the signal is not sent", () =>
  withServer(FIXTURES, async (url, requests) => {
    await assertRejects(() => openSource(url).list(AbortSignal.abort()), Interrupted);
    assertEquals(requests.length, 0);
  }));

Deno.test("the bar of a download has files, bytes, speed and a time left", () =>
  withFolder((folder) =>
    withServer(FIXTURES, async (url) => {
      const words = `pipeline run --source ${url} --corpus ${folder}/c --workers 1`;
      const program = `"${Deno.execPath()}" run -A --no-check "${join(ROOT, "main.ts")}" ${words}`;
      let stdout: Uint8Array;
      try {
        ({ stdout } = await new Deno.Command("script", {
          args: ["-qec", `stty cols 100 rows 24; ${program}`, "/dev/null"],
          env: { NO_COLOR: "1" },
        }).output());
      } catch {
        return; // there is no `script` here
      }
      const bars = new TextDecoder().decode(stdout).split("\r").filter((l) => l.includes("Files "));
      assert(
        bars.some((line) =>
          /\] Files \d\/5 files, [\d.]+ k?B, [\d.]+ k?M?B\/s, .* left/.test(line)
        ),
        bars.join("\n"),
      );
    }, async (request, path) => {
      if (!path.endsWith(".xml.gz")) return undefined;
      const whole = serveFile(request, join(FIXTURES, path));
      const data = new Uint8Array(await whole.arrayBuffer());
      let at = 0;
      const body = new ReadableStream({
        async pull(controller) {
          if (at >= data.length) return controller.close();
          await new Promise((resolve) => setTimeout(resolve, 60));
          controller.enqueue(data.slice(at, at += Math.ceil(data.length / 8)));
        },
      });
      return new Response(body, { headers: whole.headers });
    })
  ));
