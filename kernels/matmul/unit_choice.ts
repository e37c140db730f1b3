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

/** How a tile is dealt out to subgroups by default, rows x columns of them. */
const SUBGROUPS: Record<Tile, [number, number]> = {
  "64x64": [2, 2],
  "128x64": [2, 2],
  "64x128": [2, 2],
  "128x128": [4, 2],
  "256x128": [4, 2],
  "128x256": [2, 4],
};

/** How a choice deals its tile out. */
export const subgroupGrid = ({ tile, subgroups }: UnitTile): [number, number] =>
  subgroups === 4 ? [2, 2] : SUBGROUPS[tile];

type UnitTile = Pick<MatmulChoice, "tile" | "subgroups">;

/** Matrices of f16 that stand for one stored so: itself, or its rounding and what that left. */
export const partsOf = (stored: Pick<Matrix, "type">): number => stored.type === "f16" ? 1 : 2;

/** Bytes of shared memory that a program takes; without stages a chunk a subgroup, to store C. */
export function unitBytes(
  choice: UnitTile & Pick<MatmulChoice, "stages">,
  { a, b }: Pick<Operands, "a" | "b">,
): number {
  const { rows, cols } = tileExtents(choice.tile), { stages = 1 } = choice;
  const [down, across] = subgroupGrid(choice);
  const chunks = stages * (partsOf(a) * rows + partsOf(b) * cols) / 32;
  return (chunks || down * across) * CHUNK * 16;
}

/** Workgroup invocations of a tile. */
export const unitThreads = (choice: UnitTile, { lanes }: Pick<MatrixUnits, "lanes">): number => {
  const [down, across] = subgroupGrid(choice);
  return down * across * lanes;
};

/** What of a device decides. */
type Limits = Pick<Device, "workgroupBytes" | "matrixUnits">;

/** Invocations that WebGPU lets any workgroup have. */
const THREADS = 256;

const runs = (choice: MatmulChoice, operands: Operands, { workgroupBytes, matrixUnits }: Limits) =>
  (choice.stages !== 0 || operands.a.type && operands.b.type) &&
  unitBytes(choice, operands) <= workgroupBytes &&
  unitThreads(choice, matrixUnits!) <= THREADS;

/** Tiles worth trying, their stages and subgroups: the likely ones for a large product first. */
const TRIED: [Tile, Stages, 4?][] = [
  ["128x128", 1, 4],
  ["128x128", 2],
  ["256x128", 1],
  ["128x256", 1],
  ["128x128", 2, 4],
  ["128x128", 1],
  ["128x64", 2],
  ["64x128", 2],
  ["64x64", 2],
  ["128x128", 0],
  ["128x64", 1],
  ["64x128", 1],
  ["64x64", 1],
  ["64x64", 0],
];

/** All choices of a device with matrix units for such operands. They give the same bits. */
export const unitChoices = (operands: Operands, limits: Limits): MatmulChoice[] =>
  (["n", "m"] as const).flatMap((order) =>
    TRIED.map(([tile, stages, subgroups]): MatmulChoice => {
      const choice = { order, tile, depth: UNIT_DEPTH, stages } as const;
      return subgroups ? { ...choice, subgroups } : choice;
    })
  ).filter((choice) => runs(choice, operands, limits));

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
