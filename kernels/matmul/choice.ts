/**
 * Which of several programs computes a product. They differ in the size of the tile of C that a
 * workgroup computes, in how many values of K a slab of shared memory holds, and in the order in which
 * tiles are visited, but never in the order in which an element of C is summed: every choice gives the
 * same bits, so that tuning cannot change a result.
 *
 * To try another tile or slab, add a line to {@linkcode TILES}.
 * @module
 */
import type { Variant } from "../device.ts";

/** Along which axis of C neighbouring workgroups lie: its columns (n) or its rows (m). */
export type TileOrder = "n" | "m";

/** Values of K that one slab of shared memory covers. */
export type Depth = 8 | 16 | 32;

/** One size of the tile of C that a workgroup of a GPU computes. */
interface TileSize {
  rows: number;
  cols: number;
  /**
   * Slabs worth trying with it, the likeliest to win first. A deeper slab hides more of the time that
   * loads take, but its shared memory leaves room for fewer workgroups at a time.
   */
  depths: readonly Depth[];
  /** On matrix units, how the tile is divided among subgroups: so many down by so many across. */
  subgroups: readonly [number, number];
}

/**
 * The sizes of a tile, the likeliest to win for a large product first: there may be no time to measure
 * them all.
 */
const TILES = {
  "128x128": { rows: 128, cols: 128, depths: [16, 8], subgroups: [4, 2] },
  "256x128": { rows: 256, cols: 128, depths: [8, 16], subgroups: [4, 2] },
  "128x256": { rows: 128, cols: 256, depths: [8, 16], subgroups: [2, 4] },
  "128x64": { rows: 128, cols: 64, depths: [16, 8], subgroups: [2, 2] },
  "64x128": { rows: 64, cols: 128, depths: [16, 8], subgroups: [2, 2] },
  "64x64": { rows: 64, cols: 64, depths: [16, 8], subgroups: [2, 2] },
} as const satisfies Record<string, TileSize>;

/** Rows x columns of the tile of C that a GPU workgroup computes. */
export type Tile = keyof typeof TILES;

/** The names of all tiles, in the order of {@linkcode TILES}. */
const TILE_NAMES = Object.keys(TILES) as Tile[];

/** What is known of a tile by its name. */
export const tileSize = (tile: Tile): TileSize => TILES[tile];

/**
 * On matrix units, how many slabs shared memory holds at once; with 0 the matrices are loaded straight
 * from storage.
 */
export type Stages = 0 | 1 | 2;

/** One way to compute a product. */
export interface MatmulChoice {
  order: TileOrder;
  tile: Tile;
  /** Values of K that one slab of shared memory covers. */
  depth: Depth;
  /** Slabs of f16 operands stay f16 in shared memory; by default they are widened on the way in. */
  half?: boolean;
  /** On matrix units: see {@linkcode Stages}. */
  stages?: Stages;
  /** On matrix units, fewer subgroups that hold more each than the tile has by default. */
  subgroups?: 4;
}

/** Where the tuned choices of each device are kept. */
const TUNED = new WeakMap<object, Map<string, MatmulChoice>>();

/** A device's tuned choices by {@linkcode choiceKey}. The caller may add to the table. */
export function tunedChoices(device: object): Map<string, MatmulChoice> {
  const kept = TUNED.get(device);
  if (kept) return kept;
  const choices = new Map<string, MatmulChoice>();
  TUNED.set(device, choices);
  return choices;
}

/** What choices depend on. */
export interface ChoiceLimits {
  variant: Variant;
  /** Shared memory of a workgroup in bytes. */
  workgroupBytes: number;
  /** Whether an operand is f16. */
  half?: boolean;
}

/** Bytes of shared memory that a tile takes: two slabs of each operand, in f32. */
export function tileBytes({ tile, depth }: Pick<MatmulChoice, "tile" | "depth">): number {
  const { rows, cols } = tileSize(tile);
  return 2 * 4 * depth * (rows + cols);
}

/** Workgroups of an (m, n) output. */
export function blocks(m: number, n: number, tile: Tile): number {
  const { rows, cols } = tileSize(tile);
  return Math.ceil(m / rows) * Math.ceil(n / cols);
}

/** Workgroups that keep a large GPU busy: two for each of its 132 processors. */
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
      for (const tile of TILE_NAMES) {
        for (const depth of tileSize(tile).depths) {
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

/** Workgroups that a product should have. */
const SPLIT_TARGET = 512;
/** Fewest values of K that are worth a part of their own. */
const SPLIT_LEAST = 512;

/**
 * Into how many parts K is cut on gpu-tiled, where an output is too small to occupy a GPU otherwise
 * (above all the weight gradients of x_proj and dt_proj). Each part is summed on its own and the parts
 * are added in order, so this number decides the bits of a result: it depends on the shape alone and
 * is never tuned.
 */
export function splits(m: number, n: number, k: number): number {
  const tiles = blocks(m, n, "128x128");
  return Math.max(1, Math.min(Math.floor(SPLIT_TARGET / tiles), Math.floor(k / SPLIT_LEAST)));
}

/** Values of K that each of so many parts covers: a multiple of a panel's 32. */
export const splitLength = (k: number, parts: number): number => Math.ceil(k / parts / 32) * 32;

/**
 * Names a product's shape in a device's table of choices. `half` says which of its matrices are f16; see
 * `halfKey` of product.ts.
 */
export const choiceKey = (
  product: string,
  m: number,
  n: number,
  k: number,
  half = "",
): string => `${product} ${m} ${n} ${k}${half && ` ${half}`}`;

/**
 * WGSL expressions for the row and column of a workgroup's tile, from the name of a variable with its
 * index; the inverse of {@linkcode tileGrid}.
 */
export function tilePlace(order: TileOrder, workgroup: string): { row: string; column: string } {
  return order === "n"
    ? { row: `${workgroup}.y`, column: `${workgroup}.x` }
    : { row: `${workgroup}.x`, column: `${workgroup}.y` };
}

/** The workgroups to dispatch for so many columns and rows of tiles. */
export const tileGrid = (order: TileOrder, columns: number, rows: number): [number, number] =>
  order === "n" ? [columns, rows] : [rows, columns];
