/**
 * What the GPU form's passes share: how a stage's inputs come into workgroup memory, each by one thread,
 * and how sequences are cut; see chunked.ts.
 * @module
 */
import type { ScanProgram } from "./lane.ts";
import { declare, extents, LOG2E, range, RESET, type ScanShape, when } from "./shape.ts";

/** Time steps of a stage. */
export const STAGE = 16;
/** Steps whose states a thread keeps in registers in the backward. */
export const BLOCK = 4;
/** Workgroups that a scan should have: below, sequences are cut. Two for each of an H200's 132. */
const ENOUGH = 264;

/** How sequences are cut: stages of one, stages of a segment, segments. Depends on the shape alone. */
export function segmentsOf(shape: ScanShape): { stages: number; each: number; count: number } {
  const stages = Math.ceil(shape.length / STAGE);
  const wanted = shape.segments ?? Math.ceil(ENOUGH / (extents(shape).panels * shape.batch));
  const each = Math.ceil(stages / Math.min(stages, wanted));
  return { stages, each, count: Math.ceil(stages / each) };
}
/** Whether sequences are walked in several segments at once. */
export const isCut = (s: ScanShape): boolean => segmentsOf(s).count > 1;

/** A program with its buffers by name and WGSL type. */
export const program = (buffers: Record<string, string>, body: string): ScanProgram => ({
  buffers: Object.keys(buffers),
  code: declare(buffers) + body,
});
/** Workgroup memory for a stage: one value a (step, channel) under each name, and B and C. */
export const shared = (...names: string[]): string =>
  names.map((n) => `var<workgroup> ${n}: array<array<f32, 32>, ${STAGE}>;`).join(" ") +
  ` var<workgroup> shBC: array<array<vec4f, 8>, ${STAGE}>;`;

/** The head of a walk by segment `segment`; defines the thread's channel, parameters and bounds. */
export const walkMain = (s: ScanShape, segment = "wg.y", subgroups = false) => {
  const { np, quads } = extents(s), lane = "@builtin(subgroup_invocation_id) lane: u32, ";
  return `@compute @workgroup_size(${
    32 * quads
  }) fn main(@builtin(local_invocation_index) li: u32, ${
    subgroups ? lane : ""
  }@builtin(workgroup_id) wg: vec3u) {
let q = li / 32u; let c = li % 32u; let width = p.panels * 32u; let ch = wg.x * 32u + c; let base = wg.z * p.length;
let A = vec4f(${range(4).map((k) => `par[(q * 4u + ${k}u) * width + ch]`)}); let A2 = A * ${LOG2E};
let skip = par[${np}u * width + ch]; let bias = par[${np + 1}u * width + ch];
let segment = ${segment}; let home = q * 128u + c; let own = (wg.z * p.segments + segment) * p.panels + wg.x;
let begin = segment * p.segment; let end = min(begin + p.segment, p.chunks);
_ = A; _ = skip; _ = bias; _ = home; _ = own;`;
};

/** A (step, channel) of a stage that a thread stages; `exists` where not every thread has one. */
export interface Item {
  /** Numbers the thread's items. */
  id: number;
  /** WGSL: its step of the stage. */
  step: string;
  /** WGSL: whether this thread has it; every thread where absent. */
  exists?: string;
}
/** Items of a block that a thread owns: the steps q, q + quads, ... of each. */
export const perBlock = (s: ScanShape): number => Math.ceil(BLOCK / extents(s).quads);
/** What a thread stages: every (step, channel) of its own channel and steps. */
export function items(s: ScanShape): Item[] {
  const { quads } = extents(s), per = perBlock(s);
  return range(STAGE / BLOCK * per).map((id) => {
    const block = Math.floor(id / per), first = id % per * quads;
    return {
      id,
      step: `(${block * BLOCK + first}u + q)`,
      exists: first + quads <= BLOCK ? undefined : `q + ${first}u < ${BLOCK}u`,
    };
  });
}
/** vec4fs of a stage's B and C that a thread stages. */
export const bcItems = (s: ScanShape): number[] => range(Math.ceil(STAGE / 4 / extents(s).quads));

/** Activations that a pass reads besides delta. */
export interface Wants {
  /** The input. */
  u?: boolean;
  /** The gate, where there is one. */
  z?: boolean;
  /** The gradient of the output. */
  gy?: boolean;
}
const wantsOf = (s: ScanShape, w: Wants) => ({
  ...w,
  z: w.z && s.gate,
  names: [...(w.u ? ["u"] : []), "x", ...(w.z && s.gate ? ["z"] : []), ...(w.gy ? ["g"] : [])],
});
/** Registers for a stage's raw inputs. */
export const registers = (s: ScanShape, w: Wants): string =>
  [
    ...items(s).flatMap(({ id }) => [
      ...wantsOf(s, w).names.map((n) => `var ${n}${id}: f32;`),
      s.packed ? `var s${id}: u32;` : "",
    ]),
    ...bcItems(s).map((k) => `var bc${k}: vec4f;`),
  ].join(" ");
/** Loads them for a stage. Past a sequence's end the last row stands in. */
export const load = (s: ScanShape, w: Wants, stage: string): string => {
  const { u, z, gy } = wantsOf(s, w), size = 32 * extents(s).quads;
  return `{ let t0 = (${stage}) * ${STAGE}u; ${
    items(s).map(({ id, step }) =>
      `{ let row = base + min(t0 + ${step}, p.length - 1u); let at = (wg.x * p.rows + row) * 32u + c;
  x${id} = delta[at]; ${u ? `u${id} = f32(u[at]);` : ""} ${z ? `z${id} = f32(z[at]);` : ""} ${
        gy ? `g${id} = gy[at];` : ""
      } ${s.packed ? `s${id} = starts[row];` : ""} }`
    ).join("\n")
  }
${
    bcItems(s).map((k) =>
      `{ let v = li + ${
        k * size
      }u; bc${k} = bc[(base + min(t0 + v / 8u, p.length - 1u)) * 8u + v % 8u]; }`
    ).join("\n")
  } }`;
};
/** Puts the loaded B and C into workgroup memory. */
export const stageBC = (s: ScanShape): string => {
  const size = 32 * extents(s).quads;
  return bcItems(s).map((k) => {
    const store = `{ let v = li + ${k * size}u; shBC[v / 8u][v % 8u] = bc${k}; }`;
    return (k + 1) * size <= 8 * STAGE ? store : `if (li < ${8 * STAGE - k * size}u) ${store}`;
  }).join(" ");
};
/** Of item i: t, ok, x with its bias, delta (0 past the end, which leaves every state as it is). */
export const deltaOf = (s: ScanShape, { id: i, step, exists }: Item): string =>
  `let t${i} = first + ${step}; let ok${i} = t${i} < p.length${exists ? ` && ${exists}` : ""};
let xb${i} = x${i}${s.bias ? " + bias" : ""}; ${
    s.softplus ? `let ea${i} = exp2(abs(xb${i}) * -${LOG2E});` : ""
  } let dl${i} = select(0.0, ${s.softplus ? `softplus(xb${i}, ea${i})` : `xb${i}`}, ok${i});`;
/** What takes delta's place in the decay. */
export const decayDelta = (s: ScanShape, i: number): string =>
  s.packed ? `max(dl${i}, select(0.0, f32(s${i}) * ${RESET}, ok${i}))` : `dl${i}`;
/** dL/dy before the gate of item i. */
export const slopeOfGate = (s: ScanShape, i: number): string =>
  `let gy${i} = select(0.0, g${i}, ok${i}); ${
    s.gate
      ? `let zt${i} = z${i}; let sz${i} = sigmoid(zt${i}); let dy${i} = gy${i} * zt${i} * sz${i};`
      : `let dy${i} = gy${i};`
  }`;
/** Stores an item's value in workgroup memory. */
export const put = (name: string, item: Item, value: string): string => {
  const store = `${name}[${item.step}][c] = ${value};`;
  return item.exists ? `if (${item.exists}) { ${store} }` : store;
};
/** One step forward. */
export const advance = (step: string): string =>
  `h = exp2(shDE[${step}][c] * A2) * h + shDx[${step}][c] * shBC[${step}][q];`;
/** C of the thread's quad of states at a staged step; B is at `[q]`. */
export const C = (s: ScanShape, step: string): string => `shBC[${step}][q + ${extents(s).quads}u]`;

/** Buffers that every walk reads. */
export const inputBuffers = (s: ScanShape): Record<string, string> => ({
  delta: "f32",
  bc: "vec4f",
  par: "f32",
  ...when(s.packed, { starts: "u32" }),
});
/** Four states of a thread in a block of (np, 32) floats. */
export const loadStates = (name: string, block: string, s: ScanShape): string =>
  `vec4f(${
    range(4).map((k) => `${name}[(${block}) * ${extents(s).np * 32}u + home + ${32 * k}u]`)
  })`;
/** Stores what {@linkcode loadStates} loads. */
export const storeStates = (name: string, block: string, s: ScanShape, value: string): string =>
  range(4).map((k) =>
    `${name}[(${block}) * ${extents(s).np * 32}u + home + ${32 * k}u] = ${value}.${"xyzw"[k]};`
  ).join(" ");
/** The block of states of a sequence (of `state`, `dstate`). */
export const SEQUENCE: string = "wg.z * p.panels + wg.x";
/** The block of the states that enter stage `st` (of `checkpoints`). */
export const STAGE_BLOCK: string = "(wg.z * p.chunks + st) * p.panels + wg.x";
