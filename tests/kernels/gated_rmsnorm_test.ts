import {
  gatedRmsNormBackward,
  gatedRmsNormForward,
  gatedRmsNormScratch,
} from "../../kernels/gated_rmsnorm/gated_rmsnorm.ts";
import * as reference from "../../kernels/reference/mod.ts";
import { assertClose, type Board, deviceTest } from "./board.ts";
import { randoms } from "./randoms.ts";

interface Case {
  rows: number;
  columns: number;
  groups: number;
  normBeforeGate: boolean;
  half?: "f16";
  /** Columns before z in its matrix. */
  zColumn?: number;
}

async function check(board: Board, o: Case): Promise<void> {
  const { rows, columns, groups, normBeforeGate, half, zColumn = 0 } = o;
  const count = rows * columns;
  const z = randoms(count, 2).map((v) => half ? Math.f16round(3 * v) : Math.fround(3 * v));
  const input = { x: randoms(count, 1), z, weight: randoms(columns, 3), epsilon: 1e-5 };
  const dy = randoms(count, 4);
  const want = reference.gatedRmsNorm({ ...input, groups, normBeforeGate });
  const g = reference.gatedRmsNormBackward({ ...input, groups, normBeforeGate }, dy);
  const matrix = (values?: Float64Array, type?: "f16") => board.matrix(values, rows, columns, type);
  const x = matrix(input.x);
  const before = new Float64Array(rows * (zColumn + columns));
  for (let i = 0; i < count; i++) {
    before[Math.floor(i / columns) * (zColumn + columns) + zColumn + i % columns] = z[i] ?? NaN;
  }
  const shared = {
    x,
    z: board.matrix(before, rows, zColumn + columns, half),
    zColumn,
    weight: board.flat(input.weight),
    inverseRms: board.flat(groups * x.stride),
    groups,
    columns,
    epsilon: 1e-5,
    normBeforeGate,
  };
  const y = matrix(undefined, half);
  const dx = matrix(dy);
  const dz = matrix(undefined, half);
  const dweight = board.flat(columns);
  await board.run((plan) => {
    gatedRmsNormForward(plan, { ...shared, y });
    const scratch = board.flat(gatedRmsNormScratch(plan, rows, columns));
    gatedRmsNormBackward(plan, { ...shared, dy: dx, dz, dweight, scratch });
  });
  assertClose("y", await board.values(y), want, half ? 5e-4 : undefined);
  assertClose("dx", await board.values(dx), g.dx);
  assertClose("dz", await board.values(dz), g.dz, half ? 5e-4 : undefined);
  assertClose("dweight", await board.floats(dweight, columns), g.dweight);
}

for (const normBeforeGate of [false, true]) {
  const order = normBeforeGate ? "before" : "after";
  deviceTest(`gated rmsnorm ${order} the gate, odd columns`, async (board) => {
    await check(board, { rows: 1, columns: 37, groups: 1, normBeforeGate });
    await check(board, { rows: 257, columns: 65, groups: 1, normBeforeGate });
    await check(board, { rows: 20, columns: 64, groups: 1, normBeforeGate, zColumn: 96 });
  }, { reduces: true });
  deviceTest(`gated rmsnorm ${order} the gate, groups, f16`, async (board) => {
    await check(board, { rows: 17, columns: 96, groups: 3, normBeforeGate });
    await check(board, { rows: 33, columns: 256, groups: 8, normBeforeGate, half: "f16" });
  });
}
