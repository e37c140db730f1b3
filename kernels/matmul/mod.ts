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
 *
 * The programs: broadcast.ts (CPU drivers with subgroups), plain.ts (CPU drivers without), tiled.ts
 * (GPUs) and subgroup_matrix.ts (GPUs' matrix units, in mixed precision). split.ts adds up the parts of
 * products whose K is long and whose C is small.
 * @module
 */
import type { Device } from "../device.ts";
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
import type { MatrixUnits } from "../matrix_units.ts";
import type { KernelCall, Plan } from "../plan.ts";
import type { Program } from "../wgsl/mod.ts";
import { broadcastProgram } from "./broadcast.ts";
import {
  choiceKey,
  defaultChoice,
  type MatmulChoice,
  tileGrid,
  tileSize,
  tunedChoices,
} from "./choice.ts";
import { operandTextures } from "./operand_textures.ts";
import { PLAIN_WORKGROUP, plainProgram } from "./plain.ts";
import { type Extents, extents, halfKey, type MatmulCall, type Operands } from "./product.ts";
import { CPU_PARAMS, GPU_PARAMS } from "./program_parts.ts";
import { splitOf, splitScratch, sumSplit } from "./split.ts";
import { subgroupMatrixProgram } from "./subgroup_matrix.ts";
import { tiledProgram } from "./tiled.ts";
import { defaultUnitChoice } from "./unit_choice.ts";

export { halfKey, type MatmulCall, type Operands, type Product } from "./product.ts";

/**
 * Appends C = or += product(A, B) (+ residual) to the plan.
 * @throws {RangeError} where the operands' shapes or types do not belong together.
 * @throws {DeviceError} where the device cannot bind a single panel of an operand.
 */
export function matmul(plan: Plan, call: MatmulCall): void {
  const { device } = plan;
  const { m } = extents(call);
  checkTypes(call);
  checkPanels(device, call);
  const limit = device.bindingLimit;
  if (readsBuffers(device) && call.product === "TN" && call.a.region.size > limit && m > PANEL) {
    matmulByRows(plan, call);
    return;
  }
  const { n, k } = extents(call);
  const width = partWidths(device, call);
  for (let cFrom = 0; cFrom < n; cFrom += width.n) {
    for (let kFrom = 0; kFrom < k; kFrom += width.k) {
      const first = kFrom === 0;
      const whole = {
        ...call,
        accumulate: call.accumulate || !first,
        residual: first ? call.residual : undefined,
      };
      const part: Part = {};
      if (width.n < n) part.n = { from: cFrom, count: Math.min(width.n, n - cFrom) };
      if (width.k < k) part.k = { from: kFrom, count: Math.min(width.k, k - kFrom) };
      matmulPart(plan, whole, part);
    }
  }
}

function checkTypes(call: MatmulCall): void {
  const { m, n } = extents(call);
  const { c, residual } = call;
  if (call.accumulate && c.type === "f16") throw new RangeError("Sums are not kept in f16");
  if (residual && (residual.rows !== m || residual.cols !== n || residual.type)) {
    throw new RangeError(`A residual of (${m}, ${n}) in f32 is wanted`);
  }
}

/** Whether A and B are bound as buffers; cpu-subgroup reads them through textures. */
const readsBuffers = ({ variant }: Device): boolean => variant !== "cpu-subgroup";

function checkPanels(device: Device, { a, b, c }: MatmulCall): void {
  for (const matrix of readsBuffers(device) ? [a, b, c] : [c]) {
    if (panelBytes(matrix) > device.bindingLimit) {
      throw new DeviceError(
        `Cannot bind a panel of ${panelBytes(matrix)} bytes: this device binds at most ` +
          `${device.bindingLimit}; use a smaller batch or vocabulary`,
      );
    }
  }
}

/** How many columns of each of these matrices can be bound at once: whole panels. */
function mostColumns({ bindingLimit }: Device, matrices: readonly Matrix[]): number {
  const widest = Math.max(...matrices.map(panelBytes));
  return Math.max(1, Math.floor(bindingLimit / widest)) * PANEL;
}

/** A product TN cut along m, where a binding cannot hold the whole of A, whose panels run along m. */
function matmulByRows(plan: Plan, call: MatmulCall): void {
  const { a, c, residual } = call;
  const { m } = extents(call);
  const width = mostColumns(plan.device, [a]);
  for (let from = 0; from < m; from += width) {
    const count = Math.min(width, m - from);
    const part = { ...call, a: columns(a, from, count), c: rowsOf(c, from, count) };
    if (residual) part.residual = rowsOf(residual, from, count);
    matmul(plan, part);
  }
}

/**
 * How much of n and of k one part of a product covers: all of it, or where a binding cannot hold the
 * whole of a matrix, so much of the axis along which its panels run as it can.
 */
function partWidths(device: Device, call: MatmulCall): { n: number; k: number } {
  const { product, a, b, c, residual } = call;
  const { n, k } = extents(call);
  const buffers = readsBuffers(device);
  const tooBig = (matrix: Matrix) => matrix.region.size > device.bindingLimit;
  const bAlongN = product !== "NT"; // B's panels run along n, or else along k
  const alongN = [c];
  if (residual) alongN.push(residual);
  if (buffers && bAlongN) alongN.push(b);
  const widths = { n, k };
  if (alongN.some(tooBig) && n > PANEL) {
    const parts = Math.ceil(padded(n) / mostColumns(device, alongN));
    widths.n = padded(Math.ceil(padded(n) / PANEL / parts) * PANEL);
  }
  if (buffers && product !== "TN" && (tooBig(a) || !bAlongN && tooBig(b))) {
    widths.k = mostColumns(device, bAlongN ? [a] : [a, b]);
  }
  return widths;
}

/** The panels of columns [from, from + cols); the last may be short where the rows are a part. */
function panelRange(matrix: Matrix, from: number, cols: number): Region {
  const skip = from / PANEL * panelBytes(matrix);
  const wanted = padded(cols) / PANEL * panelBytes(matrix);
  return subregion(matrix.region, skip, Math.min(wanted, matrix.region.size - skip));
}

/** Which columns of C, and which values of K, a part of a product covers; all where left out. */
interface Part {
  n?: { from: number; count: number };
  k?: { from: number; count: number };
}

/** One dispatch of a product: all that its program is made for and binds. */
interface Dispatch {
  call: MatmulCall;
  extents: Extents;
  a: Region;
  b: Region;
  /** The first vector of B that is read. */
  bFirst: number;
  c: Matrix;
  residual?: Matrix;
  /** What profiles are told. */
  work: Pick<KernelCall, "label" | "flop" | "bytes"> & { label: string };
}

/** A product restricted to a part. */
function matmulPart(plan: Plan, call: MatmulCall, part: Part): void {
  const dispatch = restricted(call, part);
  const { variant } = plan.device;
  if (variant === "cpu-subgroup") dispatchBroadcast(plan, dispatch);
  else if (variant === "cpu-plain") dispatchPlain(plan, dispatch);
  else dispatchTiled(plan, dispatch);
}

/** What of its matrices a part of a product reads and writes. */
function restricted(call: MatmulCall, part: Part): Dispatch {
  const { product, a, b, c, residual, accumulate } = call;
  const whole = extents(call);
  const m = whole.m;
  const n = part.n?.count ?? whole.n;
  const k = part.k?.count ?? whole.k;
  let aRegion = a.region;
  let bRegion = b.region;
  let bFirst = 0;
  // B is cut at panels where they run along the axis, and else at lines of 8 vectors.
  if (part.n) {
    if (product === "NT") bFirst = part.n.from * 8;
    else bRegion = panelRange(b, part.n.from, n);
  }
  if (part.k) {
    aRegion = panelRange(a, part.k.from, k);
    if (product === "NT") bRegion = panelRange(b, part.k.from, k);
    else bFirst = part.k.from * 8;
  }
  const columnsOf = (matrix: Matrix): Matrix =>
    part.n ? { ...matrix, region: panelRange(matrix, part.n.from, n), cols: n } : matrix;
  const bytesOfC = elementBytes(c) * (accumulate ? 2 : 1) + (residual ? 4 : 0);
  return {
    call,
    extents: { m, n, k },
    a: aRegion,
    b: bRegion,
    bFirst,
    c: columnsOf(c),
    residual: residual && columnsOf(residual),
    work: {
      label: `${call.label ?? "matmul"} ${product}`,
      flop: 2 * m * n * k,
      bytes: elementBytes(a) * m * k + elementBytes(b) * n * k + bytesOfC * m * n,
    },
  };
}

/** The uniform values that all programs have. */
function commonParams({ call, extents: { m, k }, bFirst }: Dispatch) {
  return {
    m,
    k_vectors: padded(k) / 4,
    a_stride: call.a.stride,
    b_stride: call.b.stride,
    c_stride: call.c.stride,
    d_stride: call.residual?.stride ?? 0,
    b_first: bFirst,
    accumulate: call.accumulate ? 1 : 0,
  };
}

function dispatchBroadcast(plan: Plan, dispatch: Dispatch): void {
  const { call, a, b, c, residual } = dispatch;
  const { m, n } = dispatch.extents;
  const textures = operandTextures(plan.device);
  const choice = choiceOf(plan.device, call, dispatch.extents);
  plan.dispatch({
    ...dispatch.work,
    code: program("broadcast", choice, call),
    params: CPU_PARAMS.pack(commonParams(dispatch)),
    bindings: {
      A: textures.load(plan, "a", a, call.a, call.sameA),
      B: call.bTexture?.createView() ?? textures.load(plan, "b", b, call.b),
      C: c.region,
      D: residual?.region,
    },
    groups: tileGrid(choice.order, padded(n) / PANEL, padded(m) / PANEL),
  });
}

function dispatchPlain(plan: Plan, dispatch: Dispatch): void {
  const { call, a, b, c, residual } = dispatch;
  const { m, n } = dispatch.extents;
  const { rows, cols } = PLAIN_WORKGROUP;
  plan.dispatch({
    ...dispatch.work,
    code: program("plain", choiceOf(plan.device, call, dispatch.extents), call),
    params: CPU_PARAMS.pack(commonParams(dispatch)),
    bindings: { A: a, B: b, C: c.region, D: residual?.region },
    groups: [Math.ceil(padded(n) / cols), Math.ceil(m / rows)],
  });
}

/** A product on gpu-tiled, with the device's matrix units or without; see split.ts for its parts. */
function dispatchTiled(plan: Plan, dispatch: Dispatch): void {
  const { device } = plan;
  const { call, a, b, c, residual } = dispatch;
  const { m, n, k } = dispatch.extents;
  const units = unitsFor(device, call);
  const choice = choiceOf(device, call, dispatch.extents);
  const { rows, cols } = tileSize(choice.tile);
  const { parts, length } = splitOf(m, n, k, device.bindingLimit);
  const partFloats = matrixFloats(m, n);
  const kind = units ? "units" : "tiled";
  const tiles = tileGrid(choice.order, Math.ceil(padded(n) / cols), Math.ceil(m / rows));
  const params = {
    ...commonParams(dispatch),
    m_padded: padded(m),
    n_padded: padded(n),
    part_length: length,
    part_vectors: partFloats / 4,
  };
  if (parts === 1) {
    plan.dispatch({
      ...dispatch.work,
      code: program(kind, choice, call, units),
      params: GPU_PARAMS.pack(params),
      bindings: { A: a, B: b, C: c.region, D: residual?.region },
      groups: [...tiles, 1],
    });
    return;
  }
  // Each part writes its sums to scratch memory, in f32; what becomes of them is up to the last kernel.
  const sums = splitScratch(device, 4 * parts * partFloats);
  const ofParts = { ...params, c_stride: padded(m), accumulate: 0 };
  plan.dispatch({
    ...dispatch.work,
    code: program(kind, choice, { ...call, c: {}, residual: undefined }, units),
    params: GPU_PARAMS.pack(ofParts),
    bindings: { A: a, B: b, C: sums },
    groups: [...tiles, parts],
  });
  const to = { ...c, rows: m, cols: n };
  const { accumulate } = call;
  sumSplit(plan, dispatch.work.label, { region: sums, count: parts }, to, { accumulate, residual });
}

/** The device's matrix units, where a product of such operands is mixed precision's. */
export const unitsFor = (
  { matrixUnits }: Device,
  { a, b, mixed }: Operands,
): MatrixUnits | undefined => a.type || b.type || mixed ? matrixUnits : undefined;

/** The tuned choice, that of the same shape in f32, or the default. */
function choiceOf(device: Device, call: MatmulCall, { m, n, k }: Extents): MatmulChoice {
  const { variant, workgroupBytes } = device;
  const choices = tunedChoices(device);
  const tuned = choices.get(choiceKey(call.product, m, n, k, halfKey(call)));
  if (unitsFor(device, call)) {
    return tuned?.stages !== undefined ? tuned : defaultUnitChoice(m, n, k, call, device);
  }
  return tuned ?? choices.get(choiceKey(call.product, m, n, k)) ??
    defaultChoice(m, n, k, { variant, workgroupBytes });
}

/** Of a call, what its program depends on. */
type ProgramCall = Operands & Pick<MatmulCall, "product" | "residual" | "accumulate">;

/** The kinds of programs, and what writes each. */
type ProgramKind = "broadcast" | "plain" | "tiled" | "units";

const PROGRAMS = new Map<string, Program>();

/** A program, written once. */
function program(
  kind: ProgramKind,
  choice: MatmulChoice,
  call: ProgramCall,
  units?: MatrixUnits,
): Program {
  const { order, tile, depth, half } = choice;
  const key: unknown[] = [kind, order, tile, depth, half, call.product, halfKey(call)];
  key.push(call.residual !== undefined, kind === "broadcast" && call.accumulate);
  if (units) {
    key.push(choice.stages, choice.subgroups, call.a.exponent, call.b.exponent);
    key.push(...Object.values(units));
  }
  const name = key.map(String).join(" ");
  const kept = PROGRAMS.get(name);
  if (kept) return kept;
  const written = write(kind, choice, call, units);
  PROGRAMS.set(name, written);
  return written;
}

function write(
  kind: ProgramKind,
  choice: MatmulChoice,
  call: ProgramCall,
  units?: MatrixUnits,
): Program {
  const { product } = call;
  const residual = call.residual !== undefined;
  if (kind === "broadcast") return broadcastProgram(product, call, choice.order, residual);
  if (kind === "plain") return plainProgram(product, call, residual);
  if (!units) return tiledProgram(product, call, choice, residual);
  return subgroupMatrixProgram(product, call, choice, residual, units);
}
