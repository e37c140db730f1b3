/**
 * Which of several equal programs computes a product. They differ in the size of tiles, in how much
 * of K a step takes and in the order in which tiles are visited, never in the order in which an
 * output is summed: every choice gives the same bits, so that tuning cannot change a result.
 * @module
 */
import type { Variant } from "../device.ts";

/** Which axis of the output neighbouring workgroups run along. */
export type TileOrder = "n" | "m";

/** Rows x columns of the block of C that a GPU workgroup computes. */
export type Tile = "64x64" | "128x64" | "64x128" | "128x128" | "256x128" | "128x256";

/** Rows and columns of a tile. */
export function tileExtents(tile: Tile): { rows: number; cols: number } {
  const [rows, cols] = tile.split("x").map(Number);
  return { rows: rows!, cols: cols! };
}

/** See {@linkcode MatmulChoice}. */
export type Stages = 0 | 1 | 2;

/** One way to compute a product. */
export interface MatmulChoice {
  order: TileOrder;
  tile: Tile;
  /** Values of K that one slab of shared memory covers. */
  depth: 8 | 16 | 32;
  /** Slabs of f16 operands stay f16 in shared memory; by default they are widened on the way in. */
  half?: boolean;
  /** On matrix units, slabs in shared memory at once; 0 loads matrices straight from storage. */
  stages?: Stages;
  /** On matrix units, fewer subgroups that hold more each than the tile has by default. */
  subgroups?: 4;
}

/** What choices depend on. */
export interface ChoiceLimits {
  variant: Variant;
  /** Shared memory of a workgroup in bytes. */
  workgroupBytes: number;
  /** Whether an operand is f16. */
  half?: boolean;
}

/** Bytes of shared memory that a tile takes: two slabs of each operand. */
export function tileBytes({ tile, depth }: Pick<MatmulChoice, "tile" | "depth">): number {
  const { rows, cols } = tileExtents(tile);
  return 2 * 4 * depth * (rows + cols);
}

/** Workgroups of an (m, n) output. */
export const blocks = (m: number, n: number, tile: Tile): number => {
  const { rows, cols } = tileExtents(tile);
  return Math.ceil(m / rows) * Math.ceil(n / cols);
};

/** Two workgroups for each of a large GPU's 132 processors. */
const TWO_WAVES = 264;

/** The choice without tuning, for an (m, n, k) product. */
export function defaultChoice(
  m: number,
  n: number,
  k: number,
  limits: ChoiceLimits,
): MatmulChoice {
  // Large tiles read least, but too few of them leave most of a large GPU idle.
  const parts = splits(m, n, k);
  const wide: Tile[] = ["128x128", m < n ? "64x128" : "128x64"];
  const tile = wide.find((t) => blocks(m, n, t) * parts >= TWO_WAVES) ?? "64x64";
  const depth = ([16, 8] as const).find((d) =>
    tileBytes({ tile, depth: d }) <= limits.workgroupBytes
  );
  return depth ? { order: "n", tile, depth } : { order: "n", tile: "64x64", depth: 8 };
}

/**
 * Worthwhile depths of each tile (what more they hide, they take from the threads at work), the
 * likeliest to win first: tuning may have to stop.
 */
const DEPTHS: [Tile, MatmulChoice["depth"][]][] = [
  ["128x128", [16, 8]],
  ["256x128", [8, 16]],
  ["128x256", [8, 16]],
  ["128x64", [16, 8]],
  ["64x128", [16, 8]],
  ["64x64", [16, 8]],
];

/** All choices of a device for products of f32 operands, or (`half`) where one is f16. */
export function matmulChoices({ variant, workgroupBytes, half }: ChoiceLimits): MatmulChoice[] {
  const orders: TileOrder[] = ["n", "m"];
  if (variant === "cpu-plain") return [{ order: "n", tile: "64x64", depth: 16 }];
  if (variant === "cpu-subgroup") {
    return orders.map((order) => ({ order, tile: "64x64", depth: 16 }));
  }
  const choices: MatmulChoice[] = [];
  for (const order of orders) {
    for (const stays of half ? [false, true] : [false]) {
      for (const [tile, depths] of DEPTHS) {
        for (const depth of depths) {
          if (tileBytes({ tile, depth }) > workgroupBytes) continue;
          choices.push(stays ? { order, tile, depth, half } : { order, tile, depth });
        }
      }
    }
  }
  return choices;
}

/** Whether two choices are the same. */
export const sameChoice = (a: MatmulChoice, b: MatmulChoice): boolean =>
  a.order === b.order && a.tile === b.tile && a.depth === b.depth && !a.half === !b.half &&
  a.stages === b.stages && a.subgroups === b.subgroups;

/** Workgroups that a product should have, and values of K that are worth a part of their own. */
const SPLIT_TARGET = 512, SPLIT_LEAST = 512;

/**
 * Into how many parts K is cut on gpu-tiled, where an output is too small to occupy a GPU otherwise
 * (weight gradients of x_proj and dt_proj above all). Each part is summed on its own and the parts
 * are added in order, so this number decides the bits of a result. It depends on the shape alone, and
 * is never tuned.
 */
export function splits(m: number, n: number, k: number): number {
  const tiles = blocks(m, n, "128x128");
  return Math.max(1, Math.min(Math.floor(SPLIT_TARGET / tiles), Math.floor(k / SPLIT_LEAST)));
}

/** Values of K that each of so many parts covers: whole panels. */
export const splitLength = (k: number, parts: number): number => Math.ceil(k / parts / 32) * 32;

/** Names a product's shape, and which of its matrices are f16, in a device's table of choices. */
export const choiceKey = (
  product: string,
  m: number,
  n: number,
  k: number,
  half = "",
): string => `${product} ${m} ${n} ${k}${half && ` ${half}`}`;

/** WGSL: tm and tn, a tile's row and column, from a workgroup's index `id`. */
export const tileIndices = (order: TileOrder, id: string): string =>
  `let tm = ${id}.${order === "n" ? "y" : "x"}; let tn = ${id}.${order === "n" ? "x" : "y"};`;

/** Workgroups of `columns` x `rows` tiles in an order. */
export const tileGrid = (order: TileOrder, columns: number, rows: number): [number, number] =>
  order === "n" ? [columns, rows] : [rows, columns];
