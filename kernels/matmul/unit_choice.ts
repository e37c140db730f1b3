/** How products on matrix units are cut up: see subgroup_matrix.ts. @module */
import type { Device } from "../device.ts";
import type { Matrix } from "../layout.ts";
import {
  blocks,
  type MatmulChoice,
  splits,
  type Stages,
  type Tile,
  tileExtents,
} from "./choice.ts";
import type { MatrixUnits } from "./matrix_units.ts";
import type { Operands } from "./mod.ts";

/** Values of K in a slab. */
export const UNIT_DEPTH = 32;
/** Vectors (8 f16, 16 bytes) of a chunk's line in shared memory, padding included. */
export const LINE = 5;
/** Vectors of a chunk: 32 lines of 32 values. */
export const CHUNK = 32 * LINE;

/** How a tile is dealt out to subgroups, rows x columns of them. */
export const SUBGROUPS: Record<Tile, [number, number]> = {
  "64x64": [2, 2],
  "128x64": [2, 2],
  "64x128": [2, 2],
  "128x128": [4, 2],
  "256x128": [4, 2],
  "128x256": [2, 4],
};

/** Matrices of f16 that stand for one stored so: itself, or its rounding and what that left. */
export const partsOf = (stored: Pick<Matrix, "type">): number => stored.type === "f16" ? 1 : 2;

/** Bytes of shared memory that a program takes; without stages a chunk a subgroup, to store C. */
export function unitBytes(
  { tile, stages = 1 }: Pick<MatmulChoice, "tile" | "stages">,
  { a, b }: Pick<Operands, "a" | "b">,
): number {
  const { rows, cols } = tileExtents(tile), [down, across] = SUBGROUPS[tile];
  const chunks = stages * (partsOf(a) * rows + partsOf(b) * cols) / 32;
  return (chunks || down * across) * CHUNK * 16;
}

/** Workgroup invocations of a tile. */
export const unitThreads = (tile: Tile, { lanes }: Pick<MatrixUnits, "lanes">): number =>
  SUBGROUPS[tile][0] * SUBGROUPS[tile][1] * lanes;

/** What of a device decides. */
type Limits = Pick<Device, "workgroupBytes" | "matrixUnits">;

/** Invocations that WebGPU lets any workgroup have. */
const THREADS = 256;

const runs = (choice: MatmulChoice, operands: Operands, { workgroupBytes, matrixUnits }: Limits) =>
  (choice.stages !== 0 || operands.a.type && operands.b.type) &&
  unitBytes(choice, operands) <= workgroupBytes &&
  unitThreads(choice.tile, matrixUnits!) <= THREADS;

/** Tiles worth trying and their stages; the large ones in both orders. */
const TRIED: [Tile, Stages][] = [
  ["64x64", 0],
  ["64x64", 1],
  ["64x64", 2],
  ["128x64", 1],
  ["128x64", 2],
  ["64x128", 1],
  ["64x128", 2],
  ["128x128", 0],
  ["128x128", 1],
  ["128x128", 2],
  ["256x128", 1],
  ["128x256", 1],
];

/** All choices of a device with matrix units for such operands. They give the same bits. */
export const unitChoices = (operands: Operands, limits: Limits): MatmulChoice[] =>
  TRIED.flatMap(([tile, stages]): MatmulChoice[] => {
    const choice = { order: "n", tile, depth: UNIT_DEPTH, stages } as const;
    return tile === "64x64" ? [choice] : [choice, { ...choice, order: "m" }];
  }).filter((choice) => runs(choice, operands, limits));

/** The choice without tuning. */
export function defaultUnitChoice(
  m: number,
  n: number,
  k: number,
  operands: Operands,
  limits: Limits,
): MatmulChoice {
  const parts = splits(m, n, k), wide: Tile[] = ["128x128", m < n ? "64x128" : "128x64", "64x64"];
  const choice = (tile: Tile, stages: Stages): MatmulChoice => ({
    order: "n",
    tile,
    depth: UNIT_DEPTH,
    stages,
  });
  // A workgroup for each of a large GPU's processors, at least.
  const fits = wide.filter((tile) => runs(choice(tile, 1), operands, limits));
  const tile = fits.find((t) => blocks(m, n, t) * parts >= 132) ?? "64x64";
  return choice(tile, runs(choice(tile, 2), operands, limits) ? 2 : 1);
}
