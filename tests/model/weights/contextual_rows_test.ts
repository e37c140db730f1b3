import { makeBatch } from "../../../model/mamba/batch.ts";
import { configOfSizes } from "../../../model/mamba/config.ts";
import { contextualRows, MOST_CONTEXTS } from "../../../model/weights/contextual_rows.ts";
import { stateModel } from "../../../model/mamba/hidden_states.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { EMBEDDING } from "../../../model/mamba/parameters.ts";
import { ReferenceModel } from "../../../model/mamba/reference.ts";
import { assert, assertAlmostEquals, assertEquals } from "../../assert.ts";
import { makeReference } from "../helpers.ts";

const WIDTH = 6;
const LENGTH = 16;
const CONFIG = configOfSizes({ hiddenSize: WIDTH, layers: 2, vocabSize: 12, stateSize: 3 });
const read = initialParameters(CONFIG, 3);
const EMBEDDINGS = read(EMBEDDING);
const END = CONFIG.endOfText;

/** The states after `layer` layers at every position of one row. */
function statesOf(row: number[], layer: number): Float64Array[] {
  const { config, first, read: of } = stateModel(CONFIG, read, layer);
  const model = new ReferenceModel(config, 1, row.length);
  model.writeParameters(of);
  const logits = model.logits(makeBatch([Uint16Array.from(row)], 1, row.length, END));
  const width = config.paddedVocabSize;
  return row.map((_, p) => logits.slice(p * width + first, p * width + first + WIDTH));
}

Deno.test("hidden states: their products with the embedding are the model's logits", () => {
  const row = [END, 3, 5, 5, 7, END, 11, 2, 9];
  const model = new ReferenceModel(CONFIG, 1, row.length);
  model.writeParameters(read);
  const logits = model.logits(makeBatch([Uint16Array.from(row)], 1, row.length, END));
  statesOf(row, CONFIG.layers).forEach((state, p) => {
    for (let id = 0; id < CONFIG.vocabSize; id++) {
      const product = state.reduce((sum, x, c) => sum + x * EMBEDDINGS[id * WIDTH + c]!, 0);
      assertAlmostEquals(product, logits[p * CONFIG.paddedVocabSize + id]!, 1e-12);
    }
  });
  // Before any layer they are the embeddings, by their length.
  statesOf(row, 0).forEach((state, p) => {
    const own = EMBEDDINGS.subarray(row[p]! * WIDTH, (row[p]! + 1) * WIDTH);
    const size = Math.sqrt(own.reduce((sum, x) => sum + x * x, 0) / WIDTH + CONFIG.normEpsilon);
    state.forEach((x, c) => assertAlmostEquals(x, own[c]! / size, 1e-12));
  });
});

Deno.test("contextual rows: means over pieces and contexts, with the embeddings' moments", async () => {
  // Ids 12 and 13 are new; 13 is in no text. Rows hold 16 tokens, so the last text is two.
  const pieces = [[3, 5, 7], [8, 9]];
  const done: number[] = [];
  const texts = [[12, 4], [1, 2], [6, 12, 12], [...Array.from({ length: 14 }, () => 4), 12]];
  for (const layer of [1, 2]) {
    const rows = await contextualRows({
      makeModel: makeReference,
      config: CONFIG,
      read,
      layer,
      pieces,
      texts: texts.map((t) => Uint16Array.from(t)),
      batchSize: 2,
      sequenceLength: LENGTH,
      onProgress: (n) => done.push(n),
    });
    assertEquals(rows[1], undefined);
    const lines = [[END, 3, 5, 7, 4], [END, 6, 3, 5, 7, 3, 5, 7], [END, 3, 5, 7]];
    const places = [[1], [2, 5], [1]];
    const states = lines.map((row) => statesOf(row, layer));
    const average = new Float64Array(WIDTH);
    places.forEach((starts, r) =>
      starts.forEach((at) => {
        for (let k = 0; k < 3; k++) states[r]![at + k]!.forEach((x, c) => average[c]! += x / 3 / 4);
      })
    );
    const moments = (vectors: ArrayLike<number>[]) => {
      const mean = Array.from(
        average,
        (_, c) => vectors.reduce((sum, v) => sum + v[c]!, 0) / vectors.length,
      );
      const square = vectors.reduce(
        (sum, v) => sum + mean.reduce((s, m, c) => s + (v[c]! - m) ** 2, 0),
        0,
      );
      return { mean, deviation: Math.sqrt(square / vectors.length) };
    };
    const inner = moments(states.flat());
    const outer = moments(
      lines.flat().map((id) => EMBEDDINGS.subarray(id * WIDTH, (id + 1) * WIDTH)),
    );
    const expected = average.map((x, c) =>
      outer.mean[c]! + (x - inner.mean[c]!) * outer.deviation / inner.deviation
    );
    rows[0]!.forEach((x, c) => assertAlmostEquals(x, expected[c]!, 1e-6));
  }
  assertEquals(done, []);
});

Deno.test("contextual rows: no more contexts are read than are averaged", async () => {
  let given = 0;
  const texts = (function* () {
    for (; given < 1000; given++) yield Uint16Array.from([12, 1, 12]);
  })();
  const done: number[] = [];
  const [row] = await contextualRows({
    makeModel: makeReference,
    config: CONFIG,
    read,
    layer: 1,
    pieces: [[3, 5]],
    texts,
    batchSize: 3,
    sequenceLength: LENGTH,
    onProgress: (n: number) => done.push(n),
  });
  assert(row!.every(Number.isFinite));
  assertEquals([given, done], [MOST_CONTEXTS / 2, [1]]);
});
