/**
 * y = W x from weights packed for it, as a texture: rows in small groups, each group's values in the
 * order in which one subgroup reads them, so that a CPU driver streams through memory. The time of a
 * generated token is that of this reading; packing in f16 halves it: values are rounded once, products
 * and sums stay f32.
 *
 * A texel is one lane's: four f32 values of a row, or eight f16 values in four words. The texel of
 * (group g, block i, row r of the group, lane l) is at `((g * blocks + i) * rows + r) * 8 + l`, where a
 * block is what the 8 lanes of a subgroup read of a row at a time: 32 columns in f32, 64 in f16.
 * @module
 */
import { type Device, TEXTURE_WIDTH } from "../device.ts";
import { type Matrix, PANEL, panelBytes, type Region, subregion } from "../layout.ts";
import { Plan, spread } from "../plan.ts";
import { range } from "../range.ts";
import { copyToTexture } from "../texture.ts";
import { type Program, uniforms, VECTOR_GROUP, WgslWriter } from "../wgsl/mod.ts";

/** A weight in the packed order; only the `cpu-subgroup` variant reads it. */
export interface PackedWeight {
  texture: GPUTexture;
  rows: number;
  cols: number;
  /** Texels of eight f16 values, or of four f32. */
  half: boolean;
}

/** Rows of a group, and values of a row in a texel. */
const form = (half: boolean) => half ? { rows: 8, values: 8 } : { rows: 4, values: 4 };
/** Lanes of a subgroup. */
const LANES = 8;
/** Bytes of a texel. */
const TEXEL = 16;

/** Blocks of so many columns. */
const blocksOf = (cols: number, half: boolean): number =>
  Math.ceil(cols / (LANES * form(half).values));

const PACK_PARAMS = uniforms({
  /** Texels of the part that is packed. */
  texels: "u32",
  blocks: "u32",
  /** Rows allocated of the weight: the distance between its panels. */
  stride: "u32",
  /** The first row of the part. */
  first_row: "u32",
  /** The panels that are bound: from, and up to. */
  begin: "u32",
  end: "u32",
});

/** The program that packs the panels [begin, end) of a part; one invocation per texel. */
function packProgram(half: boolean): Program {
  const w = new WgslWriter();
  w.const("GROUP", VECTOR_GROUP);
  w.const("LANES", LANES);
  w.const("ROWS", form(half).rows);
  w.uniforms("p", PACK_PARAMS);
  w.storage("values", "vec4f");
  w.storage("packed", "vec4u", "read_write");
  w.fn("line_of(panel: u32, row: u32) -> u32", "return ((panel - p.begin) * p.stride + row) * 8u;");
  if (half) {
    w.fn(
      "halves(x: vec4f, y: vec4f) -> vec4u",
      `
        return vec4u(
          pack2x16float(x.xy),
          pack2x16float(x.zw),
          pack2x16float(y.xy),
          pack2x16float(y.zw),
        );
      `,
    );
  }
  const builtins = { id: "global_invocation_id", count: "num_workgroups" } as const;
  w.main("GROUP", builtins, () => {
    w.line("let i = id.x + id.y * count.x * GROUP;");
    w.if("i >= p.texels", () => w.line("return;"));
    w.line(`
      let lane = i % LANES;
      let line = i / LANES;
      let block = line / ROWS % p.blocks;
      let row = (line / ROWS / p.blocks) * ROWS + line % ROWS + p.first_row;
    `);
    w.if("row >= p.stride", () => w.line("return;"));
    w.comment(
      "The panel of 32 columns that the lane's values are in, and their vector in its line.",
    );
    if (half) {
      w.line(`
        let panel = 2u * block + lane / 4u;
        let vector = 2u * (lane % 4u);
      `);
    } else {
      w.line(`
        let panel = block;
        let vector = lane;
      `);
    }
    w.if("p.begin <= panel && panel < p.end", () => {
      w.line("let at = line_of(panel, row) + vector;");
      w.line(
        half
          ? "packed[i] = halves(values[at], values[at + 1u]);"
          : "packed[i] = bitcast<vec4u>(values[at]);",
      );
    });
  });
  return w.program();
}

/**
 * Packs a weight where the device's variant reads it so; undefined in the other variants, and where
 * bindings are too small for a part. A copy: pack it anew when the weight changes.
 * @throws {DeviceError} where the device is too small.
 */
export function packWeight(
  device: Device,
  weight: Matrix,
  half: boolean,
): PackedWeight | undefined {
  if (device.variant !== "cpu-subgroup") return undefined;
  const { rows, cols } = weight;
  const limit = device.bindingLimit;
  const groups = Math.ceil(rows / form(half).rows);
  const groupBytes = blocksOf(cols, half) * form(half).rows * LANES * TEXEL;
  const total = groups * groupBytes;
  // Each part is whole texture rows, so that it is one copy.
  const unit = leastCommonMultiple(groupBytes, TEXTURE_WIDTH * TEXEL) / groupBytes;
  const each = Math.max(unit, Math.floor(Math.min(limit, total) / groupBytes / unit) * unit);
  const partBytes = Math.min(total, each * groupBytes);
  if (partBytes > limit || panelBytes(weight) > limit) return undefined;
  const height = Math.ceil(total / TEXEL / TEXTURE_WIDTH);
  const texture = device.allocateTexture("weight", height, half ? "packed f16" : undefined);
  const scratch = device.allocate("packing", partBytes);
  for (let first = 0; first < groups; first += each) {
    const bytes = Math.min(each, groups - first) * groupBytes;
    const part = subregion(scratch, 0, bytes);
    const plan = new Plan(device);
    plan.clear(part);
    packPart(plan, weight, half, first * form(half).rows, part);
    const firstLine = first * groupBytes / TEXEL / TEXTURE_WIDTH;
    plan.encode(
      "packed copy",
      bytes,
      (encoder) => copyToTexture(encoder, part, texture, TEXEL, firstLine),
    );
    plan.submit();
    plan.destroy();
  }
  device.free(scratch);
  return { texture, rows, cols, half };
}

/** Queues the packing of rows from `firstRow` on into a part: as many panels at a time as can be bound. */
function packPart(
  plan: Plan,
  weight: Matrix,
  half: boolean,
  firstRow: number,
  part: Region,
): void {
  const { cols, stride, region } = weight;
  const texels = part.size / TEXEL;
  const size = panelBytes(weight);
  const count = Math.ceil(cols / PANEL);
  const atOnce = region.size <= plan.device.bindingLimit ? count : 1;
  for (let begin = 0; begin < count; begin += atOnce) {
    const end = Math.min(count, begin + atOnce);
    plan.dispatch({
      label: "pack weight",
      code: packProgram(half),
      params: PACK_PARAMS.pack({
        texels,
        blocks: blocksOf(cols, half),
        stride,
        first_row: firstRow,
        begin,
        end,
      }),
      bindings: { values: subregion(region, begin * size, (end - begin) * size), packed: part },
      groups: spread(Math.ceil(texels / VECTOR_GROUP)),
    });
  }
}

function leastCommonMultiple(a: number, b: number): number {
  let divisor = a;
  let rest = b;
  while (rest) [divisor, rest] = [rest, divisor % rest];
  return a / divisor * b;
}

const PRODUCT_PARAMS = uniforms({
  /** Rows of the weight. */
  rows: "u32",
  blocks: "u32",
});

/**
 * The program of a product; one subgroup takes a group of rows. A lane takes its values of every block
 * of each row, and reads x once for all rows of the group.
 */
function productProgram(half: boolean): Program {
  const rows = range(form(half).rows);
  const w = new WgslWriter();
  w.const("LANES", LANES);
  w.const("ROWS", rows.length);
  w.const("TEXTURE_WIDTH", TEXTURE_WIDTH);
  w.const("TEXTURE_SHIFT", Math.log2(TEXTURE_WIDTH));
  w.uniforms("p", PRODUCT_PARAMS);
  w.texture("weight", `texture_storage_2d<${half ? "rgba32uint" : "rgba32float"}, read>`);
  w.storage("x", "vec4f");
  w.storage("y", "f32", "read_write");
  if (half) {
    w.fn(
      "first_four(h: vec4u) -> vec4f",
      "return vec4f(unpack2x16float(h.x), unpack2x16float(h.y));",
    );
    w.fn(
      "last_four(h: vec4u) -> vec4f",
      "return vec4f(unpack2x16float(h.z), unpack2x16float(h.w));",
    );
  }
  const builtins = { group: "workgroup_id", lane: "local_invocation_index" } as const;
  w.main("LANES", builtins, () => {
    for (const row of rows) w.line(`var sum${row} = vec4f();`);
    w.for("var block = 0u; block < p.blocks; block++", () => {
      w.line(`
        let texel = (group.x * p.blocks + block) * (LANES * ROWS) + lane;
        let column = texel & (TEXTURE_WIDTH - 1u);
        let line = texel >> TEXTURE_SHIFT;
      `);
      w.line(
        half
          ? `
            let a = x[(block * LANES + lane) * 2u];
            let b = x[(block * LANES + lane) * 2u + 1u];
          `
          : "let a = x[block * LANES + lane];",
      );
      for (const row of rows) {
        const texel = `textureLoad(weight, vec2u(column + ${LANES * row}u, line))`;
        if (half) {
          w.line(
            `let w${row} = ${texel};`,
            `sum${row} += first_four(w${row}) * a + last_four(w${row}) * b;`,
          );
        } else {
          w.line(`sum${row} += ${texel} * a;`);
        }
      }
    });
    for (const row of rows) w.line(`let y${row} = subgroupAdd(dot(sum${row}, vec4f(1.0)));`);
    w.if("lane == 0u", () => {
      w.line("let first = group.x * ROWS;");
      for (const row of rows) {
        w.if(`first + ${row}u < p.rows`, () => w.line(`y[first + ${row}u] = y${row};`));
      }
    });
  });
  return w.program();
}

/**
 * Appends y = W x. x holds the padded columns, y the rows, as contiguous vectors. An f16 weight takes
 * 64 columns at a time: beyond the end of x the device reads finite values, and W is zero there.
 */
export function packedMatvec(
  plan: Plan,
  weight: PackedWeight,
  x: Region,
  y: Region,
  label = "matvec",
): void {
  const { rows, cols, half } = weight;
  plan.dispatch({
    label,
    code: productProgram(half),
    params: PRODUCT_PARAMS.pack({ rows, blocks: blocksOf(cols, half) }),
    bindings: { weight: weight.texture.createView(), x, y },
    groups: [Math.ceil(rows / form(half).rows)],
    flop: 2 * rows * cols,
    bytes: (half ? 2 : 4) * rows * cols,
  });
}
