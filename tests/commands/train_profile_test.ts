import { chromeTrace } from "../../commands/train_profile.ts";
import { kernelTotals, largestGaps } from "../../kernels/step_times.ts";
import { openDevice } from "../../kernels/open_device.ts";
import { configOfSizes } from "../../model/mamba/config.ts";
import { createMamba } from "../../model/mamba/mamba.ts";
import { assert, assertAlmostEquals, assertEquals } from "../assert.ts";

Deno.test("kernelTotals() sums by kernel and leaves the rest to copies and gaps", () => {
  const totals = kernelTotals([
    { label: "a NT", start: 0, ms: 2, flop: 200, bytes: 0 },
    { label: "scan", start: 3, ms: 1, flop: 25, bytes: 3e6 },
    { label: "a NT", start: 5, ms: 5, flop: 500, bytes: 0 },
  ]);
  assertEquals(totals.map((t) => [t.label, t.calls, t.ms]), [
    ["a NT", 2, 7],
    ["copies and gaps", 0, 2],
    ["scan", 1, 1],
  ]);
  assertAlmostEquals(totals[0]!.share, 0.7, 1e-9);
  assertEquals(totals[0]!.ofPeak, 1);
  assertAlmostEquals(totals[2]!.ofPeak!, 0.25, 1e-9);
  // A device that multiplies at 400 operations a ms and copies 50 bytes a ms.
  const peaks = { products: 400_000, bandwidth: 50_000 };
  const [product, , scan] = kernelTotals([
    { label: "a NT", start: 0, ms: 8, flop: 800, bytes: 80 },
    { label: "scan", start: 8, ms: 4, flop: 25, bytes: 100 },
    { label: "carry", start: 12, ms: 5, flop: 0, bytes: 0 },
  ], peaks);
  assertAlmostEquals(product!.ofPeak!, 0.25, 1e-9);
  assertAlmostEquals(scan!.ofPeak!, 0.5, 1e-9);
  assertEquals(totals.map((t) => t.gigabytes), [undefined, undefined, 3]);
});

Deno.test("a step's timeline has every kernel in order, and makes a trace", async () => {
  const device = await openDevice();
  try {
    if (!device.features.has("timestamp-query")) return;
    const config = configOfSizes({ hiddenSize: 32, layers: 2, vocabSize: 64 });
    const model = await createMamba(device, config, {
      batchSize: 1,
      sequenceLength: 16,
      precision: "mixed",
      averageDecay: 0.9,
    });
    const times = await model.timeline();
    assert(times.length > 50);
    assertEquals([times[0]!.label, times.at(-1)!.label], [
      "embedding forward",
      "adamw",
    ]);
    const uncounted = times.filter((t) => !t.flop && !t.bytes).map((t) => t.label);
    assertEquals([...new Set(uncounted)], []);
    for (let i = 1; i < times.length; i++) assert(times[i]!.start >= times[i - 1]!.start);
    const { traceEvents } = JSON.parse(chromeTrace(times));
    assertEquals(traceEvents.length, times.length);
    assertEquals(traceEvents[0].name, "embedding forward");
    model.destroy();
  } finally {
    device.destroy();
  }
});

Deno.test("largestGaps() names what a step loses most against its rooflines, with a guess", () => {
  const peaks = { products: 1e12, bandwidth: 1e11 }; // 1e9 operations and 1e8 bytes per millisecond
  const gaps = largestGaps(
    kernelTotals([
      { label: "head NT", start: 0, ms: 10, flop: 9e9, bytes: 1e6 }, // 9 ms at its roofline
      { label: "scan", start: 10, ms: 8, flop: 1e6, bytes: 2e8 }, // 2 ms of bytes
      { label: "tiny", start: 20, ms: 0.01, flop: 1, bytes: 1 },
    ], peaks),
    4,
  );
  assertEquals(gaps.map(({ label, cause }) => [label, cause]), [
    ["scan", "bandwidth"],
    ["copies and gaps", "launch gaps"],
    ["head NT", "arithmetic"],
    ["tiny", "occupancy"],
  ]);
  assertEquals(gaps.map(({ lost }) => Math.round(lost)), [6, 2, 1, 0]);
});
