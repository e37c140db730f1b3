/**
 * Matrix products of panel matrices, in the device's variant.
 *
 * | product | C[m,n] = | use |
 * |---|---|---|
 * | NT | sum_k A[m,k] B[n,k] | forward, X . W^T |
 * | NN | sum_k A[m,k] B[k,n] | input gradient, dY . W |
 * | TN | sum_k A[k,m] B[k,n] | weight gradient, dY^T . X |
 *
 * K runs over the padded extent, so padding must be zero in one operand and finite in the other.
 * Any matrix may be f16: operands are converted as they are loaded, sums are f32, C is rounded once.
 * @module
 */
import { type Device, TEXTURE_WIDTH } from "../device.ts";
import { DeviceError } from "../errors.ts";
import {
  columns,
  elementBytes,
  type Matrix,
  matrixFloats,
  padded,
  PANEL,
  panelBytes,
  type Region,
  rowsOf,
  subregion,
} from "../layout.ts";
import { packParams, type Plan } from "../plan.ts";
import { copyToTexture } from "../texture.ts";
import { choiceKey, defaultChoice, type MatmulChoice, tileExtents, tileGrid } from "./choice.ts";
import { broadcastProgram } from "./broadcast.ts";
import { PLAIN_WORKGROUP, plainProgram } from "./plain.ts";
import type { MatrixUnits } from "./matrix_units.ts";
import { splitOf, splitScratch, sumSplit } from "./split.ts";
import { subgroupMatrixProgram } from "./subgroup_matrix.ts";
import { tiledProgram } from "./tiled.ts";
import { defaultUnitChoice } from "./unit_choice.ts";

/** Which operands are transposed; see the module's text. */
export type Product = "NT" | "NN" | "TN";

/** How a product's matrices are stored: its program depends on it. */
export type Operands = Record<"a" | "b" | "c", Pick<Matrix, "type" | "exponent">> & {
  /** Part of a computation in mixed precision though neither A nor B is f16. */
  mixed?: boolean;
};

/** One matrix product. */
export interface MatmulCall {
  /** Which product it is. */
  product: Product;
  /** The left operand. */
  a: Matrix;
  /** The right operand. */
  b: Matrix;
  /** Not f16 where it is accumulated into: that would round every sum. */
  c: Matrix;
  /** C += instead of C =. */
  accumulate?: boolean;
  /** (m, n) f32, another matrix than C: added to the product. */
  residual?: Matrix;
  /**
   * A is as the product before this one in the plan had it, unchanged since: where the variant
   * copies operands, this one is not copied again.
   */
  sameA?: boolean;
  /** B as `weightTexture` of texture.ts made it, where B never changes: it is then not copied at all. */
  bTexture?: GPUTexture;
  /** What profiles call it. */
  label?: string;
  /** See {@linkcode Operands}. */
  mixed?: boolean;
}

/** The extents (m, n, k) of a product, from its operands. */
function extents({ product, a, b, c }: MatmulCall): { m: number; n: number; k: number } {
  const [m, k] = product === "TN" ? [a.cols, a.rows] : [a.rows, a.cols];
  const [n, kb] = product === "NT" ? [b.rows, b.cols] : [b.cols, b.rows];
  if (k !== kb || c.rows !== m || c.cols !== n) {
    throw new RangeError(
      `Product ${product} of (${a.rows}, ${a.cols}) and (${b.rows}, ${b.cols}) does not give ` +
        `(${c.rows}, ${c.cols})`,
    );
  }
  return { m, n, k };
}

/** Appends C = or += product(A, B) (+ residual) to the plan. */
export function matmul(plan: Plan, call: MatmulCall): void {
  const { device } = plan, { product, a, b, c, residual } = call, { m, n, k } = extents(call);
  if (call.accumulate && c.type === "f16") throw new RangeError("Sums are not kept in f16");
  if (residual && (residual.rows !== m || residual.cols !== n || residual.type)) {
    throw new RangeError(`A residual of (${m}, ${n}) in f32 is wanted`);
  }
  const limit = device.bindingLimit, texture = device.variant === "cpu-subgroup";
  const tooBig = (matrix: Matrix) => matrix.region.size > limit;
  for (const x of texture ? [c] : [a, b, c]) {
    if (panelBytes(x) > limit) {
      throw new DeviceError(
        `Cannot bind a panel of ${panelBytes(x)} bytes: this device binds at most ${limit}; ` +
          `use a smaller batch or vocabulary`,
      );
    }
  }
  // A binding cannot hold the whole matrix: cut along the axis in which its panels run.
  const widest = (matrices: Matrix[]) => Math.max(...matrices.map(panelBytes));
  const most = (matrices: Matrix[]) => Math.max(1, Math.floor(limit / widest(matrices))) * PANEL;
  if (!texture && product === "TN" && tooBig(a) && m > PANEL) {
    const width = most([a]);
    for (let from = 0; from < m; from += width) {
      const count = Math.min(width, m - from), rows = (x: Matrix) => rowsOf(x, from, count);
      const part = { ...call, a: columns(a, from, count), c: rows(c) };
      matmul(plan, residual ? { ...part, residual: rows(residual) } : part);
    }
    return;
  }
  const bAlongN = product !== "NT"; // B's panels run along N (else along K)
  const alongN = [c, ...(residual ? [residual] : []), ...(!texture && bAlongN ? [b] : [])];
  let nWidth = n, kWidth = k;
  if (alongN.some(tooBig) && n > PANEL) {
    const parts = Math.ceil(padded(n) / most(alongN));
    nWidth = padded(Math.ceil(padded(n) / PANEL / parts) * PANEL);
  }
  if (!texture && product !== "TN" && (tooBig(a) || !bAlongN && tooBig(b))) {
    kWidth = most([a, ...(bAlongN ? [] : [b])]);
  }
  for (let cFrom = 0; cFrom < n; cFrom += nWidth) {
    for (let kFrom = 0; kFrom < k; kFrom += kWidth) {
      const first = kFrom === 0, accumulate = call.accumulate || !first;
      matmulPart(plan, { ...call, accumulate, residual: first ? residual : undefined }, {
        ...(nWidth < n ? { cFrom, n: Math.min(nWidth, n - cFrom) } : {}),
        ...(kWidth < k ? { kFrom, k: Math.min(kWidth, k - kFrom) } : {}),
      });
    }
  }
}

/** The panels of columns [from, from + cols); the last may be short where the rows are a part. */
function panelRange(matrix: Matrix, from: number, cols: number): Region {
  const skip = from / PANEL * panelBytes(matrix),
    wanted = padded(cols) / PANEL * panelBytes(matrix);
  return subregion(matrix.region, skip, Math.min(wanted, matrix.region.size - skip));
}

interface Part {
  cFrom?: number;
  n?: number;
  kFrom?: number;
  k?: number;
}

/** A product restricted to columns [cFrom, cFrom + n) of C and [kFrom, kFrom + k) of K. */
function matmulPart(plan: Plan, call: MatmulCall, part: Part): void {
  const { device } = plan, { product, a, b, c, residual } = call, whole = extents(call);
  const { m } = whole, n = part.n ?? whole.n, k = part.k ?? whole.k;
  const cFrom = part.cFrom ?? 0, kFrom = part.kFrom ?? 0;
  let aRegion = a.region, bRegion = b.region, bOffset = 0;
  if (part.n !== undefined) {
    if (product === "NT") bOffset = cFrom * 8;
    else bRegion = panelRange(b, cFrom, n);
  }
  if (part.k !== undefined) {
    aRegion = panelRange(a, kFrom, k);
    if (product === "NT") bRegion = panelRange(b, kFrom, k);
    else bOffset = kFrom * 8;
  }
  const columnsOf = (matrix: Matrix): Matrix =>
    part.n === undefined ? matrix : { ...matrix, region: panelRange(matrix, cFrom, n), cols: n };
  const cPart = columnsOf(c), added = residual && columnsOf(residual);
  const params = [m, padded(k) / 4, a.stride, b.stride, c.stride, 0, bOffset].concat(
    call.accumulate ? 1 : 0,
  );
  const more = added ? [added.region] : [], rd = residual?.stride ?? 0;
  const work = {
    label: `${call.label ?? "matmul"} ${product}`,
    flop: 2 * m * n * k,
    bytes: elementBytes(a) * m * k + elementBytes(b) * n * k +
      (elementBytes(c) * (call.accumulate ? 2 : 1) + (residual ? 4 : 0)) * m * n,
  };
  const units = unitsFor(device, call), choice = choiceOf(device, call, m, n, k, units);
  const { order } = choice;
  if (device.variant === "cpu-subgroup") {
    const textures = operandTextures(device);
    plan.dispatch({
      ...work,
      code: program("broadcast", choice, call),
      params: packParams([...params, rd]),
      bindings: [
        textures.load(plan, "a", aRegion, a, call.sameA),
        call.bTexture?.createView() ?? textures.load(plan, "b", bRegion, b),
        cPart.region,
        ...more,
      ],
      groups: tileGrid(order, padded(n) / PANEL, padded(m) / PANEL),
    });
  } else if (device.variant === "cpu-plain") {
    plan.dispatch({
      ...work,
      code: program("plain", choice, call),
      params: packParams([...params, rd]),
      bindings: [aRegion, bRegion, cPart.region, ...more],
      groups: [Math.ceil(padded(n) / PLAIN_WORKGROUP.cols), Math.ceil(m / PLAIN_WORKGROUP.rows)],
    });
  } else {
    const split = splitOf(m, n, k, device.bindingLimit), cut = split.parts > 1;
    const { rows, cols } = tileExtents(choice.tile), slab = matrixFloats(m, n);
    const out = cut ? splitScratch(device, 4 * split.parts * slab) : cPart.region;
    const own = cut ? { ...call, c: {}, residual: undefined } : call;
    if (cut) params.splice(4, 4, padded(m), 0, bOffset, 0);
    plan.dispatch({
      ...work,
      code: program(units ? "units" : "tiled", choice, own, units),
      params: packParams([...params, padded(m), padded(n), split.length, slab / 4, rd]),
      bindings: [aRegion, bRegion, out, ...(cut ? [] : more)],
      groups: [...tileGrid(order, Math.ceil(padded(n) / cols), Math.ceil(m / rows)), split.parts],
    });
    if (cut) {
      const { accumulate } = call;
      const to = { ...cPart, rows: m, cols: n };
      sumSplit(plan, work.label, out, split.parts, to, { accumulate, residual: added });
    }
  }
}

/** Which of a product's matrices are f16, as a key of choices. */
export const halfKey = ({ a, b, c, mixed }: Operands): string =>
  [["a", a], ["b", b], ["c", c]].map(([name, x]) => (x as Operands["a"]).type ? name : "")
    .join("") + (mixed && !a.type && !b.type ? "mixed" : "");

/** The device's matrix units, where a product of such operands is mixed precision's. */
export const unitsFor = (
  { matrixUnits }: Device,
  { a, b, mixed }: Operands,
): MatrixUnits | undefined => a.type || b.type || mixed ? matrixUnits : undefined;

/** The tuned choice, that of the same shape in f32, or the default. */
function choiceOf(
  device: Device,
  call: MatmulCall,
  m: number,
  n: number,
  k: number,
  units: MatrixUnits | undefined,
): MatmulChoice {
  const { choices, variant, workgroupBytes } = device, { product } = call;
  if (units) {
    const tuned = choices.get(choiceKey(product, m, n, k, halfKey(call)));
    return tuned?.stages !== undefined ? tuned : defaultUnitChoice(m, n, k, call, device);
  }
  return choices.get(choiceKey(product, m, n, k, halfKey(call))) ??
    choices.get(choiceKey(product, m, n, k)) ??
    defaultChoice(m, n, k, { variant, workgroupBytes });
}

const GENERATORS = {
  broadcast: (product: Product, operands: Operands, { order }: MatmulChoice, residual: boolean) =>
    broadcastProgram(product, operands, order, residual),
  plain: (product: Product, operands: Operands, _: MatmulChoice, residual: boolean) =>
    plainProgram(product, operands, residual),
  tiled: tiledProgram,
  units: subgroupMatrixProgram,
};
const PROGRAMS = new Map<string, string>();

/** The text of a program, generated once. */
function program(
  kind: keyof typeof GENERATORS,
  choice: MatmulChoice,
  call: Operands & { product: Product; residual?: Matrix },
  units?: MatrixUnits,
): string {
  const { product, residual, a, b } = call, { order, tile, depth, half } = choice;
  const key = [kind, order, tile, depth, half, product, halfKey(call), !!residual].concat(
    units
      ? [choice.stages, choice.subgroups, a.exponent, b.exponent, ...Object.values(units)].map(
        String,
      )
      : [],
  ).join(" ");
  let text = PROGRAMS.get(key);
  if (!text) PROGRAMS.set(key, text = GENERATORS[kind](product, call, choice, !!residual, units!));
  return text;
}

/** The linear textures through which cpu-subgroup products read their operands: a small pool. */
class OperandTextures {
  #device: Device;
  #slots = new Map<string, { texture: GPUTexture; view: GPUTextureView; height: number }>();
  /** What each slot was last loaded with, in the order of planning. */
  #last = new Map<string, Region>();

  constructor(device: Device) {
    this.#device = device;
  }

  /** Appends the copy of `region` into the slot's texture, unless it is the `same` as before. */
  load(
    plan: Plan,
    slot: string,
    region: Region,
    stored: Pick<Matrix, "type">,
    same = false,
  ): GPUTextureView {
    const texel = 4 * elementBytes(stored), texels = region.size / texel;
    const height = Math.ceil(texels / TEXTURE_WIDTH);
    // Heights in powers of two, so that few textures serve all shapes.
    const rounded = 2 ** Math.ceil(Math.log2(height));
    const key = `${slot} ${stored.type ?? "f32"} ${rounded}`;
    let entry = this.#slots.get(key);
    if (!entry) {
      const texture = this.#device.allocateTexture(`operand ${key}`, rounded, stored.type);
      entry = { texture, view: texture.createView(), height: rounded };
      this.#slots.set(key, entry);
    }
    const last = this.#last.get(slot);
    this.#last.set(slot, region);
    if (
      same && last?.buffer === region.buffer && last.offset === region.offset &&
      last.size === region.size
    ) return entry.view;
    const { texture } = entry;
    plan.encode("operand copy", region.size, (e) => copyToTexture(e, region, texture, texel));
    return entry.view;
  }
}

const TEXTURES = new WeakMap<Device, OperandTextures>();
function operandTextures(device: Device): OperandTextures {
  let textures = TEXTURES.get(device);
  if (!textures) TEXTURES.set(device, textures = new OperandTextures(device));
  return textures;
}
