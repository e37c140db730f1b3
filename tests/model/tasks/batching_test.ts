import { fittingShape, stepExamples, stepsPerEpoch } from "../../../model/tasks/core/batching.ts";
import { firstFit } from "../../../model/tasks/core/first_fit.ts";
import { assert, assertEquals } from "../../assert.ts";
import { integers } from "../../random.ts";

/** Examples as long as sentences are: mostly short, a few of them long. */
function sentences(count: number): { tokens: number[]; name: number }[] {
  const random = integers(11);
  return Array.from({ length: count }, (_, name) => {
    const long = random(40) === 0 ? random(100) : 0;
    return { tokens: new Array<number>(5 + random(30) + random(30) + long).fill(1), name };
  });
}

Deno.test("stepExamples() takes each example once an epoch, in an order of its own by the seed", () => {
  const items = sentences(10);
  const epoch = (n: number, seed = 1) => {
    const ofStep = stepExamples(items, 4, seed);
    return [0, 1, 2].map((s) => ofStep(3 * n + s).map((item) => item.name));
  };
  assertEquals(epoch(0).map((step) => step.length).sort(), [3, 3, 4]);
  for (const n of [0, 1]) {
    assertEquals(epoch(n).flat().sort((a, b) => a - b), items.map((item) => item.name));
  }
  assert(JSON.stringify(epoch(0)) !== JSON.stringify(epoch(1)));
  assert(JSON.stringify(epoch(1)) !== JSON.stringify(epoch(1, 2)));
  assertEquals(epoch(1), epoch(1));
  // A step is the same whichever was asked before, as a run that goes on asks for it first.
  const ofStep = stepExamples(items, 4, 1);
  const later = ofStep(4);
  ofStep(0);
  assertEquals(ofStep(4), later);
});

Deno.test("steps have nearly as many tokens as each other, and batches of one shape are full", () => {
  const items = sentences(1000);
  for (const [perStep, least] of [[8, 0.85], [16, 0.87], [32, 0.9]] as const) {
    const ofStep = stepExamples(items, perStep, 3);
    const steps = Array.from({ length: stepsPerEpoch(1000, perStep) }, (_, i) => ofStep(i));
    const sizes = steps.map((step) => step.reduce((sum, { tokens }) => sum + tokens.length, 0));
    const mean = sizes.reduce((a, b) => a + b) / sizes.length;
    // Of 8 examples one can be as long as all of the others.
    for (const size of perStep > 8 ? sizes : []) {
      assert(Math.abs(size - mean) < 0.2 * mean, `${perStep} a step: ${size} of ${mean}`);
    }
    const shape = fittingShape(items, { shortest: 192, perStep, most: 8, seed: 3 });
    const { rows, length } = shape;
    assert(length >= 192 && length % 32 === 0 && rows * length <= 8 * 192);
    const batches = steps.reduce(
      (sum, step) => sum + Math.ceil(firstFit(step, length).length / rows),
      0,
    );
    const fill = mean * sizes.length / (batches * rows * length);
    assert(fill > least, `${perStep} per step: ${fill}`);
    assert(Math.abs(fill - shape.fill) < 0.03, `${perStep} per step: ${fill}, not ${shape.fill}`);
  }
});

Deno.test("fittingShape() takes rows that the longest example fits, within the places given", () => {
  const even = Array.from({ length: 40 }, () => ({ tokens: [1, 2, 3, 4, 5] }));
  const shape = (perStep: number, most: number) =>
    fittingShape(even, { shortest: 10, perStep, most, seed: 1 });
  assertEquals(shape(8, 16), { rows: 4, length: 10, fill: 1 });
  // Twice two rows of ten rather than three and one.
  assertEquals(shape(8, 3), { rows: 2, length: 10, fill: 1 });
  assertEquals(shape(1, 16), { rows: 1, length: 10, fill: 0.5 });
});
