/**
 * What the walks of the GPU form share: how a stage's inputs come into workgroup memory, each by one
 * thread, and how sequences are cut; see chunked.ts.
 *
 * Names in the WGSL, for thread li of the workgroup:
 * - c, q: its channel of the panel, and its quad of states (4q to 4q + 3); ch: its channel of all;
 * - A, A2: its four values of A, and the same times log2(e);
 * - segment, begin, end: the segment of the sequence, and its first stage and the one after its last;
 * - stage_decay, stage_delta_u, stage_dy: by (step, channel) of the stage, what takes delta's place in
 *   the decay, delta times u, and the gradient of y before the gate; stage_bc: B, then C, by step;
 * - an item i is one (step, channel) that the thread stages: raw (of delta), u, z, gy, start as loaded.
 * @module
 */
import { range } from "../range.ts";
import type { Builtin, WgslWriter } from "../wgsl/mod.ts";
import { writeActivations, writeConstants } from "./arithmetic.ts";
import { blockOf, extents, type ScanBuffers, type ScanShape, stageOf, when } from "./shape.ts";

/** Workgroups that a scan should have: below, sequences are cut. Two for each of an H200's 132. */
const ENOUGH = 264;

/** How sequences are cut: stages of one, stages of a segment, segments. Depends on the shape alone. */
export function segmentsOf(shape: ScanShape): { stages: number; each: number; count: number } {
  const stages = Math.ceil(shape.length / stageOf(shape));
  const wanted = shape.segments ?? Math.ceil(ENOUGH / (extents(shape).panels * shape.batch));
  const each = Math.ceil(stages / Math.min(stages, wanted));
  return { stages, each, count: Math.ceil(stages / each) };
}

/** Whether sequences are walked in several segments at once. */
export const isCut = (s: ScanShape): boolean => segmentsOf(s).count > 1;

/** Threads of a walk's workgroup: one for each channel of a panel and quad of states. */
const threadsOf = (s: ScanShape): number => 32 * extents(s).quads;

/** Buffers that every walk reads. */
export const inputBuffers = (s: ScanShape): ScanBuffers => ({
  delta: "f32",
  bc: "vec4f",
  par: "f32",
  ...when(s.packed, { starts: "u32" }),
});

/** What a thread keeps of a stage in workgroup memory for each (step, channel). */
export type Staged = "stage_decay" | "stage_delta_u" | "stage_dy";

/** Constants, workgroup memory and functions of a walk. */
export function writeWalkDeclarations(w: WgslWriter, s: ScanShape, staged: Staged[]): void {
  const { np, quads } = extents(s);
  w.blank().comment(
    "Steps of a stage and of a block; states of a channel; quads of them; threads.",
  );
  w.const("STAGE", stageOf(s));
  w.const("BLOCK", blockOf(s));
  w.const("NP", np);
  w.const("QUADS", quads);
  w.const("THREADS", threadsOf(s));
  writeConstants(w);
  for (const name of staged) w.workgroup(name, "array<array<f32, 32>, STAGE>");
  w.workgroup("stage_bc", "array<array<vec4f, 8>, STAGE>");
  writeActivations(w, "f32");
  w.fn(
    "activation_index(wg: vec3u, row: u32, c: u32) -> u32",
    "return (wg.x * p.rows + row) * 32u + c;",
  );
  w.fn("sequence_block(wg: vec3u) -> u32", "return wg.z * p.panels + wg.x;");
  w.fn(
    "stage_block(wg: vec3u, stage: u32) -> u32",
    "return (wg.z * p.chunks + stage) * p.panels + wg.x;",
  );
  w.fn(
    "segment_block(wg: vec3u, segment: u32) -> u32",
    "return (wg.z * p.segments + segment) * p.panels + wg.x;",
  );
}

/** Writes `advance(h, step, c, q, A2)`: the quad's states after a staged step. */
export function writeAdvance(w: WgslWriter): void {
  w.fn(
    "advance(h: vec4f, step: u32, c: u32, q: u32, A2: vec4f) -> vec4f",
    `
      let Abar = exp2(stage_decay[step][c] * A2);
      return Abar * h + stage_delta_u[step][c] * stage_bc[step][q];
    `,
  );
}

/**
 * Writes `load_NAME(block, home)`: a thread's four states in a block of (np, 32) floats of a buffer.
 */
export function writeLoadStates(w: WgslWriter, buffer: string): void {
  w.fn(`load_${buffer}(block: u32, home: u32) -> vec4f`, () => {
    w.line("let at = block * NP * 32u + home;");
    const values = range(4).map((k) => `${buffer}[at + ${32 * k}u]`);
    w.line(`return vec4f(${values.join(", ")});`);
  });
}

/** Writes `store_NAME(block, home, states)`; see {@linkcode writeLoadStates}. */
export function writeStoreStates(w: WgslWriter, buffer: string): void {
  w.fn(`store_${buffer}(block: u32, home: u32, states: vec4f)`, () => {
    w.line("let at = block * NP * 32u + home;");
    w.unroll(4, (k) => w.line(`${buffer}[at + ${32 * k}u] = states.${"xyzw"[k]};`));
  });
}

/** How a walk's entry point is written. */
export interface WalkMain {
  /** WGSL for the segment that the workgroup takes; its second coordinate by default. */
  segment?: string;
  /** Whether it needs the thread's lane of its subgroup. */
  lane?: boolean;
}

/** Writes the entry point of a walk; its body sees the names of the module's text. */
export function writeWalkMain(
  w: WgslWriter,
  s: ScanShape,
  { segment = "wg.y", lane = false }: WalkMain,
  body: () => void,
): void {
  const builtins: Record<string, Builtin> = { li: "local_invocation_index", wg: "workgroup_id" };
  if (lane) builtins.lane = "subgroup_invocation_id";
  w.main("THREADS", builtins, () => {
    w.line(`
      let q = li / 32u;
      let c = li % 32u;
      let width = p.panels * 32u;
      let ch = wg.x * 32u + c;
      let base = wg.z * p.length;
    `);
    const values = range(4).map((k) => `par[(q * 4u + ${k}u) * width + ch]`);
    w.line(`let A = vec4f(${values.join(", ")});`, "let A2 = A * LOG2E;");
    if (s.skip) w.line("let skip = par[NP * width + ch];");
    if (s.bias) w.line("let bias = par[(NP + 1u) * width + ch];");
    w.line(`
      let segment = ${segment};
      let home = q * 128u + c;
      let own = segment_block(wg, segment);
      let begin = segment * p.segment;
      let end = min(begin + p.segment, p.chunks);
    `);
    body();
  });
}

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
export const perBlock = (s: ScanShape): number => Math.ceil(blockOf(s) / extents(s).quads);

/** What a thread stages: every (step, channel) of its own channel and steps. */
export function items(s: ScanShape): Item[] {
  const { quads } = extents(s);
  const per = perBlock(s);
  const steps = blockOf(s);
  return range(stageOf(s) / steps * per).map((id) => {
    const block = Math.floor(id / per);
    const first = id % per * quads;
    return {
      id,
      step: `(${block * steps + first}u + q)`,
      exists: first + quads <= steps ? undefined : `q + ${first}u < BLOCK`,
    };
  });
}

/** Vectors of a stage's B and C that a thread stages. */
const bcItems = (s: ScanShape): number[] => range(Math.ceil(stageOf(s) / 4 / extents(s).quads));

/** Activations that a pass reads besides delta. */
export interface Wants {
  /** The input. */
  u?: boolean;
  /** The gate, where there is one. */
  z?: boolean;
  /** The gradient of the output. */
  gy?: boolean;
}

/** Declares the registers for a stage's raw inputs. */
export function writeRegisters(w: WgslWriter, s: ScanShape, wants: Wants): void {
  for (const { id } of items(s)) {
    w.line(`var raw${id}: f32;`);
    if (wants.u) w.line(`var u${id}: f32;`);
    if (wants.z && s.gate) w.line(`var z${id}: f32;`);
    if (wants.gy) w.line(`var gy${id}: f32;`);
    if (s.packed) w.line(`var start${id}: u32;`);
  }
  for (const k of bcItems(s)) w.line(`var bc${k}: vec4f;`);
}

/** Loads them for a stage. Past a sequence's end the last row stands in. */
export function writeLoads(w: WgslWriter, s: ScanShape, wants: Wants, stage: string): void {
  w.block("", () => {
    w.line(`let t0 = (${stage}) * STAGE;`);
    for (const { id, step } of items(s)) {
      w.line(
        `let row${id} = base + min(t0 + ${step}, p.length - 1u);`,
        `let at${id} = activation_index(wg, row${id}, c);`,
        `raw${id} = delta[at${id}];`,
      );
      if (wants.u) w.line(`u${id} = f32(u[at${id}]);`);
      if (wants.z && s.gate) w.line(`z${id} = f32(z[at${id}]);`);
      if (wants.gy) w.line(`gy${id} = gy[at${id}];`);
      if (s.packed) w.line(`start${id} = starts[row${id}];`);
    }
    for (const k of bcItems(s)) {
      w.line(
        `let v${k} = li + ${k}u * THREADS;`,
        `let bc_row${k} = base + min(t0 + v${k} / 8u, p.length - 1u);`,
        `bc${k} = bc[bc_row${k} * 8u + v${k} % 8u];`,
      );
    }
  });
}

/** Puts the loaded B and C into workgroup memory. */
export function writeStagedBC(w: WgslWriter, s: ScanShape): void {
  const threads = threadsOf(s);
  for (const k of bcItems(s)) {
    const store = () =>
      w.line(`let v = li + ${k}u * THREADS;`, `stage_bc[v / 8u][v % 8u] = bc${k};`);
    const left = 8 * stageOf(s) - k * threads;
    if (left >= threads) w.block("", store);
    else w.if(`li < ${left}u`, store);
  }
}

/**
 * Item i's place in time (t, inside: whether it is within the sequence), its raw delta with the bias
 * (x) and its delta: 0 past the end, which leaves every state as it is.
 */
export function writeDelta(w: WgslWriter, s: ScanShape, { id: i, step, exists }: Item): void {
  w.line(
    `let t${i} = first + ${step};`,
    `let inside${i} = t${i} < p.length${exists ? ` && ${exists}` : ""};`,
    `let x${i} = raw${i}${s.bias ? " + bias" : ""};`,
  );
  if (s.softplus) w.line(`let e${i} = exp_of_minus_abs(x${i});`);
  const value = s.softplus ? `softplus(x${i}, e${i})` : `x${i}`;
  w.line(`let delta${i} = select(0.0, ${value}, inside${i});`);
}

/** Stages what takes delta's place in item i's decay. */
export function writeStagedDecay(w: WgslWriter, s: ScanShape, item: Item): void {
  const i = item.id;
  const reset = `select(0.0, f32(start${i}) * RESET, inside${i})`;
  writeStaged(w, "stage_decay", item, s.packed ? `max(delta${i}, ${reset})` : `delta${i}`);
}

/** Item i's gradient of the output (dout), and of what the gate takes in (dy); with a gate, its sigmoid. */
export function writeSlopeOfGate(w: WgslWriter, s: ScanShape, i: number): void {
  w.line(`let dout${i} = select(0.0, gy${i}, inside${i});`);
  if (!s.gate) {
    w.line(`let dy${i} = dout${i};`);
    return;
  }
  w.line(
    `let zt${i} = z${i};`,
    `let gate${i} = sigmoid(zt${i});`,
    `let dy${i} = dout${i} * zt${i} * gate${i};`,
  );
}

/** Stores an item's value in workgroup memory. */
export function writeStaged(w: WgslWriter, name: Staged, item: Item, value: string): void {
  const store = () => w.line(`${name}[${item.step}][c] = ${value};`);
  if (item.exists) w.if(item.exists, store);
  else store();
}

/** WGSL for C of the thread's quad of states at a staged step. */
export const stagedC = (step: string): string => `stage_bc[${step}][q + QUADS]`;
