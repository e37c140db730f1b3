import { Interrupted } from "../../../core/errors.ts";
import { exists } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { checkpointPath, listCheckpoints } from "../../../model/training/checkpoint.ts";
import { readMetrics } from "../../../model/training/metrics.ts";
import { readRun, type RunFile } from "../../../model/training/run_file.ts";
import { trainRun } from "../../../model/training/run.ts";
import type { MakeModel } from "../../../model/mamba/types.ts";
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
} from "../../assert.ts";
import { makeReference, silentReporter, withFolder } from "../helpers.ts";
import { bytesOf, observed, prepare, withoutClock } from "./miniature_run.ts";

function copyFolder(from: string, to: string): void {
  Deno.mkdirSync(to);
  for (const { name } of Deno.readDirSync(from)) {
    Deno.copyFileSync(join(from, name), join(to, name));
  }
}

Deno.test("trainRun() resumed after a stop at any step ends with the same bytes", () =>
  withFolder(async (dir) => {
    const whole = prepare(dir, { out: join(dir, "whole") });
    await trainRun(whole);
    const random = 1 + Math.floor(11 * Math.random());
    for (const stopAt of new Set([1, 5, 11, random])) {
      const abort = new AbortController();
      const out = join(dir, `stopped-${stopAt}`);
      const makeModel = observed((step) => step === stopAt && abort.abort());
      const request = prepare(dir, { out, makeModel, signal: abort.signal });
      await assertRejects(
        () => trainRun(request),
        Interrupted,
        `Stopped after step ${stopAt} of 12`,
      );
      assertEquals(listCheckpoints(out).at(-1)!.step, stopAt);
      assert(!exists(join(out, "DONE")));
      await trainRun(prepare(dir, { out, resume: true, init: undefined, config: {} }));
      assertEquals(bytesOf(out, 12), bytesOf(whole.out, 12), `stopped at ${stopAt}`);
      assertEquals(withoutClock(out), withoutClock(whole.out));
      assertEquals(readRun(out).resumed.map((r) => r.step), [stopAt]);
    }
  }));

Deno.test("trainRun() goes on from the last checkpoint after a crash, or from the one before it", () =>
  withFolder(async (dir) => {
    const whole = prepare(dir, { out: join(dir, "whole") });
    await trainRun(whole);
    const out = join(dir, "crashed");
    const makeModel = observed((step) => {
      if (step === 12) throw new Error("power cut");
    });
    await assertRejects(() => trainRun(prepare(dir, { out, makeModel })), Error, "power cut");
    assertEquals(readMetrics(out).at(-1)!.step, 11);
    Deno.writeTextFileSync(join(out, "metrics.jsonl"), '{"step":12,"tok', { append: true });
    const last = listCheckpoints(out).at(-1)!.path;
    Deno.mkdirSync(checkpointPath(out, 11) + ".partial");
    const weights = join(last, "model.safetensors");
    const bytes = Deno.readFileSync(weights);
    bytes[bytes.length - 1]! ^= 1;
    Deno.writeFileSync(weights, bytes);
    const reporter = silentReporter();
    await trainRun(prepare(dir, { out, resume: true, config: {}, reporter }));
    assert(reporter.logged.some((l) => l.includes(`${last}: model.safetensors does not have`)));
    assert(readRun(out).resumed[0]!.step < 10);
    assertEquals(bytesOf(out, 12), bytesOf(whole.out, 12));
    assertEquals(withoutClock(out), withoutClock(whole.out));
    assert(!exists(checkpointPath(out, 11) + ".partial"));
  }));

Deno.test("trainRun() opens a lost device again and ends with the same bytes, but not for ever", () =>
  withFolder(async (dir) => {
    const whole = prepare(dir, { out: join(dir, "whole") });
    await trainRun(whole);
    /** A device that is lost at a step, so many times. */
    const losing = (at: number, times: number): MakeModel => async (...args) => {
      let lost = false;
      const made = await observed((step) => {
        lost = step === at && times-- > 0;
        if (lost) throw new Error("mapping failed");
      })(...args);
      return { ...made, lost: () => lost };
    };
    const reporter = silentReporter();
    const out = join(dir, "lost");
    await trainRun(prepare(dir, { out, makeModel: losing(7, 3), reporter }));
    assert(
      reporter.logged.some((l) => l.includes("lost (mapping failed); opening it again, 3 of 3")),
    );
    assertEquals(bytesOf(out, 12), bytesOf(whole.out, 12));
    assertEquals(withoutClock(out), withoutClock(whole.out));
    const gone = prepare(dir, { out: join(dir, "gone"), makeModel: losing(3, 4) });
    await assertRejects(() => trainRun(gone), Error, "mapping failed");
  }));

Deno.test("trainRun() of a finished run says so and changes nothing", () =>
  withFolder(async (dir) => {
    const first = await trainRun(prepare(dir));
    const reporter = silentReporter();
    const before = Deno.readTextFileSync(join(dir, "run", "run.json"));
    const again = await trainRun(prepare(dir, { resume: true, config: {}, reporter }));
    const clock = { seconds: 0, secondsHere: 0, dataSeconds: 0, tokensPerSecond: 0 };
    assertEquals({ ...again, ...clock }, { ...first, ...clock });
    assertEquals(Deno.readTextFileSync(join(dir, "run", "run.json")), before);
    assert(reporter.logged.join().includes("The run is finished"));
    // Killed before the last checkpoint took the place of older ones.
    assertEquals(listCheckpoints(join(dir, "run")).map((c) => c.step), [10, 12]);
    const older = checkpointPath(join(dir, "run"), 5);
    copyFolder(checkpointPath(join(dir, "run"), 10), older);
    await trainRun(prepare(dir, { resume: true, config: {}, reporter }));
    assertEquals(listCheckpoints(join(dir, "run")).map((c) => c.step), [10, 12]);
    const longer = await trainRun(prepare(dir, { resume: true, config: { steps: 14 }, reporter }));
    assertEquals(longer.step, 14);
    assert(reporter.logged.includes("Changed: steps: 12 -> 14"));
  }));

Deno.test("a run goes on with another batch split and device, equal within rounding, and says so", () =>
  withFolder(async (dir) => {
    const whole = prepare(dir, { out: join(dir, "whole") });
    await trainRun(whole);
    const reporter = silentReporter();
    const stop = new AbortController();
    const request = prepare(dir, { out: join(dir, "parts"), reporter, signal: stop.signal });
    const listener = { step: ({ step }: { step: number }) => void (step === 6 && stop.abort()) };
    await assertRejects(() => trainRun({ ...request, listener }), Interrupted);
    const elsewhere: MakeModel = async (...given) => ({
      ...await makeReference(...given),
      device: "another device",
    });
    const config = { batch: { rows: 1, accumulate: 3 } };
    const { signal } = new AbortController();
    await trainRun({ ...request, resume: true, config, makeModel: elsewhere, signal });
    const [{ step, changed }] = readRun(request.out).resumed as [RunFile["resumed"][number]];
    const parts = ["batch.rows: 3 -> 1", "batch.accumulate: 1 -> 3"];
    assertEquals({ step, changed }, { step: 6, changed: parts });
    const said = reporter.logged.find((line) => line.startsWith("Going on with"))!;
    assertStringIncludes(said, "another device (another device, before");
    assertStringIncludes(said, "another split of the batch (1 x 3, before 3 x 1)");
    const [one, two] = [whole, request].map(({ out }) => readMetrics(out));
    assertEquals(two!.length, one!.length);
    one!.forEach(({ loss }, i) => assertAlmostEquals(two![i]!.loss, loss, 1e-5, `step ${i + 1}`));
  }));

Deno.test("a run stops at its limit of hours, saves by the clock, and goes on to the same bytes", () =>
  withFolder(async (dir) => {
    const whole = prepare(dir, { out: join(dir, "whole") });
    await trainRun(whole);
    const reporter = silentReporter();
    const request = prepare(dir, { reporter });
    const often = { every: 0, minutes: 1e-9, keep: 2 };
    const config = { ...request.config, hours: 1e-9, checkpoint: often };
    const first = await trainRun({ ...request, config });
    assertEquals([first.step, first.finished], [0, false]);
    assert(
      reporter.logged.some((line) => line.endsWith("the limit of this run; --resume goes on")),
    );
    assert(!exists(join(request.out, "DONE")));
    const seen: number[] = [];
    const listener = {
      step() {
        seen.push(listCheckpoints(request.out).length);
      },
    };
    const rest = { ...request, resume: true, listener, init: undefined };
    const last = await trainRun({ ...rest, config: { hours: 0 } });
    assertEquals([last.step, last.finished], [12, true]);
    assertEquals(bytesOf(request.out, 12), bytesOf(whole.out, 12));
    // One after every step; of these the last two, and the best where it is older.
    assert(seen.slice(2).every((count) => count === 2 || count === 3), seen.join());
    assertEquals(listCheckpoints(request.out).slice(-2).map((c) => c.step), [11, 12]);
  }));
