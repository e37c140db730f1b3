/** How products on matrix units are divided: see subgroup_matrix.ts. @module */
import type { MatrixUnits } from "../matrix_units.ts";
import {
  blocks,
  type MatmulChoice,
  splits,
  type Stages,
  type Tile,
  type TileOrder,
  tileSize,
} from "./choice.ts";
import type { Operands, StoredMatrix } from "./product.ts";

/** Values of K in a slab: the width of a panel. */
export const UNIT_DEPTH = 32;
/** Vectors (8 f16, 16 bytes) of a chunk's line in shared memory: four of values and one of padding. */
export const LINE = 5;
/** Vectors of a chunk in shared memory: 32 lines. */
export const CHUNK = 32 * LINE;

/** What says how a tile is divided among subgroups. */
type UnitTile = Pick<MatmulChoice, "tile" | "subgroups">;

/** How many subgroups share a tile: so many down by so many across. */
export const subgroupGrid = ({ tile, subgroups }: UnitTile): readonly [number, number] =>
  subgroups === 4 ? [2, 2] : tileSize(tile).subgroups;

/** How many f16 matrices stand for a stored one: an f32 matrix is split into a high and a low half. */
export const partsOf = (stored: StoredMatrix): number => stored.type === "f16" ? 1 : 2;

/**
 * Bytes of shared memory that a program takes: its slabs, or without stages one chunk per subgroup,
 * through which C is stored.
 */
export function unitBytes(
  choice: UnitTile & Pick<MatmulChoice, "stages">,
  { a, b }: Pick<Operands, "a" | "b">,
): number {
  const { rows, cols } = tileSize(choice.tile);
  const { stages = 1 } = choice;
  const [down, across] = subgroupGrid(choice);
  const chunks = stages * (partsOf(a) * rows + partsOf(b) * cols) / 32;
  return (chunks || down * across) * CHUNK * 16;
}

/** Invocations of a workgroup. */
export function unitThreads(choice: UnitTile, { lanes }: Pick<MatrixUnits, "lanes">): number {
  const [down, across] = subgroupGrid(choice);
  return down * across * lanes;
}

/** What of a device decides. */
interface UnitLimits {
  /** Shared memory of a workgroup in bytes. */
  workgroupBytes: number;
  /** The device's units; without them there are no choices. */
  matrixUnits?: MatrixUnits;
}

/** Invocations that WebGPU lets any workgroup have. */
const MOST_THREADS = 256;

/** Whether a device can run a choice. Loading straight from storage needs operands that are f16. */
function runs(choice: MatmulChoice, operands: Operands, limits: UnitLimits): boolean {
  const { workgroupBytes, matrixUnits } = limits;
  if (!matrixUnits) return false;
  if (choice.stages === 0 && !(operands.a.type && operands.b.type)) return false;
  return unitBytes(choice, operands) <= workgroupBytes &&
    unitThreads(choice, matrixUnits) <= MOST_THREADS;
}

/**
 * Tiles worth trying, with their stages and subgroups, the likeliest to win for a large product first.
 * To try another, add a line.
 */
const TRIED: readonly Pick<MatmulChoice, "tile" | "stages" | "subgroups">[] = [
  { tile: "128x128", stages: 1, subgroups: 4 },
  { tile: "128x128", stages: 2 },
  { tile: "256x128", stages: 1 },
  { tile: "128x256", stages: 1 },
  { tile: "128x128", stages: 2, subgroups: 4 },
  { tile: "128x128", stages: 1 },
  { tile: "128x64", stages: 2 },
  { tile: "64x128", stages: 2 },
  { tile: "64x64", stages: 2 },
  { tile: "128x128", stages: 0 },
  { tile: "128x64", stages: 1 },
  { tile: "64x128", stages: 1 },
  { tile: "64x64", stages: 1 },
  { tile: "64x64", stages: 0 },
];

/** All choices of a device with matrix units for such operands. They give the same bits. */
export function unitChoices(operands: Operands, limits: UnitLimits): MatmulChoice[] {
  const orders: TileOrder[] = ["n", "m"];
  const choices: MatmulChoice[] = [];
  for (const order of orders) {
    for (const tried of TRIED) {
      const choice = { order, depth: UNIT_DEPTH, ...tried } as const;
      if (runs(choice, operands, limits)) choices.push(choice);
    }
  }
  return choices;
}

/** Workgroups that give each of a large GPU's processors one. */
const ONE_WAVE = 132;

/** The choice without tuning, for an (m, n, k) product. */
export function defaultUnitChoice(
  m: number,
  n: number,
  k: number,
  operands: Operands,
  limits: UnitLimits,
): MatmulChoice {
  const parts = splits(m, n, k);
  const wide: Tile[] = ["128x128", m < n ? "64x128" : "128x64", "64x64"];
  const choice = (tile: Tile, stages: Stages): MatmulChoice => ({
    order: "n",
    tile,
    depth: UNIT_DEPTH,
    stages,
  });
  const running = wide.filter((tile) => runs(choice(tile, 1), operands, limits));
  const tile = running.find((t) => blocks(m, n, t) * parts >= ONE_WAVE) ?? "64x64";
  return choice(tile, runs(choice(tile, 2), operands, limits) ? 2 : 1);
}
