import { openSafetensors } from "../../../core/safetensors.ts";
import { join } from "../../../core/std.ts";
import { scheduleFactor } from "../../../model/training/schedule.ts";
import { resolveConfig, type ScheduleConfig } from "../../../model/training/configuration.ts";
import { assertAlmostEquals, assertEquals } from "../../assert.ts";
import { SHARED, sharedTest } from "../../shared.ts";

const schedule = (changes: Partial<ScheduleConfig>): ScheduleConfig => ({
  ...resolveConfig({}, "test").schedule,
  ...changes,
});
const curve = (s: ScheduleConfig, steps: number) =>
  Array.from({ length: steps }, (_, i) => scheduleFactor(s, i + 1, steps));

Deno.test("scheduleFactor() warms up to the peak and ends at its final share", () => {
  for (const kind of ["constant", "linear", "cosine", "wsd"] as const) {
    const s = schedule({ kind, warmup: 4, final: 0.1, stable: 0.5 });
    const factors = curve(s, 20);
    assertEquals(factors.slice(0, 4), [0.25, 0.5, 0.75, 1], kind);
    assertAlmostEquals(factors[19]!, kind === "constant" ? 1 : 0.1, 1e-12, kind);
  }
  const linear = curve(schedule({ kind: "linear", warmup: 0, final: 0 }), 10);
  assertAlmostEquals(linear[0]!, 0.9, 1e-12);
  assertAlmostEquals(linear[4]!, 0.5, 1e-12);
  const cosine = curve(schedule({ kind: "cosine", warmup: 0, final: 0 }), 10);
  assertAlmostEquals(cosine[4]!, 0.5, 1e-12);
  const wsd = curve(schedule({ kind: "wsd", warmup: 0.1, stable: 0.6, final: 0 }), 20);
  assertEquals(wsd.slice(1, 14), Array(13).fill(1));
  assertAlmostEquals(wsd[16]!, 0.5, 1e-12);
});

sharedTest("goldens", "scheduleFactor() has the shape of the goldens' cosine to a tenth", () => {
  using file = openSafetensors(join(SHARED, "goldens", "m1b_golden.safetensors"));
  const rates = file.floats("train/lrs");
  const s = schedule({ warmup: 4, final: 0.1 });
  // The goldens count steps from 0, so that their first rate is 0: the same curve, one step later.
  for (let i = 5; i < 20; i++) {
    assertAlmostEquals(3e-3 * scheduleFactor(s, i, 20), rates[i]!, 1e-8, `step ${i}`);
  }
});
