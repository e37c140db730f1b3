/**
 * Sums, always in the same order: partial sums by one kernel, then one more that adds them up. No
 * float atomics, so reruns give the same bits.
 * @module
 */
import type { Sizing } from "../device.ts";
import { type Region, subregion } from "../layout.ts";
import type { Plan } from "../plan.ts";
import { range } from "../range.ts";
import {
  type Program,
  slices,
  uniforms,
  VECTOR_GROUP,
  vectorGroups,
  vectorMain,
  vectors,
  WgslWriter,
  writeReducer,
} from "../wgsl/mod.ts";

/** Adds up rows of partial sums. */
export interface SumPartials {
  /** (count, width) floats, row-major; width is a multiple of 4. */
  partials: Region;
  count: number;
  width: number;
  /** (length) floats; each gets the sum of its column. */
  out: Region;
  length: number;
  /** out += instead of out =. */
  accumulate: boolean;
}

/** Partial sums of a column that neighbouring invocations of a GPU take side by side. */
const SIDE = 32;
/** Columns (of vectors) of a GPU's workgroup. */
const COLUMNS = 8;

const PARTIALS_PARAMS = uniforms({ count: "u32", width: "u32", length: "u32" });

/** `shared`: 32 invocations of a GPU share a column, else each would wait for one load after another. */
function partialsProgram(shared: boolean, accumulate: boolean): Program {
  const w = new WgslWriter();
  w.uniforms("p", PARTIALS_PARAMS);
  w.storage("partials", "vec4f");
  w.storage("result", "f32", "read_write");
  w.fn("put(i: u32, value: f32)", () => {
    w.if("i < p.length", () => w.line(`result[i] ${accumulate ? "+=" : "="} value;`));
  });
  w.fn("put_vector(column: u32, total: vec4f)", () => {
    w.unroll(4, (k) => w.line(`put(column * 4u + ${k}u, total.${"xyzw"[k]});`));
  });
  if (shared) writeSharedColumns(w);
  else writeSingleColumns(w);
  return w.program();
}

/** An entry point that gives each column to one invocation. */
function writeSingleColumns(w: WgslWriter): void {
  w.const("GROUP", VECTOR_GROUP);
  w.main("GROUP", { id: "global_invocation_id" }, () => {
    w.if("id.x * 4u >= p.length", () => w.line("return;"));
    w.line("var total = vec4f();");
    w.for("var k = 0u; k < p.count; k++", () => w.line("total += partials[k * p.width + id.x];"));
    w.line("put_vector(id.x, total);");
  });
}

/** An entry point that gives each column to SIDE invocations, which add theirs up in a tree. */
function writeSharedColumns(w: WgslWriter): void {
  w.const("SIDE", SIDE);
  w.const("COLUMNS", COLUMNS);
  w.const("GROUP", SIDE * COLUMNS);
  w.workgroup("scratch", "array<vec4f, GROUP>");
  w.main("GROUP", { group: "workgroup_id", local: "local_invocation_index" }, () => {
    w.line("let column = group.x * COLUMNS + local % COLUMNS;", "var own = vec4f();");
    w.for("var k = local / COLUMNS; k < p.count; k += SIDE", () => {
      w.line("own += partials[k * p.width + min(column, p.width - 1u)];");
    });
    w.line("scratch[local] = own;", "workgroupBarrier();");
    w.for("var s = GROUP / 2u; s >= COLUMNS; s /= 2u", () => {
      w.if("local < s", () => w.line("scratch[local] += scratch[local + s];"));
      w.line("workgroupBarrier();");
    });
    w.if("local < COLUMNS", () => w.line("put_vector(column, scratch[local]);"));
  });
}

/** Queues {@linkcode SumPartials}: out[c] = sum over k of partials[k, c]. */
export function sumPartials(plan: Plan, o: SumPartials): void {
  const shared = plan.device.variant === "gpu-tiled";
  plan.dispatch({
    label: "sum partials",
    code: partialsProgram(shared, o.accumulate),
    params: PARTIALS_PARAMS.pack({ count: o.count, width: o.width / 4, length: o.length }),
    bindings: { partials: vectors(o.partials), result: o.out },
    groups: [Math.ceil(o.length / 4 / (shared ? COLUMNS : VECTOR_GROUP))],
    bytes: o.count * o.width * 4,
  });
}

/** Most partial sums that one region of {@linkcode sumOfSquares} leaves. */
const SQUARE_PARTIALS = 16384;
/** Invocations of a GPU's workgroup, which leaves one partial sum. */
const SQUARE_GROUP = 256;
/** Most workgroups of a GPU for one region. */
const SQUARE_GROUPS = 2048;
/** Invocations of a workgroup on a CPU driver: a subgroup. */
const SQUARE_LANES = 8;

/** A stretch of a region whose squares are summed by runs: each workgroup takes one run of bytes. */
export interface SquareStretch {
  /** The stretch: what one binding holds. */
  region: Region;
  /** Bytes of a run. A stretch that is cut at multiples of it leaves the same partial sums. */
  run: number;
  /** Vectors of a run for each invocation of its workgroup. */
  blocks: number;
  /** The number of its first partial sum, counted over all stretches. */
  first: number;
  /** Partial sums that each run leaves. */
  perRun: number;
}

/** How {@linkcode sumOfSquares} deals out regions. */
export function squareStretches(device: Sizing, regions: readonly Region[]): SquareStretch[] {
  const shared = device.variant === "gpu-tiled";
  const size = shared ? SQUARE_GROUP : SQUARE_LANES;
  const perRun = shared ? 1 : size;
  const most = shared ? SQUARE_GROUPS * size : SQUARE_PARTIALS;
  let first = 0;
  return regions.flatMap((region) => slices(device, region)).map((part) => {
    const count = Math.floor(part.size / 16);
    const blocks = Math.max(8, Math.ceil(count / most / 8) * 8);
    const stretch = { region: part, run: blocks * size * 16, blocks, first, perRun };
    first += runsOf(stretch, part.size) * perRun;
    return stretch;
  });
}

/** Runs of so many bytes. */
export const runsOf = ({ run }: Pick<SquareStretch, "run">, bytes: number): number =>
  Math.ceil(bytes / run);

/** Floats of scratch that {@linkcode sumOfSquares} of these regions needs. */
export function sumOfSquaresScratch({ device }: { device: Sizing }, regions: Region[]): number {
  const last = squareStretches(device, regions).at(-1);
  return last ? last.first + runsOf(last, last.region.size) * last.perRun : 0;
}

const SQUARES_PARAMS = uniforms({ vectors: "u32", first: "u32", blocks: "u32" });

/** Blocks that an invocation of {@linkcode squaresProgram} loads at once. */
const SQUARE_LOADS = 8;

/**
 * A workgroup takes a run of neighbouring blocks, eight at a time. CPU drivers run a workgroup's
 * subgroups one after another, so there a workgroup is one subgroup that walks straight on, and every
 * invocation leaves its sum; a GPU's workgroups add theirs up (`shared`).
 */
function squaresProgram(shared: boolean, subgroups: boolean): Program {
  const size = shared ? SQUARE_GROUP : SQUARE_LANES;
  const w = new WgslWriter();
  w.const("GROUP", size);
  w.uniforms("p", SQUARES_PARAMS);
  w.storage("values", "vec4f");
  w.storage("partials", "f32", "read_write");
  if (shared) {
    w.workgroup("scratch", "array<f32, GROUP>");
    writeReducer(w, { name: "add_up", operation: "sum", lanes: size, size, subgroups });
  }
  w.main("GROUP", { group: "workgroup_id", local: "local_invocation_index" }, () => {
    w.line(
      "var i = group.x * p.blocks * GROUP + local;",
      "let end = min(p.vectors, (group.x + 1u) * p.blocks * GROUP);",
      "var total = 0.0;",
    );
    const last = SQUARE_LOADS - 1;
    w.for(`; i + ${last}u * GROUP < end; i += ${SQUARE_LOADS}u * GROUP`, () => {
      w.unroll(SQUARE_LOADS, (k) => w.line(`let v${k} = values[i + ${k}u * GROUP];`));
      w.line(`total += ${range(SQUARE_LOADS).map((k) => `dot(v${k}, v${k})`).join(" + ")};`);
    });
    w.for("; i < end; i += GROUP", () => w.line("let v = values[i];", "total += dot(v, v);"));
    if (shared) {
      w.line("let all = add_up(local, total);");
      w.if("local == 0u", () => w.line("partials[p.first + group.x] = all;"));
    } else {
      w.line("partials[p.first + group.x * GROUP + local] = total;");
    }
  });
  return w.program();
}

/**
 * Queues the partial sums of squares of a stretch, or of the part of it that begins at a multiple of its
 * run; `scratch` has room for those of all stretches.
 */
export function squarePartials(
  plan: Plan,
  { region, run, blocks, first, perRun }: SquareStretch,
  scratch: Region,
  part: { from: number; bytes: number } = { from: 0, bytes: region.size },
): void {
  const { variant, subgroupSize } = plan.device;
  const shared = variant === "gpu-tiled";
  const count = Math.floor(part.bytes / 16);
  plan.dispatch({
    label: "sum of squares",
    code: squaresProgram(shared, shared && subgroupSize > 0),
    params: SQUARES_PARAMS.pack({
      vectors: count,
      first: first + part.from / run * perRun,
      blocks,
    }),
    bindings: { values: subregion(region, part.from, part.bytes), partials: scratch },
    groups: [runsOf({ run }, part.bytes)],
    flop: count * 8,
    bytes: part.bytes,
  });
}

/**
 * Queues out[0] = the sum of squares of all floats of all regions (sizes: whole vec4f, padding
 * zero). `scratch` holds {@linkcode sumOfSquaresScratch} floats.
 */
export function sumOfSquares(plan: Plan, regions: Region[], scratch: Region, out: Region): void {
  for (const stretch of squareStretches(plan.device, regions)) {
    squarePartials(plan, stretch, scratch);
  }
  sum(plan, { values: scratch, length: sumOfSquaresScratch(plan, regions), out });
}

/** Adds up a flat array. */
export interface Sum {
  values: Region;
  length: number;
  /** One float. */
  out: Region;
  /** out += instead of out =. */
  accumulate?: boolean;
  /** One float that the sum is multiplied with; read when the kernel runs. */
  scale?: Region;
}

/** Invocations of the workgroup that {@linkcode sum} runs. */
const SUM_GROUP = 256;
const SUM_PARAMS = uniforms({ length: "u32" });

function sumProgram(o: { accumulate: boolean; scaled: boolean; subgroups: boolean }): Program {
  const w = new WgslWriter();
  w.const("GROUP", SUM_GROUP);
  w.uniforms("p", SUM_PARAMS);
  w.storage("values", "f32");
  w.storage("result", "f32", "read_write");
  if (o.scaled) w.storage("factor", "f32");
  w.workgroup("scratch", "array<f32, GROUP>");
  writeReducer(w, {
    name: "add_up",
    operation: "sum",
    lanes: SUM_GROUP,
    size: SUM_GROUP,
    subgroups: o.subgroups,
  });
  w.main("GROUP", { local: "local_invocation_index" }, () => {
    w.line("var total = 0.0;");
    w.for("var i = local; i < p.length; i += GROUP", () => w.line("total += values[i];"));
    w.line("let all = add_up(local, total);");
    w.if("local == 0u", () => {
      w.line(`result[0] ${o.accumulate ? "+=" : "="} ${o.scaled ? "factor[0] * " : ""}all;`);
    });
  });
  return w.program();
}

/** Queues out[0] = scale x the sum of the first `length` values, by one workgroup. */
export function sum(plan: Plan, o: Sum): void {
  const { variant, subgroupSize } = plan.device;
  plan.dispatch({
    label: "sum",
    code: sumProgram({
      accumulate: o.accumulate ?? false,
      scaled: o.scale !== undefined,
      subgroups: variant === "gpu-tiled" && subgroupSize > 0,
    }),
    params: SUM_PARAMS.pack({ length: o.length }),
    bindings: { values: o.values, result: o.out, factor: o.scale },
    groups: [1],
    bytes: o.length * 4,
  });
}

const ADD_PARAMS = uniforms({ vectors: "u32" });

/** Four values by each invocation. */
function addProgram(): Program {
  const w = new WgslWriter();
  w.uniforms("p", ADD_PARAMS);
  w.storage("total", "vec4f", "read_write");
  w.storage("more", "vec4f");
  vectorMain(w, () => w.if("i < p.vectors", () => w.line("total[i] += more[i];")));
  return w.program();
}

/** Queues target += source, for flat regions of equal size (whole vec4f). */
export function addInto(plan: Plan, target: Region, source: Region): void {
  const code = addProgram();
  const from = slices(plan.device, source);
  slices(plan.device, target).forEach((part, i) => {
    const count = Math.floor(part.size / 16);
    plan.dispatch({
      label: "add",
      code,
      params: ADD_PARAMS.pack({ vectors: count }),
      bindings: { total: part, more: from[i] },
      groups: vectorGroups(count),
      bytes: part.size * 3,
    });
  });
}
