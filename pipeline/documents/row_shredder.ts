/**
 * Takes rows apart into the leaves of a schema (the record shredding of Dremel), in one walk over each row.
 * Lists may be empty, and a leaf outside of lists null where its schema says so; nothing else may.
 * @module
 */
import type { SchemaElement } from "hyparquet";
import { nth } from "../../core/nth.ts";
import { LeafColumn } from "./leaf_column.ts";

type Node =
  | { kind: "leaf"; name: string; leaf: LeafColumn }
  | { kind: "struct"; name: string; fields: Node[] }
  | { kind: "list"; name: string; element: Node; level: number; leaves: LeafColumn[] };

/** The leaves of a schema, fed by rows. */
export class RowShredder {
  /** In the schema's order. */
  readonly leaves: LeafColumn[] = [];
  readonly #columns: Node[] = [];

  /** @param schema flat, as Parquet has it, the root first */
  constructor(schema: readonly SchemaElement[]) {
    let at = 1;
    const build = (path: string[], depth: number): Node => {
      const element = nth(schema, at++);
      const { name } = element;
      const here = [...path, name];
      if (element.type) {
        const leaf = new LeafColumn(here, element, depth);
        this.leaves.push(leaf);
        return { kind: "leaf", name, leaf };
      }
      if (element.converted_type === "LIST") {
        const first = this.leaves.length;
        const repeated = nth(schema, at++).name;
        const inner = build([...here, repeated], depth + 1);
        return {
          kind: "list",
          name,
          element: inner,
          level: depth + 1,
          leaves: this.leaves.slice(first),
        };
      }
      const fields = Array.from({ length: element.num_children ?? 0 }, () => build(here, depth));
      return { kind: "struct", name, fields };
    };
    while (at < schema.length) this.#columns.push(build([], 0));
  }

  /** Takes one row: the columns' values, in order. */
  add(values: readonly unknown[]): void {
    for (const [i, column] of this.#columns.entries()) shred(column, values[i], 0);
  }

  /** Takes many rows: the values of each column, in order. */
  addColumns(columns: readonly ArrayLike<unknown>[]): void {
    this.#columns.forEach((node, i) => {
      const values = nth(columns, i);
      for (let row = 0; row < values.length; row++) shred(node, values[row], 0);
    });
  }
}

function shred(node: Node, value: unknown, repetition: number): void {
  if (node.kind === "leaf") return node.leaf.put(value, repetition);
  if (node.kind === "struct") {
    const record = value as Record<string, unknown>;
    for (const field of node.fields) shred(field, record[field.name], repetition);
    return;
  }
  const items = value as unknown[];
  const { element, level } = node;
  if (items.length === 0) {
    for (const leaf of node.leaves) leaf.putNone(repetition, level - 1);
    return;
  }
  shred(element, items[0], repetition);
  for (let i = 1; i < items.length; i++) shred(element, items[i], level);
}
