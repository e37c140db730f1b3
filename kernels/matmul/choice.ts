/**
 * Which of several equal programs computes a product. They differ in the size of tiles and in the
 * order in which tiles are visited, never in the order in which an output is summed: every choice
 * gives the same bits, so that tuning cannot change a result.
 * @module
 */
import type { Variant } from "../device.ts";

/** Which axis of the output neighbouring workgroups run along. */
export type TileOrder = "n" | "m";

/** One way to compute a product. */
export interface MatmulChoice {
  order: TileOrder;
  /** Rows and columns of a GPU tile. */
  tile: 64 | 128;
}

/** The choice without tuning, for an (m, n) output. */
export function defaultChoice(m: number, n: number): MatmulChoice {
  // Below about two waves of 128 x 128 tiles a large GPU idles; smaller tiles then win.
  const large = Math.ceil(m / 128) * Math.ceil(n / 128) >= 256;
  return { order: "n", tile: large ? 128 : 64 };
}

/** All choices of a variant. */
export function matmulChoices(variant: Variant): MatmulChoice[] {
  const orders: TileOrder[] = ["n", "m"];
  if (variant === "cpu-plain") return [{ order: "n", tile: 64 }];
  if (variant === "cpu-subgroup") return orders.map((order) => ({ order, tile: 64 }));
  return orders.flatMap((order) => ([64, 128] as const).map((tile) => ({ order, tile })));
}

/** Names a product's shape in a device's table of choices. */
export const choiceKey = (product: string, m: number, n: number, k: number): string =>
  `${product} ${m} ${n} ${k}`;

/** WGSL: tm and tn, a tile's row and column, from a workgroup's index `id`. */
export const tileIndices = (order: TileOrder, id: string): string =>
  `let tm = ${id}.${order === "n" ? "y" : "x"}; let tn = ${id}.${order === "n" ? "x" : "y"};`;

/** Workgroups of `columns` x `rows` tiles in an order. */
export const tileGrid = (order: TileOrder, columns: number, rows: number): [number, number] =>
  order === "n" ? [columns, rows] : [rows, columns];
