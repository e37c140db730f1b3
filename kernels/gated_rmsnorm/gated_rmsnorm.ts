/**
 * The gated RMSNorm at the end of a Mamba-2 mixer, forward and backward; what it computes is said in
 * `reference/gated_rmsnorm.ts`. A group is a run of whole panels, in which only `columns` columns are in
 * use; groups are normed one after another. Forward and the gradients of x and z reduce along rows, the
 * gradient of the weight down columns.
 *
 * CPU drivers with subgroups spend their time on reading and writing memory, four values a lane at a time.
 * There a subgroup takes a block of rows, eight neighbouring vectors of a row at once: the weight is read
 * once for a block, and one kernel leaves all three gradients.
 * @module
 */
import { alternative } from "../alternatives.ts";
import type { Sizing } from "../device.ts";
import { elementBytes, type Matrix, padded, type Region } from "../layout.ts";
import { type Plan, spread } from "../plan.ts";
import { range } from "../range.ts";
import { sumPartials } from "../reduce/reduce.ts";
import {
  type Program,
  rowChunk,
  type RowShape,
  rowShape,
  uniforms,
  VECTOR_GROUP,
  vectorOf,
  vectors,
  WgslWriter,
} from "../wgsl/mod.ts";

/** What forward and backward share; all matrices (rows, d) with one stride. */
export interface GatedRmsNorm {
  /** f32. */
  x: Matrix;
  /** May be f16, and part of a wider matrix with the same stride. */
  z: Matrix;
  /** The first column of z in its matrix, a multiple of 32; 0 by default. */
  zColumn?: number;
  /** (d) as the matrices' columns lie. */
  weight: Region;
  /** (groups, stride) 1 / rms, kept for the backward pass. */
  inverseRms: Region;
  groups: number;
  /** Columns in use, over all groups; the others hold zeros. */
  columns: number;
  epsilon: number;
  /** y = rms(x) weight silu(z) rather than rms(x silu(z)) weight. */
  normBeforeGate: boolean;
}

const PARAMS = uniforms({
  rows: "u32",
  stride: "u32",
  panels: "u32",
  /** Columns in use of a group. */
  columns: "u32",
  /** Vectors of a row, over all groups. */
  vectors: "u32",
  /** The group's first vector of a row, of x's matrix and of z's; its first value of inverseRms. */
  first: "u32",
  at: "u32",
  z_at: "u32",
  inverse: "u32",
  epsilon: "f32",
});

/** `sigmoid`, `silu` and `silu_slope`. */
function writeSilu(w: WgslWriter): void {
  w.fn("sigmoid(x: vec4f) -> vec4f", "return 1.0 / (1.0 + exp(-x));");
  w.fn("silu(x: vec4f) -> vec4f", "return x * sigmoid(x);");
  w.fn("silu_slope(x: vec4f) -> vec4f", () => {
    w.line("let s = sigmoid(x);", "return s * (1.0 + x * (1.0 - s));");
  });
}

/** The uniform values of each group of a norm. */
function groupsOf(o: GatedRmsNorm): ArrayBuffer[] {
  const { rows, cols, stride } = o.x;
  const width = padded(cols) / o.groups;
  const vectorsBefore = (column: number) => column / 32 * stride * 8;
  return range(o.groups).map((group) =>
    PARAMS.pack({
      rows,
      stride,
      panels: width / 32,
      columns: o.columns / o.groups,
      vectors: padded(cols) / 4,
      first: group * width / 4,
      at: vectorsBefore(group * width),
      z_at: vectorsBefore((o.zColumn ?? 0) + group * width),
      inverse: group * stride,
      epsilon: o.epsilon,
    })
  );
}

/** What a program depends on. */
interface GatedVariant {
  shape: RowShape;
  z: Pick<Matrix, "type">;
  normBeforeGate: boolean;
}

/** WGSL of what is normed. */
const normed = ({ normBeforeGate }: Pick<GatedVariant, "normBeforeGate">, index: string) =>
  normBeforeGate ? `x[p.at + ${index}]` : `x[p.at + ${index}] * silu(vec4f(z[p.z_at + ${index}]))`;

/** WGSL of the gate where it comes after the norm, as a factor. */
const gateAfter = ({ normBeforeGate }: Pick<GatedVariant, "normBeforeGate">, index: string) =>
  normBeforeGate ? ` * silu(vec4f(z[p.z_at + ${index}]))` : "";

/** Rows of a block, of which each subgroup takes one: as many as divide the rows. */
const blockRows = (rows: number) => rows % 4 ? 1 : 4;

/** Whether a device takes blocks of rows. */
const takesBlocks = ({ variant }: Pick<Sizing, "variant">) => variant === "cpu-subgroup";

/**
 * Writes the entry point of a program for blocks of rows: its body sees `block`, the block's number, and
 * lane.
 */
function blockMain(w: WgslWriter, rows: number, body: () => void): void {
  const builtins = {
    group: "workgroup_id",
    count: "num_workgroups",
    lane: "local_invocation_index",
  } as const;
  w.main(LANES, builtins, () => {
    w.line("let block = group.x + group.y * count.x;");
    w.if(`block * ${rows}u >= p.rows`, () => w.line("return;"));
    w.line(`let first_row = block * ${rows}u;`);
    body();
  });
}

/** Lanes of a subgroup that takes a block of rows. */
const LANES = 8;

/**
 * Writes a loop over a block's panels: the body sees `column`, its vector of the weight, and gets for
 * each row WGSL of the index of the row's vector.
 */
function blockLoop(w: WgslWriter, rows: number, body: (indices: string[]) => void): void {
  w.for("var i = 0u; i < p.panels; i++", () => {
    w.line(
      "let column = p.first + i * 8u + lane;",
      "let at = (i * p.stride + first_row) * 8u + lane;",
    );
    body(range(rows).map((row) => `(at + ${8 * row}u)`));
  });
}

/** The forward of blocks of `rows` rows. */
function blockForwardProgram(
  variant: Omit<GatedVariant, "shape">,
  y: Pick<Matrix, "type">,
  rows: number,
): Program {
  const w = new WgslWriter();
  w.uniforms("p", PARAMS);
  w.storage("x", "vec4f");
  w.storage("z", vectorOf(variant.z));
  w.storage("weight", "vec4f");
  w.storage("inverse", "f32", "read_write");
  w.storage("y", vectorOf(y), "read_write");
  writeSilu(w);
  blockMain(w, rows, () => {
    w.unroll(rows, (row) => w.line(`var squares${row} = 0.0;`));
    blockLoop(w, rows, (indices) => {
      indices.forEach((index, row) => {
        w.line(
          `let v${row} = ${normed(variant, index)};`,
          `squares${row} += dot(v${row}, v${row});`,
        );
      });
    });
    w.unroll(rows, (row) => {
      const mean = `subgroupAdd(squares${row}) / f32(p.columns)`;
      w.line(`let k${row} = 1.0 / sqrt(${mean} + p.epsilon);`);
      w.if("lane == 0u", () => w.line(`inverse[p.inverse + first_row + ${row}u] = k${row};`));
    });
    blockLoop(w, rows, (indices) => {
      w.line("let scale = weight[column];");
      indices.forEach((index, row) => {
        const value = `${normed(variant, index)} * k${row} * scale${gateAfter(variant, index)}`;
        w.line(`y[p.at + ${index}] = ${vectorOf(y)}(${value});`);
      });
    });
  });
  return w.program();
}

/** All gradients of blocks of `rows` rows; of the weight a row of partial sums for each block. */
function blockBackwardProgram(
  variant: Omit<GatedVariant, "shape">,
  dz: Pick<Matrix, "type">,
  rows: number,
): Program {
  const { z, normBeforeGate } = variant;
  const w = new WgslWriter();
  w.uniforms("p", PARAMS);
  w.storage("x", "vec4f");
  w.storage("z", vectorOf(z));
  w.storage("weight", "vec4f");
  w.storage("inverse", "f32");
  w.storage("dy", "vec4f", "read_write");
  w.storage("dz", vectorOf(dz), "read_write");
  w.storage("partials", "vec4f", "read_write");
  writeSilu(w);
  const reaching = (index: string) => `dy[p.at + ${index}] * scale${gateAfter(variant, index)}`;
  blockMain(w, rows, () => {
    w.unroll(rows, (row) => w.line(`var along${row} = 0.0;`));
    blockLoop(w, rows, (indices) => {
      w.line("let scale = weight[column];");
      indices.forEach((index, row) => {
        w.line(`along${row} += dot(${normed(variant, index)}, ${reaching(index)});`);
      });
    });
    w.unroll(rows, (row) => {
      w.line(
        `let k${row} = inverse[p.inverse + first_row + ${row}u];`,
        `let pull${row} = k${row} * k${row} * subgroupAdd(along${row}) / f32(p.columns);`,
      );
    });
    blockLoop(w, rows, (indices) => {
      w.line("let scale = weight[column];", "var total = vec4f();");
      indices.forEach((index, row) => {
        w.block("", () => {
          w.line(
            `let gate = vec4f(z[p.z_at + ${index}]);`,
            `let own = x[p.at + ${index}];`,
            `let gradient = dy[p.at + ${index}];`,
            "let s = sigmoid(gate);",
            "let opened = gate * s;",
            "let slope = s * (1.0 + gate * (1.0 - s));",
            `total += gradient * own * opened * k${row};`,
          );
          if (normBeforeGate) {
            w.line(
              `let dv = k${row} * (gradient * scale * opened - own * pull${row});`,
              `dz[p.at + ${index}] = ${vectorOf(dz)}(gradient * own * k${row} * scale * slope);`,
              `dy[p.at + ${index}] = dv;`,
            );
          } else {
            w.line(
              `let dv = k${row} * (gradient * scale - own * opened * pull${row});`,
              `dz[p.at + ${index}] = ${vectorOf(dz)}(dv * own * slope);`,
              `dy[p.at + ${index}] = dv * opened;`,
            );
          }
        });
      });
      w.line("partials[block * p.vectors + column] = total;");
    });
  });
  return w.program();
}

function forwardProgram(variant: GatedVariant, y: Pick<Matrix, "type">): Program {
  const { shape, z } = variant;
  const w = new WgslWriter();
  w.uniforms("p", PARAMS);
  w.storage("x", "vec4f");
  w.storage("z", vectorOf(z));
  w.storage("weight", "vec4f");
  w.storage("inverse", "f32", "read_write");
  w.storage("y", vectorOf(y), "read_write");
  writeSilu(w);
  shape.declare(w, ["sum"]);
  shape.main(w, () => {
    w.line("var squares = 0.0;");
    shape.loop(w, "panels", ({ index }) => {
      w.block("", () => {
        w.line(`let v = ${normed(variant, index)};`, "squares += dot(v, v);");
      });
    });
    w.line(
      `let k = 1.0 / sqrt(${shape.reduce("sum", "squares")} / f32(p.columns) + p.epsilon);`,
    );
    w.if("lane == 0u && r < p.rows", () => w.line("inverse[p.inverse + r] = k;"));
    shape.loop(w, "panels", ({ index, column }) => {
      const value = `${normed(variant, index)} * k * weight[p.first + ${column}]`;
      w.line(`y[p.at + ${index}] = ${vectorOf(y)}(${value}${gateAfter(variant, index)});`);
    });
  });
  return w.program();
}

/** Queues the forward: y, which may be f16. */
export function gatedRmsNormForward(plan: Plan, o: GatedRmsNorm & { y: Matrix }): void {
  const { z, normBeforeGate } = o;
  const shape = rowShape(plan.device, alternative(plan.device, "norm-threads"));
  const blocks = takesBlocks(plan.device);
  const block = blockRows(o.x.rows);
  const code = blocks
    ? blockForwardProgram({ z, normBeforeGate }, o.y, block)
    : forwardProgram({ shape, z, normBeforeGate }, o.y);
  for (const params of groupsOf(o)) {
    plan.dispatch({
      label: "gated rmsnorm forward",
      code,
      params,
      bindings: {
        x: o.x.region,
        z: o.z.region,
        weight: vectors(o.weight),
        inverse: o.inverseRms,
        y: o.y.region,
      },
      groups: spread(blocks ? o.x.rows / block : shape.groups(o.x.rows)),
      bytes: o.x.rows * padded(o.x.cols) / o.groups * (4 + elementBytes(o.z) + elementBytes(o.y)),
    });
  }
}

/** What the backward reads and writes besides. */
export interface GatedRmsNormBackward extends GatedRmsNorm {
  /** In: the gradient of y. Out: that of x, in its place. */
  dy: Matrix;
  /** Set; may be f16. Its first column is z's first. */
  dz: Matrix;
  /** (d) added to. */
  dweight: Region;
  /** {@linkcode gatedRmsNormScratch} floats. */
  scratch: Region;
}

/** Floats of scratch of a backward pass. */
export function gatedRmsNormScratch(plan: { device: Sizing }, rows: number, cols: number): number {
  const { variant } = plan.device;
  const lines = takesBlocks(plan.device) ? rows / blockRows(rows) : rowChunk(variant, rows).count;
  return lines * padded(cols);
}

function backwardProgram(variant: GatedVariant, dz: Pick<Matrix, "type">): Program {
  const { shape, z, normBeforeGate } = variant;
  // What reaches the normed value: dy weight, and the gate where it comes after.
  const reaching = (index: string, column: string) =>
    `dy[p.at + ${index}] * weight[p.first + ${column}]${gateAfter(variant, index)}`;
  const w = new WgslWriter();
  w.uniforms("p", PARAMS);
  w.storage("x", "vec4f");
  w.storage("z", vectorOf(z));
  w.storage("weight", "vec4f");
  w.storage("inverse", "f32");
  w.storage("dy", "vec4f", "read_write");
  w.storage("dz", vectorOf(dz), "read_write");
  writeSilu(w);
  shape.declare(w, ["sum"]);
  shape.main(w, () => {
    w.line("var along = 0.0;");
    shape.loop(w, "panels", ({ index, column }) => {
      w.line(`along += dot(${normed(variant, index)}, ${reaching(index, column)});`);
    });
    w.line(
      "let k = inverse[p.inverse + min(r, p.rows - 1u)];",
      `let pull = k * k * ${shape.reduce("sum", "along")} / f32(p.columns);`,
    );
    shape.loop(w, "panels", ({ index, column }) => {
      const towards = normBeforeGate
        ? `dy[p.at + ${index}] * own * k * weight[p.first + ${column}]`
        : "dv * own";
      w.block("", () => {
        w.line(
          `let gate = vec4f(z[p.z_at + ${index}]);`,
          `let own = x[p.at + ${index}];`,
          `let dv = k * (${reaching(index, column)} - ${normed(variant, index)} * pull);`,
          `dz[p.at + ${index}] = ${vectorOf(dz)}(${towards} * silu_slope(gate));`,
          `dy[p.at + ${index}] = dv${normBeforeGate ? "" : " * silu(gate)"};`,
        );
      });
    });
  });
  return w.program();
}

/** Queues the gradients of the weight, x and z. */
export function gatedRmsNormBackward(plan: Plan, o: GatedRmsNormBackward): void {
  const { z, normBeforeGate } = o;
  const shape = rowShape(plan.device, alternative(plan.device, "norm-threads"));
  const blocks = takesBlocks(plan.device);
  const block = blockRows(o.x.rows);
  if (!blocks) weightGradient(plan, o);
  const code = blocks
    ? blockBackwardProgram({ z, normBeforeGate }, o.dz, block)
    : backwardProgram({ shape, z, normBeforeGate }, o.dz);
  for (const params of groupsOf(o)) {
    plan.dispatch({
      label: "gated rmsnorm backward",
      code,
      params,
      bindings: {
        x: o.x.region,
        z: o.z.region,
        weight: vectors(o.weight),
        inverse: o.inverseRms,
        dy: o.dy.region,
        dz: o.dz.region,
        partials: o.scratch,
      },
      groups: spread(blocks ? o.x.rows / block : shape.groups(o.x.rows)),
      bytes: o.x.rows * padded(o.x.cols) / o.groups *
        (12 + elementBytes(o.z) + elementBytes(o.dz)),
    });
  }
  if (blocks) sumWeightGradient(plan, o, o.x.rows / block);
}

/** Queues the sum of `count` rows of partial sums, to be added to the weight's gradient. */
function sumWeightGradient(plan: Plan, o: GatedRmsNormBackward, count: number): void {
  const width = padded(o.x.cols);
  sumPartials(plan, {
    partials: o.scratch,
    count,
    width,
    out: o.dweight,
    length: width,
    accumulate: true,
  });
}

const WEIGHT_PARAMS = uniforms({
  rows: "u32",
  stride: "u32",
  vectors: "u32",
  /** Rows of an invocation. */
  chunk: "u32",
  group_vectors: "u32",
  z_at: "u32",
});

/** The gradient of the weight: a sum down each column, of a chunk of rows by each invocation. */
function weightProgram(z: Pick<Matrix, "type">): Program {
  const w = new WgslWriter();
  w.const("GROUP", VECTOR_GROUP);
  w.uniforms("p", WEIGHT_PARAMS);
  w.storage("x", "vec4f");
  w.storage("z", vectorOf(z));
  w.storage("inverse", "f32");
  w.storage("dy", "vec4f");
  w.storage("partials", "vec4f", "read_write");
  writeSilu(w);
  w.main("GROUP", { id: "global_invocation_id" }, () => {
    w.if("id.x >= p.vectors", () => w.line("return;"));
    w.line(
      "let base = (id.x / 8u) * p.stride * 8u + id.x % 8u;",
      "let group = id.x / p.group_vectors * p.stride;",
      "var total = vec4f();",
    );
    w.for("var r = id.y * p.chunk; r < min(p.rows, (id.y + 1u) * p.chunk); r++", () => {
      w.line(
        "let at = base + r * 8u;",
        "total += dy[at] * x[at] * silu(vec4f(z[p.z_at + at])) * inverse[group + r];",
      );
    });
    w.line("partials[id.y * p.vectors + id.x] = total;");
  });
  return w.program();
}

/** Queues dweight += the sum over rows of dy times what the weight multiplied. */
function weightGradient(plan: Plan, o: GatedRmsNormBackward): void {
  const { rows, cols, stride } = o.x;
  const lines = padded(cols) / 4;
  const chunk = rowChunk(plan.device.variant, rows);
  plan.dispatch({
    label: "gated rmsnorm dweight",
    code: weightProgram(o.z),
    params: WEIGHT_PARAMS.pack({
      rows,
      stride,
      vectors: lines,
      chunk: chunk.rows,
      group_vectors: lines / o.groups,
      z_at: (o.zColumn ?? 0) / 32 * stride * 8,
    }),
    bindings: {
      x: o.x.region,
      z: o.z.region,
      inverse: o.inverseRms,
      dy: o.dy.region,
      partials: o.scratch,
    },
    groups: [Math.ceil(lines / VECTOR_GROUP), chunk.count],
    bytes: rows * lines * (32 + 4 * elementBytes(o.z)),
  });
  sumWeightGradient(plan, o, chunk.count);
}
