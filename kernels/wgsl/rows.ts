/**
 * How the rows of a matrix are dealt out to invocations, in kernels that reduce along or down them.
 * @module
 */
import type { Device, Variant } from "../device.ts";
import { range } from "../range.ts";
import type { WgslWriter } from "./writer.ts";

/** A vector of a row: WGSL for its index in a matrix, and for its index in a row (of a weight). */
export interface RowVector {
  index: string;
  column: string;
}

/** What a reduction does with two values. */
export type Reduction = "sum" | "max";

/** A matrix row dealt out to invocations, for kernels that reduce along rows. */
export interface RowShape {
  /** Declares what the other calls need, with the reductions that are used; goes before `main`. */
  declare(w: WgslWriter, reductions: readonly Reduction[]): void;
  /**
   * Writes the entry point. Its body sees r (the row), lane (the invocation's number among those that
   * share the row) and panels: 0 where r lies beyond p.rows.
   */
  main(w: WgslWriter, body: () => void): void;
  /**
   * Writes a loop over this invocation's share of panels [`from`, `end`); `body` is called once for
   * each of its vectors of a panel.
   */
  loop(w: WgslWriter, end: string, body: (vector: RowVector) => void, from?: string): void;
  /** The same, where the body handles all of an invocation's vectors of a panel at once. */
  loopPanels(w: WgslWriter, end: string, body: (vectors: RowVector[]) => void, from?: string): void;
  /** WGSL for the sum or the maximum of an invocation's value over the row. */
  reduce(operation: Reduction, value: string): string;
  /** WGSL for the lane that sees vector `column` of a row. */
  owner(column: string): string;
  /** Workgroups for so many rows. */
  groups(rows: number): number;
}

/** What the form of a reduction depends on. */
export type Reducing = Pick<Device, "variant" | "subgroupSize">;

/**
 * CPU drivers run one invocation for each row: barriers cost them more than anything. GPUs run a
 * workgroup of `lanes` invocations for each row, eight to each 128-byte line, that reduces by
 * subgroups of any size and then in workgroup memory; without subgroups, 256 invocations take several
 * rows and reduce in workgroup memory alone.
 */
export function rowShape({ variant, subgroupSize }: Reducing, lanes = 64): RowShape {
  if (variant !== "gpu-tiled") return singleRows();
  return subgroupSize ? sharedRows(lanes, lanes, true) : sharedRows(lanes, 256, false);
}

/** Invocations of a workgroup where each has a row of its own. */
const SINGLE_ROWS = 8;

/** One invocation for each row. */
function singleRows(): RowShape {
  const loopPanels: RowShape["loopPanels"] = (w, end, body, from = "0u") => {
    w.for(`var i = ${from}; i < ${end}; i++`, () => {
      w.line("let at = (i * p.stride + r) * 8u;", "let column = i * 8u;");
      body(range(8).map((q) => ({ index: `at + ${q}u`, column: `column + ${q}u` })));
    });
  };
  return {
    declare(w) {
      w.const("GROUP", SINGLE_ROWS);
    },
    main(w, body) {
      w.main("GROUP", { id: "global_invocation_id", count: "num_workgroups" }, () => {
        w.line("let r = id.x + id.y * count.x * GROUP;");
        w.if("r >= p.rows", () => w.line("return;"));
        w.line("let panels = p.panels;", "const lane = 0u;");
        body();
      });
    },
    loop: (w, end, body, from) => loopPanels(w, end, (vectors) => vectors.forEach(body), from),
    loopPanels,
    reduce: (_, value) => value,
    owner: () => "0u",
    groups: (rows) => Math.ceil(rows / SINGLE_ROWS),
  };
}

/** `lanes` invocations for each row, in workgroups of `size`. */
function sharedRows(lanes: number, size: number, subgroups: boolean): RowShape {
  const rowsEach = size / lanes;
  const loopPanels: RowShape["loopPanels"] = (w, end, body, from) => {
    const first = from === undefined ? "lane / 8u" : `${from} + lane / 8u`;
    w.for(`var i = ${first}; i < ${end}; i += LANES / 8u`, () => {
      w.line(
        "let at = (i * p.stride + r) * 8u + lane % 8u;",
        "let column = i * 8u + lane % 8u;",
      );
      body([{ index: "at", column: "column" }]);
    });
  };
  return {
    declare(w, reductions) {
      w.comment("Invocations of a workgroup, and those that share a row.");
      w.const("GROUP", size);
      w.const("LANES", lanes);
      w.workgroup("scratch", "array<f32, GROUP>");
      for (const operation of reductions) {
        writeReducer(w, { name: `row_${operation}`, operation, lanes, size, subgroups });
      }
    },
    main(w, body) {
      w.main("GROUP", {
        group: "workgroup_id",
        count: "num_workgroups",
        local: "local_invocation_index",
      }, () => {
        w.line(
          `let r = (group.x + group.y * count.x) * ${rowsEach}u + local / LANES;`,
          "let lane = local % LANES;",
          "let panels = select(0u, p.panels, r < p.rows);",
        );
        body();
      });
    },
    loop: (w, end, body, from) => loopPanels(w, end, (vectors) => vectors.forEach(body), from),
    loopPanels,
    reduce: (operation, value) => `row_${operation}(local, ${value})`,
    owner: (column) => `(${column}) % LANES`,
    groups: (rows) => Math.ceil(rows / rowsEach),
  };
}

/** A reduction over neighbouring invocations of a workgroup. */
export interface Reducer {
  /** The WGSL function's name. */
  name: string;
  operation: Reduction;
  /** Invocations that reduce together. */
  lanes: number;
  /** Invocations of the workgroup; `lanes` divides it. */
  size: number;
  /** By subgroup operations; then `lanes` is `size`. */
  subgroups: boolean;
}

/**
 * Writes the function `NAME(local, value)`, which gives every invocation of a group of `lanes`
 * neighbours their combined value; all of the workgroup must call it. It needs `scratch` in workgroup
 * memory, a float for each invocation.
 *
 * By subgroups the order is that of the driver's subgroups, which is fixed on one device. They may
 * have any size, which is counted (some drivers report another than they use), but their invocations
 * are taken to be neighbours in `local`: every driver has it so, and the self-test would tell.
 */
export function writeReducer(w: WgslWriter, reducer: Reducer): void {
  const { name, subgroups } = reducer;
  w.fn(
    `${name}(local: u32, value: f32) -> f32`,
    () => subgroups ? reduceBySubgroups(w, reducer) : reduceByHalves(w, reducer),
  );
}

const COMBINE = { sum: "a + b", max: "max(a, b)" } as const;
const SUBGROUP_BUILTIN = { sum: "subgroupAdd", max: "subgroupMax" } as const;

/** Each subgroup reduces by itself; then every invocation walks over the subgroups' results. */
function reduceBySubgroups(w: WgslWriter, { operation, lanes }: Reducer): void {
  w.line(
    `scratch[local] = ${SUBGROUP_BUILTIN[operation]}(value);`,
    "let step = subgroupAdd(1u);",
    "workgroupBarrier();",
    "var a = scratch[0];",
  );
  w.for(`var i = step; i < ${lanes}u; i += step`, () => {
    w.line("let b = scratch[i];", `a = ${COMBINE[operation]};`);
  });
  w.line("workgroupBarrier();", "return a;");
}

/** A tree in workgroup memory: each round combines the first half of what is left with the second. */
function reduceByHalves(w: WgslWriter, { operation, lanes, size }: Reducer): void {
  w.line("scratch[local] = value;", "workgroupBarrier();");
  w.for(`var s = ${lanes / 2}u; s > 0u; s /= 2u`, () => {
    w.if(`local % ${lanes}u < s`, () => {
      w.line(
        "let a = scratch[local];",
        "let b = scratch[local + s];",
        `scratch[local] = ${COMBINE[operation]};`,
      );
    });
    w.line("workgroupBarrier();");
  });
  const first = lanes === size ? "0" : `local - local % ${lanes}u`;
  w.line(`let result = scratch[${first}];`, "workgroupBarrier();", "return result;");
}

/**
 * How many rows a kernel that sums down columns gives to one invocation: enough chunks to fill the
 * device, few enough that adding them up stays cheap.
 */
export function rowChunk(variant: Variant, rows: number): { rows: number; count: number } {
  const [least, most] = variant === "gpu-tiled" ? [16, 512] : [64, 128];
  const each = Math.max(least, Math.ceil(rows / most));
  return { rows: each, count: Math.ceil(rows / each) };
}
