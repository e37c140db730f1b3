import { crf, crfFloats, crfScratch, crfWidth } from "../../kernels/crf/crf.ts";
import { dropout, DROPOUT_BYTES, dropoutState } from "../../kernels/dropout/dropout.ts";
import { labelLoss } from "../../kernels/label_loss/label_loss.ts";
import { padded, PANEL } from "../../kernels/layout.ts";
import {
  featureColumns,
  initialFeatures,
  readoutBackward,
  readoutForward,
  readoutLists,
} from "../../kernels/readout/readout.ts";
import { sparseBackward, sparseForward, sparseLists } from "../../kernels/sparse/sparse.ts";
import * as reference from "../../kernels/reference/mod.ts";
import { assert, assertEquals, assertThrows } from "../assert.ts";
import { assertClose, type Board, deviceTest } from "./board.ts";
import { randoms } from "./randoms.ts";

/** Fails where a gradient differs from central differences of the loss. */
function assertGradient(
  what: string,
  loss: (x: Float64Array) => number,
  at: Float64Array,
  gradient: Float64Array,
): void {
  const largest = Math.max(...gradient.map(Math.abs));
  const h = 1e-6;
  at.forEach((value, i) => {
    const moved = at.slice();
    moved[i] = value + h;
    const up = loss(moved);
    moved[i] = value - h;
    const difference = (up - loss(moved)) / (2 * h);
    const off = Math.abs(difference - (gradient[i] ?? 0));
    assert(off <= 1e-6 * (1 + largest), `${what} at ${i}: ${gradient[i]}, not ${difference}`);
  });
}

const parametersOf = (flat: Float64Array, labels: number): reference.CrfParameters => ({
  begin: flat.slice(0, labels),
  end: flat.slice(labels, 2 * labels),
  transition: flat.slice(2 * labels),
});

const flatten = ({ begin, end, transition }: reference.CrfParameters): Float64Array =>
  Float64Array.from([...begin, ...end, ...transition]);

Deno.test("crf reference: the sum over all paths, and gradients by differences", () => {
  const labels = 3;
  for (const length of [1, 2, 4]) {
    const emissions = randoms(length * labels, 1);
    const flat = randoms(crfFloats(labels), 2);
    const targets = Array.from({ length }, (_, t) => (t * 2 + 1) % labels);
    const { loss, demissions, gradient } = reference.crf(
      emissions,
      targets,
      parametersOf(flat, labels),
    );
    // Every path, one by one.
    const { begin, end, transition } = parametersOf(flat, labels);
    const score = (path: number[]) =>
      path.reduce(
        (sum, k, t) =>
          sum + (emissions[t * labels + k] ?? 0) +
          (t ? transition[(path[t - 1] ?? 0) * labels + k] ?? 0 : begin[k] ?? 0),
        end[path.at(-1) ?? 0] ?? 0,
      );
    const paths = Array.from(
      { length: labels ** length },
      (_, n) => targets.map((_, t) => Math.floor(n / labels ** t) % labels),
    );
    const z = paths.reduce((sum, path) => sum + Math.exp(score(path)), 0);
    assert(Math.abs(loss - (Math.log(z) - score(targets))) < 1e-12);
    const best = paths.reduce((a, b) => score(b) > score(a) ? b : a);
    assertEquals(reference.viterbi(emissions, { begin, end, transition }), best);
    const at = (e: Float64Array, f: Float64Array) =>
      reference.crf(e, targets, parametersOf(f, labels)).loss;
    assertGradient("emissions", (x) => at(x, flat), emissions, demissions);
    assertGradient("parameters", (x) => at(emissions, x), flat, flatten(gradient));
  }
});

Deno.test("label losses' references: gradients by differences", () => {
  const weights = [1, 0.5, 0];
  const cases = [
    { kind: "softmax", labels: 4, targets: [2, 0, 1] },
    { kind: "sigmoid", labels: 2, targets: [1, 0, 0, 1, 1, 1] },
    { kind: "squared", labels: 1, targets: [0.3, -1, 2] },
  ] as const;
  for (const { kind, labels, targets } of cases) {
    const logits = randoms(3 * labels, 5);
    const { dlogits } = reference.labelLoss(kind, logits, labels, targets, weights);
    const loss = (x: Float64Array) =>
      reference.labelLoss(kind, x, labels, targets, weights).loss.reduce((a, b) => a + b, 0);
    assertGradient(kind, loss, logits, dlogits);
  }
});

Deno.test("dropout's reference: the share that is dropped, and masks that differ by seed", () => {
  const ones = new Float64Array(20_000).fill(1);
  const one = reference.dropout(ones, 7, 0.2);
  const other = reference.dropout(ones, 8, 0.2);
  const dropped = one.filter((x) => x === 0).length / ones.length;
  assert(Math.abs(dropped - 0.2) < 0.01, `${dropped} were dropped`);
  assert(one.filter((x, i) => x === 0 && other[i] === 0).length < 0.06 * ones.length);
  assertEquals(new Set(one), new Set([0, 1.25]));
  // Whole rows are dropped besides, and what is left is not divided for them.
  const rows = reference.dropout(ones, 7, 0, { rowRate: 0.3, columns: 20 });
  const sums = Array.from(
    { length: 1000 },
    (_, r) => rows.slice(20 * r, 20 * (r + 1)).reduce((a, b) => a + b),
  );
  assertEquals(new Set(sums), new Set([0, 20]));
  const gone = sums.filter((x) => x === 0).length / 1000;
  assert(Math.abs(gone - 0.3) < 0.04, `${gone} of the rows were dropped`);
});

/** Lists as a batch might have them: rows shared, empty items, several rows for a slot. */
function entriesOf(items: number, slots: number, rows: number): reference.ReadoutEntry[] {
  const entries: reference.ReadoutEntry[] = [];
  for (let item = 0; item < items; item++) {
    if (item % 5 === 3) continue;
    for (let slot = 0; slot < slots; slot++) {
      const count = 1 + (item + slot) % 3;
      for (let j = 0; j < count; j++) {
        entries.push({ item, slot, row: (item * 7 + slot * 3 + j) % rows, weight: 1 / count });
      }
    }
  }
  return entries;
}

const u32 = (board: Board, values: Uint32Array) => board.flat(values);

deviceTest("readout: equals the reference at awkward sizes", async (board) => {
  const sizes = [[1, 1, 1, 32], [17, 2, 33, 37], [33, 4, 257, 64], [70, 1, 20, 100]] as const;
  for (const [items, slots, rows, d] of sizes) {
    const at = `${items} items, ${slots} slots, ${rows} x ${d}`;
    const entries = entriesOf(items, slots, rows);
    const lists = readoutLists(entries, { items, slots, rows, capacity: entries.length + 3 });
    const hidden = randoms(rows * d, 1);
    const columns = featureColumns(slots, d);
    const features = board.matrix(undefined, items, columns);
    const first = initialFeatures(items, slots, d);
    const padding = await board.readPanels(features);
    board.writePanels(features, first.map((x, i) => padding[i] ? padding[i] ?? 0 : x));
    const dense = randoms(items * slots * d, 2);
    const spreadOut = new Float64Array(items * columns);
    const width = padded(d);
    for (let item = 0; item < items; item++) {
      for (let slot = 0; slot < slots; slot++) {
        for (let c = 0; c < d; c++) {
          spreadOut[item * columns + slot * width + c] = dense[(item * slots + slot) * d + c] ?? 0;
        }
      }
    }
    const H = board.matrix(hidden, rows, d);
    const dfeatures = board.matrix(spreadOut, items, columns);
    const dhidden = board.matrix(randoms(rows * d, 3), rows, d);
    await board.run((plan) => {
      readoutForward(plan, {
        hidden: H,
        features,
        slots,
        slotStarts: u32(board, lists.slotStarts),
        slotRows: u32(board, lists.slotRows),
        slotWeights: board.flat(lists.slotWeights),
      });
      readoutBackward(plan, {
        dfeatures,
        dhidden,
        slots,
        rowStarts: u32(board, lists.rowStarts),
        rowSlots: u32(board, lists.rowSlots),
        rowWeights: board.flat(lists.rowWeights),
      });
    });
    const want = reference.readout(hidden, d, entries, items, slots);
    const got = await board.values(features);
    const packed = Float64Array.from(want, (_, i) => {
      const item = Math.floor(i / (slots * d));
      const slot = Math.floor(i / d) % slots;
      return got[item * columns + slot * width + i % d] ?? NaN;
    });
    assertClose(`${at} features`, packed, want, 1e-6);
    for (let item = 0; item < items; item++) {
      assertEquals(got[item * columns + columns - PANEL], 1, `${at}: the bias of item ${item}`);
    }
    const wantBack = reference.readoutBackward(dense, d, entries, rows, slots);
    assertClose(`${at} dhidden`, await board.values(dhidden), wantBack, 1e-6);
    board.clear();
  }
});

deviceTest("label losses: equal the reference at awkward sizes", async (board) => {
  for (const [rows, labels] of [[1, 1], [17, 3], [33, 40], [257, 13]] as const) {
    for (const kind of ["softmax", "sigmoid", "squared"] as const) {
      const width = kind === "squared" ? 1 : labels;
      const at = `${kind} ${rows} x ${width}`;
      const logits = randoms(rows * width, 1).map((x) => 4 * x);
      const targets = kind === "softmax"
        ? Array.from({ length: rows }, (_, r) => r * 5 % labels)
        : kind === "sigmoid"
        ? Array.from({ length: rows * width }, (_, i) => Number(i % 3 === 0))
        : [...randoms(rows, 2)];
      const weights = Array.from({ length: rows }, (_, r) => r % 4 === 3 ? 0 : 0.5 + r % 3);
      const scale = 0.25;
      const want = reference.labelLoss(kind, logits, width, targets, weights);
      const L = board.matrix(logits, rows, width);
      const kept = board.matrix(logits, rows, width);
      const loss = board.flat(rows);
      const alone = board.flat(rows);
      await board.run((plan) => {
        const shared = {
          kind,
          targets: board.flat(kind === "softmax" ? Int32Array.from(targets) : targets),
          weights: board.flat(weights),
        };
        labelLoss(plan, { ...shared, logits: L, loss, scale: board.flat([scale]) });
        labelLoss(plan, { ...shared, logits: kept, loss: alone });
      });
      assertClose(`${at} loss`, await board.floats(loss, rows), want.loss);
      assertClose(`${at} loss alone`, await board.floats(alone, rows), want.loss);
      assertClose(`${at} kept`, await board.values(kept), logits, 1e-7);
      assertClose(`${at} gradient`, await board.values(L), want.dlogits.map((x) => scale * x));
      board.clear();
    }
  }
});

deviceTest("crf: equals the reference for sequences of many lengths", async (board) => {
  for (const labels of [1, 3, 5, 9]) {
    const lengths = [1, 0, 2, 17, 40, 3, 1, 33];
    const starts = lengths.reduce((list, n) => [...list, (list.at(-1) ?? 0) + n], [0]);
    const rows = starts.at(-1) ?? 0;
    const emissions = randoms(rows * labels, 1).map((x) => 3 * x);
    const flat = randoms(crfFloats(labels), 2);
    const targets = Int32Array.from({ length: rows }, (_, t) => t * 3 % labels);
    const scale = 0.5;
    const parameters = parametersOf(flat, labels);
    const wantLoss = new Float64Array(rows);
    const wantEmissions = new Float64Array(rows * labels);
    const before = randoms(crfFloats(labels), 3);
    const wantParameters = before.slice();
    lengths.forEach((length, s) => {
      if (!length) return;
      const from = starts[s] ?? 0;
      const own = emissions.slice(from * labels, (from + length) * labels);
      const result = reference.crf(own, targets.slice(from, from + length), parameters);
      wantLoss[from] = result.loss;
      result.demissions.forEach((x, i) => wantEmissions[from * labels + i] = scale * x);
      flatten(result.gradient).forEach((x, i) => {
        wantParameters[i] = (wantParameters[i] ?? 0) + scale * x;
      });
    });
    const logits = board.matrix(emissions, rows, labels);
    const kept = board.matrix(emissions, rows, labels);
    const loss = board.flat(rows);
    const alone = board.flat(rows);
    const dparameters = board.flat(before);
    await board.run((plan) => {
      const shared = {
        starts: board.flat(Uint32Array.from(starts)),
        sequences: lengths.length,
        targets: board.flat(targets),
        parameters: board.flat(flat),
        scratch: board.flat(crfScratch(rows, labels)),
      };
      crf(plan, {
        ...shared,
        logits,
        loss,
        gradients: {
          scale: board.flat([scale]),
          dparameters,
          partials: board.flat(lengths.length * crfWidth(labels)),
        },
      });
      crf(plan, { ...shared, logits: kept, loss: alone });
    });
    const at = `${labels} labels`;
    assertClose(`${at} loss`, await board.floats(loss, rows), wantLoss, 1e-5);
    assertClose(`${at} loss alone`, await board.floats(alone, rows), wantLoss, 1e-5);
    assertClose(`${at} emissions`, await board.values(logits), wantEmissions, 1e-5);
    assertClose(
      `${at} parameters`,
      await board.floats(dparameters, crfFloats(labels)),
      wantParameters,
      1e-5,
    );
    board.clear();
  }
});

deviceTest("dropout: the reference's mask, and nothing at rate 0", async (board) => {
  for (const [rows, cols] of [[1, 32], [17, 37], [257, 100]] as const) {
    const values = randoms(rows * cols, 1);
    const some = board.matrix(values, rows, cols);
    const all = board.matrix(values, rows, cols);
    const whole = board.matrix(values, rows, cols);
    const state = board.flat(dropoutState(1234567, 0.2));
    const rowState = board.flat(dropoutState(1234567, 0.2, 0.25));
    const none = board.flat(dropoutState(1234567, 0));
    assertEquals(state.size >= DROPOUT_BYTES, true);
    await board.run((plan) => {
      dropout(plan, some, state);
      dropout(plan, all, none);
      dropout(plan, whole, rowState);
    });
    const want = reference.dropout(values, 1234567, 0.2);
    assertClose(`${rows} x ${cols}`, await board.values(some), want, 1e-6);
    const wantRows = reference.dropout(values, 1234567, 0.2, { rowRate: 0.25, columns: cols });
    assertClose(`${rows} x ${cols} rows`, await board.values(whole), wantRows, 1e-6);
    assertClose(`${rows} x ${cols} kept`, await board.values(all), values, 1e-7);
    board.clear();
  }
});

/** Features of items: none, one, one twice, many; the last feature of the table among them. */
function featuresOf(items: number, features: number): Uint32Array[] {
  return Array.from({ length: items }, (_, item) => {
    const count = item % 6 === 4 ? 0 : 1 + item * 3 % 7;
    const own = Array.from({ length: count }, (_, j) => (item * 5 + j * j * 3) % features);
    return Uint32Array.from(item % 6 === 2 ? [...own, features - 1, features - 1] : own);
  });
}

Deno.test("sparse features' reference: gradients by differences", () => {
  const [items, features, labels] = [7, 9, 3];
  const lists = featuresOf(items, features);
  const table = randoms(features * labels, 1);
  const weights = randoms(items * labels, 2);
  const loss = (t: Float64Array) =>
    reference.sparseLogits(lists, t, labels).reduce((sum, x, i) => sum + x * (weights[i] ?? 0), 0);
  const gradient = reference.sparseLogitsBackward(lists, weights, { features, labels });
  assertGradient("the table", loss, table, gradient);
});

deviceTest("sparse features: equal the reference at awkward sizes", async (board) => {
  const sizes = [[1, 1, 1], [17, 33, 3], [33, 257, 40], [257, 1000, 13]] as const;
  for (const [items, features, labels] of sizes) {
    const at = `${items} items, ${features} features, ${labels} labels`;
    const lists = featuresOf(items, features);
    const capacity = lists.reduce((sum, own) => sum + own.length, 0) + 3;
    // There is room for more items than there are: the last ones have no features.
    const room = items + 2;
    const found = sparseLists(lists, { items: room, features, capacity });
    const table = randoms(features * labels, 1);
    const before = randoms(room * labels, 2);
    const dlogits = randoms(room * labels, 3);
    const gradientBefore = randoms(features * labels, 4);
    const logits = board.matrix(before, room, labels);
    const dtable = board.flat(gradientBefore);
    await board.run((plan) => {
      sparseForward(plan, {
        table: board.flat(table),
        itemStarts: u32(board, found.itemStarts),
        itemFeatures: u32(board, found.itemFeatures),
        logits,
      });
      sparseBackward(plan, {
        dlogits: board.matrix(dlogits, room, labels),
        segments: u32(board, found.segments),
        segmentFeatures: u32(board, found.segmentFeatures),
        segmentItems: u32(board, found.segmentItems),
        dtable,
        capacity,
      });
    });
    const all = [...lists, ...Array.from({ length: room - items }, () => new Uint32Array())];
    const added = reference.sparseLogits(all, table, labels);
    const wanted = before.map((x, i) => x + (added[i] ?? 0));
    assertClose(`${at} logits`, await board.values(logits), wanted, 1e-6);
    const back = reference.sparseLogitsBackward(all, dlogits, { features, labels });
    const total = gradientBefore.map((x, i) => x + (back[i] ?? 0));
    assertClose(`${at} dtable`, await board.floats(dtable, features * labels), total, 1e-6);
    board.clear();
  }
});

Deno.test("sparse features that the table or the room does not have are refused", () => {
  const size = { items: 2, features: 4, capacity: 3 };
  assertThrows(() => sparseLists([[4]], size), RangeError, "Feature 4 of item 0");
  assertThrows(() => sparseLists([[0, 1], [2, 3]], size), RangeError, "4 features of 2 items");
  assertThrows(() => sparseLists([[0], [1], [2]], size), RangeError, "with room for 3 of 2");
});
