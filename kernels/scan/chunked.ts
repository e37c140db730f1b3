/**
 * The scan for GPUs. A workgroup takes one panel of 32 channels and walks one sequence, or a segment
 * of it, in stages of 16 steps; thread li is channel li % 32, states 4 * (li / 32) .. + 3
 * (a vec4f that stays in registers). A stage's inputs are staged in workgroup memory, each (step,
 * channel) by one thread, which also has the next stage's inputs in flight meanwhile: a panel's stage
 * is one contiguous piece of memory, every load and store a full 128-byte line (64 in f16).
 *
 * One walk forward and one back read and write every activation once. Where panels x sequences are too
 * few to fill a GPU (segmentsOf), sequences are cut into segments: a first pass finds what
 * each segment adds to a state, a second carries states over the segments, then all segments walk at
 * once. The forward keeps the state that enters each stage, nothing larger; the backward recomputes a
 * stage from it, and walks blocks of 4 steps whose states stay in registers.
 *
 * What moves, in bytes per channel and token in f32, for 16 states and sequences uncut:
 * - forward: u, delta, z and y are 16, which is the least; with the kept states (64 / STAGE = 4) 20;
 * - backward: u, delta, z, gy in and du, ddelta, dz out are 28, which is the least; kept states 4, the
 *   parts of dB and dC by panel 4 out and 4 in: 40.
 * For mamba-130m (1,536 channels) that is 92 KB per token and layer, against 68 KB at the least. Where
 * sequences are cut, u and delta are read twice forward, delta, z and gy backward: 28 and 52. In f16 u,
 * z and dz take half. Exponentials per channel and token: 18 forward, 30 backward (16 and 28 of them
 * decays: each stage but its last block is walked twice).
 * @module
 */
import { range } from "../range.ts";
import { type Program, sumOf, WgslWriter } from "../wgsl/mod.ts";
import { writeConstants, writeLaneBits, writeTransposeAdd } from "./arithmetic.ts";
import {
  bindScan,
  blockOf,
  extents,
  type ScanShape,
  stageOf,
  storedScalar,
  when,
} from "./shape.ts";
import {
  inputBuffers,
  isCut,
  items,
  perBlock,
  stagedC,
  writeAdvance,
  writeDelta,
  writeLoads,
  writeLoadStates,
  writeRegisters,
  writeSlopeOfGate,
  writeStaged,
  writeStagedBC,
  writeStagedDecay,
  writeStoreStates,
  writeWalkDeclarations,
  writeWalkMain,
} from "./stage.ts";

/** Where a segment's sum of delta lies in `sums` (and `dcheckpoints`). */
const SUM_OF_SEGMENT = "p.sums + (wg.z * p.segments + segment) * width + ch";

/** Cut sequences: each segment's end state from zero, but the last's, and its sum of delta. */
export function segmentEnds(s: ScanShape): Program {
  const w = new WgslWriter();
  const wants = { u: true };
  bindScan(w, { u: storedScalar(s), ...inputBuffers(s), sums: "f32!" });
  writeWalkDeclarations(w, s, ["stage_decay", "stage_delta_u"]);
  writeAdvance(w);
  writeStoreStates(w, "sums");
  writeWalkMain(w, s, {}, () => {
    w.line("var h = vec4f();", "var total = 0.0;");
    writeRegisters(w, s, wants);
    writeLoads(w, s, wants, "begin");
    w.for("var stage = begin; stage < end; stage++", () => {
      w.line("let first = stage * STAGE;");
      for (const item of items(s)) {
        writeDelta(w, s, item);
        writeStaged(w, "stage_delta_u", item, `delta${item.id} * u${item.id}`);
        writeStagedDecay(w, s, item);
      }
      writeStagedBC(w, s);
      writeLoads(w, s, wants, "min(stage + 1u, end - 1u)");
      w.line("workgroupBarrier();");
      w.unroll(stageOf(s), (i) => {
        w.line(`h = advance(h, ${i}u, c, q, A2);`, `total += stage_decay[${i}][c];`);
      });
      w.line("workgroupBarrier();");
    });
    w.line("store_sums(own, home, h);");
    w.if("q == 0u", () => w.line(`sums[${SUM_OF_SEGMENT}] = total;`));
  });
  return w.program();
}

/** In reverse: what each segment sends back to its start, and its sum of delta. */
export function segmentReverse(s: ScanShape): Program {
  const w = new WgslWriter();
  const wants = { z: true, gy: true };
  bindScan(w, {
    ...inputBuffers(s),
    gy: "f32",
    ...when(s.gate, { z: storedScalar(s) }),
    dcheckpoints: "f32!",
  });
  writeWalkDeclarations(w, s, ["stage_decay", "stage_dy"]);
  w.fn(
    "step_back(dh: vec4f, step: u32, c: u32, q: u32, A2: vec4f) -> vec4f",
    `return (dh + stage_dy[step][c] * ${stagedC("step")}) * exp2(stage_decay[step][c] * A2);`,
  );
  writeStoreStates(w, "dcheckpoints");
  writeWalkMain(w, s, { segment: firstReversed(s) ? "wg.y + 1u" : "wg.y" }, () => {
    w.line("var dh = vec4f();", "var total = 0.0;");
    writeRegisters(w, s, wants);
    writeLoads(w, s, wants, "end - 1u");
    w.for("var left = end; left > begin; left--", () => {
      w.line("let stage = left - 1u;", "let first = stage * STAGE;");
      for (const item of items(s)) {
        writeDelta(w, s, item);
        writeSlopeOfGate(w, s, item.id);
        writeStaged(w, "stage_dy", item, `dy${item.id}`);
        writeStagedDecay(w, s, item);
      }
      writeStagedBC(w, s);
      writeLoads(w, s, wants, "max(stage, begin + 1u) - 1u");
      w.line("workgroupBarrier();");
      w.unrollBackward(stageOf(s), (i) => {
        w.line(`dh = step_back(dh, ${i}u, c, q, A2);`, `total += stage_decay[${i}][c];`);
      });
      w.line("workgroupBarrier();");
    });
    w.line("store_dcheckpoints(own, home, dh);");
    w.if("q == 0u", () => w.line(`dcheckpoints[${SUM_OF_SEGMENT}] = total;`));
  });
  return w.program();
}

/** Segments at the start that no one wants the reverse of: one, unless the first state has a gradient. */
export const firstReversed = (s: ScanShape): number => s.initialState ? 0 : 1;

/** Over the segments: replaces each one's own contribution by the state (gradient) that enters it. */
export function carry(s: ScanShape, reverse: boolean): Program {
  const w = new WgslWriter();
  const name = reverse ? "dcheckpoints" : "sums";
  const ends = reverse ? "dstate" : "state";
  bindScan(w, { par: "f32", [name]: "f32!", ...when(s.initialState, { [ends]: "f32!" }) });
  w.const("NP", extents(s).np);
  writeConstants(w);
  w.main(64, { id: "global_invocation_id" }, () => {
    w.line("let n = p.panels * NP * 32u;", "let i = id.x;");
    w.if("i >= n", () => w.line("return;"));
    w.line(`
      let width = p.panels * 32u;
      let ch = i / (NP * 32u) * 32u + i % 32u;
      let A2 = par[i / 32u % NP * width + ch] * LOG2E;
      var h = ${s.initialState ? `${ends}[id.y * n + i]` : "0.0"};
    `);
    w.for("var j = 0u; j < p.segments; j++", () => {
      w.line(`
        let k = id.y * p.segments + ${reverse ? "p.segments - 1u - j" : "j"};
        let own = ${name}[k * n + i];
        ${name}[k * n + i] = h;
        h = exp2(A2 * ${name}[p.sums + k * width + ch]) * h + own;
      `);
    });
    if (reverse && s.initialState) w.line(`${ends}[id.y * n + i] = h;`);
  });
  return w.program();
}

/** The walk forward: outputs, the states that enter each stage, the last state. */
export function walkForward(s: ScanShape): Program {
  const w = new WgslWriter();
  const wants = { u: true, z: true };
  bindScan(w, {
    u: storedScalar(s),
    ...inputBuffers(s),
    ...when(s.gate, { z: storedScalar(s) }),
    ...when(isCut(s), { sums: "f32" }),
    checkpoints: "f32!",
    y: "f32!",
    state: "f32!",
  });
  writeWalkDeclarations(w, s, ["stage_decay", "stage_delta_u"]);
  w.workgroup("part", "array<array<f32, THREADS>, STAGE>");
  writeAdvance(w);
  writeQuadSum(w, s, "part");
  writeStoreStates(w, "checkpoints");
  writeStoreStates(w, "state");
  if (isCut(s)) writeLoadStates(w, "sums");
  else if (s.initialState) writeLoadStates(w, "state");
  writeWalkMain(w, s, {}, () => {
    w.line(`var h = ${enteringState(s, "sums", "state")};`);
    writeRegisters(w, s, wants);
    writeLoads(w, s, wants, "begin");
    w.for("var stage = begin; stage < end; stage++", () => {
      w.line("let first = stage * STAGE;");
      for (const item of items(s)) {
        const i = item.id;
        writeDelta(w, s, item);
        w.line(`let ut${i} = u${i};`);
        if (s.gate) w.line(`let zt${i} = z${i};`);
        writeStaged(w, "stage_delta_u", item, `delta${i} * ut${i}`);
        writeStagedDecay(w, s, item);
      }
      writeStagedBC(w, s);
      w.line("store_checkpoints(stage_block(wg, stage), home, h);");
      writeLoads(w, s, wants, "min(stage + 1u, end - 1u)");
      w.line("workgroupBarrier();");
      w.unroll(stageOf(s), (i) => {
        w.line(
          `h = advance(h, ${i}u, c, q, A2);`,
          `part[${i}][li] = dot(h, ${stagedC(String(i))});`,
        );
      });
      w.line("workgroupBarrier();");
      writeOutputs(w, s);
    });
    w.if("end == p.chunks", () => w.line("store_state(sequence_block(wg), home, h);"));
  });
  return w.program();
}

/** WGSL for the state (or its gradient) with which a walk begins. */
function enteringState(s: ScanShape, ofSegments: string, ofSequences: string): string {
  if (isCut(s)) return `load_${ofSegments}(own, home)`;
  if (s.initialState) return `load_${ofSequences}(sequence_block(wg), home)`;
  return "vec4f()";
}

/** Each item's y: the quads' parts of C . h, the D term, the gate. */
function writeOutputs(w: WgslWriter, s: ScanShape): void {
  for (const { id: i, step } of items(s)) {
    w.if(`inside${i}`, () => {
      const sum = `quad_sum_part(${step}, c)${s.skip ? ` + skip * ut${i}` : ""}`;
      w.line(
        `let sum = ${sum};`,
        `let at = activation_index(wg, base + t${i}, c);`,
        `y[at] = sum${s.gate ? ` * zt${i} * sigmoid(zt${i})` : ""};`,
      );
    });
  }
}

/** WGSL for what the threads of each quad of states left in workgroup memory for a step and channel. */
const quadTerms = (s: ScanShape, name: string): string[] =>
  range(extents(s).quads).map((q) => `${name}[step][${q * 32}u + c]`);

/** Writes `quad_sum_NAME(step, c)`: the sum over the quads of states of what threads left in NAME. */
function writeQuadSum(w: WgslWriter, s: ScanShape, name: string): void {
  w.fn(
    `quad_sum_${name}(step: u32, c: u32) -> f32`,
    `return ${sumOf(quadTerms(s, name))};`,
  );
}

/**
 * The walk back: gradients of everything. Stage by stage from the end, a thread
 * 1. stages the inputs, and keeps in `owned` what its own items' gradients need;
 * 2. recomputes the states at the start of each block of the stage ({@linkcode writeBlockStarts});
 * 3. block by block from the end, recomputes the block's states ({@linkcode writeBlockStates}), steps
 *    back through them ({@linkcode writeReverseStep}), and adds up what the quads of states and the
 *    channels have left in workgroup memory ({@linkcode writeItemGradients}, {@linkcode writePartsOfBC}).
 *
 * dB and dC are summed over channels by shuffles within groups of 8 lanes and then through workgroup
 * memory; without subgroups, through workgroup memory alone.
 */
export function walkBackward(s: ScanShape, subgroups: boolean): Program {
  const w = new WgslWriter();
  const wants = { u: true, z: true, gy: true };
  bindScan(w, {
    u: storedScalar(s),
    ...inputBuffers(s),
    gy: "f32!",
    checkpoints: "f32",
    ...when(isCut(s), { dcheckpoints: "f32" }),
    ...when(!isCut(s) && s.initialState, { dstate: "f32!" }),
    ...when(s.gate, { z: storedScalar(s), dz: `${storedScalar(s)}!` }),
    ddelta: "f32!",
    parts: "f32!",
  });
  writeWalkDeclarations(w, s, ["stage_decay", "stage_delta_u", "stage_dy"]);
  writeBackwardDeclarations(w, s, subgroups);
  writeWalkMain(w, s, { lane: subgroups }, () => {
    if (subgroups) writeLaneBits(w);
    w.line(`var dh = ${enteringState(s, "dcheckpoints", "dstate")};`);
    w.line("var dA = vec4f();", "var dskip = 0.0;", "var dbias = 0.0;");
    w.line("var entry: array<vec4f, STAGE / BLOCK>; // the state at each block's start");
    w.line(`var owned: array<Owned, ${items(s).length}>;`);
    writeRegisters(w, s, wants);
    writeLoads(w, s, wants, "end - 1u");
    w.line("var kept = load_checkpoints(stage_block(wg, end - 1u), home);");
    w.for("var left = end; left > begin; left--", () => {
      w.line("let stage = left - 1u;", "let first = stage * STAGE;");
      writeOwnedItems(w, s);
      writeStagedBC(w, s);
      w.line("var h = kept;", "let next = max(stage, begin + 1u) - 1u;");
      writeLoads(w, s, wants, "next");
      w.line("kept = load_checkpoints(stage_block(wg, next), home);", "workgroupBarrier();");
      writeBlockStarts(w, s);
      w.for("var b = STAGE / BLOCK; b > 0u; b--", () => {
        w.line("let block = (b - 1u) * BLOCK;");
        writeBlockStates(w, s);
        w.unrollBackward(blockOf(s), (i) => writeReverseStep(w, i, subgroups));
        w.line("workgroupBarrier();");
        writeItemGradients(w, s);
        writePartsOfBC(w, s);
        w.line("workgroupBarrier();");
      });
    });
    writeParameterGradients(w);
    if (!isCut(s) && s.initialState) w.line("store_dstate(sequence_block(wg), home, dh);");
  });
  return w.program();
}

/** Workgroup memory and functions of the walk back. */
function writeBackwardDeclarations(w: WgslWriter, s: ScanShape, subgroups: boolean): void {
  w.blank().comment("By step of the block and thread: parts of C . h, of B . g and of A . w.");
  for (const name of ["part_y", "part_g", "part_w"]) {
    w.workgroup(name, "array<array<f32, THREADS>, BLOCK>");
  }
  w.comment("By step of the block: dB and dC summed over groups of 8 channels.");
  w.workgroup("octet", "array<array<f32, THREADS>, BLOCK>");
  w.comment("What an item's gradients need after its stage was walked.");
  w.struct("Owned", { u: "f32", delta: "f32", dy: "f32", slope: "f32", gate: "f32" });
  writeAdvance(w);
  writeLoadStates(w, "checkpoints");
  if (isCut(s)) {
    writeLoadStates(w, "dcheckpoints");
  } else if (s.initialState) {
    writeLoadStates(w, "dstate");
    writeStoreStates(w, "dstate");
  }
  writeQuadSum(w, s, "part_y");
  writeQuadSum(w, s, "part_g");
  w.fn(
    "add_quads_part_w(first: f32, step: u32, c: u32) -> f32",
    `return ${sumOf(["first", ...quadTerms(s, "part_w")])};`,
  );
  w.fn(
    "octet_index(c: u32, q: u32, value: u32) -> u32",
    "return (c / 8u) * (8u * QUADS) + q * 8u + value;",
  );
  if (!subgroups) writeAddChannels(w);
}

/**
 * Without subgroups: adds four values over groups of 8 channels; of each group the threads that are
 * `mine` add up 8 channels of one value each.
 */
function writeAddChannels(w: WgslWriter): void {
  w.workgroup("wide", "array<vec4f, THREADS>");
  w.fn("add_channels(step: u32, values: vec4f, li: u32, mine: bool)", () => {
    w.line("let c = li % 32u;", "wide[li] = values;", "workgroupBarrier();");
    w.if("mine", () => {
      w.line("var total = 0.0;");
      w.for("var k = 0u; k < 8u; k++", () => w.line("total += wide[li / 8u * 8u + k][c % 4u];"));
      w.line("octet[step][octet_index(c, li / 32u, c % 8u)] = total;");
    });
    w.line("workgroupBarrier();");
  });
}

/** Stages each item's inputs, and keeps what its gradients need. */
function writeOwnedItems(w: WgslWriter, s: ScanShape): void {
  for (const item of items(s)) {
    const i = item.id;
    writeDelta(w, s, item);
    writeSlopeOfGate(w, s, i);
    writeStaged(w, "stage_dy", item, `dy${i}`);
    writeStaged(w, "stage_delta_u", item, `delta${i} * u${i}`);
    writeStagedDecay(w, s, item);
    const slope = s.softplus ? `softplus_slope(x${i}, e${i})` : "1.0";
    w.line(`let slope${i} = select(0.0, ${slope}, inside${i});`);
    const gate = `dout${i} * gate${i} * (1.0 + zt${i} * (1.0 - gate${i}))`;
    w.line(
      `let silu_slope${i} = ${s.gate ? gate : "0.0"};`,
      `owned[${i}] = Owned(u${i}, delta${i}, dy${i}, slope${i}, silu_slope${i});`,
    );
  }
}

/** Recomputes the stage's states from the kept one, but those of the last block, for their starts. */
function writeBlockStarts(w: WgslWriter, s: ScanShape): void {
  const steps = blockOf(s);
  w.line("entry[0] = h;");
  w.unroll(stageOf(s) - steps, (i) => {
    w.line(`h = advance(h, ${i}u, c, q, A2);`);
    if (i % steps === steps - 1) w.line(`entry[${(i + 1) / steps}] = h;`);
  });
}

/** WGSL for step i of the present block, among the steps of the stage. */
const stepOfBlock = (i: number) => `block + ${i}u`;

/** The register that holds the quad's states after step i of the block; step -1 is its start. */
const stateAfter = (i: number) => i < 0 ? "h_start" : `h${i}`;

/** Recomputes the block's decays and states into registers. */
function writeBlockStates(w: WgslWriter, s: ScanShape): void {
  w.line(`let ${stateAfter(-1)} = entry[b - 1u];`);
  w.unroll(blockOf(s), (i) => {
    const step = stepOfBlock(i);
    const input = `stage_delta_u[${step}][c] * B${i}`;
    w.line(
      `let B${i} = stage_bc[${step}][q];`,
      `let decay${i} = stage_decay[${step}][c];`,
      `let Abar${i} = exp2(decay${i} * A2);`,
      `let ${stateAfter(i)} = Abar${i} * ${stateAfter(i - 1)} + ${input};`,
    );
  });
}

/** One step of the reverse recurrence: g is the gradient of the state after step i, dh of that before. */
function writeReverseStep(w: WgslWriter, i: number, subgroups: boolean): void {
  const step = stepOfBlock(i);
  w.line(
    `let C${i} = ${stagedC(step)};`,
    `let dyt${i} = stage_dy[${step}][c];`,
    `let g${i} = dh + dyt${i} * C${i};`,
    `let dB${i} = g${i} * stage_delta_u[${step}][c];`,
    `let dC${i} = dyt${i} * ${stateAfter(i)};`,
    `dh = g${i} * Abar${i};`,
    `let w${i} = dh * ${stateAfter(i - 1)};`,
    `dA += w${i} * decay${i};`,
    `part_y[${i}][li] = dot(${stateAfter(i)}, C${i});`,
    `part_g[${i}][li] = dot(g${i}, B${i});`,
    `part_w[${i}][li] = dot(w${i}, A);`,
  );
  if (!subgroups) {
    w.line(
      `add_channels(${i}u, dB${i}, li, c % 8u < 4u);`,
      `add_channels(${i}u, dC${i}, li, c % 8u >= 4u);`,
    );
    return;
  }
  const values = [..."xyzw"].map((k) => `dB${i}.${k}`).concat(
    [..."xyzw"].map((k) => `dC${i}.${k}`),
  );
  const total = writeTransposeAdd(w, `dbc${i}`, values);
  w.line(`octet[${i}][octet_index(c, q, lane % 8u)] = ${total};`);
}

/** Of the block's items that the thread owns: gradients of u, delta and z, and their share of D's and the bias's. */
function writeItemGradients(w: WgslWriter, s: ScanShape): void {
  const { quads } = extents(s);
  const per = perBlock(s);
  w.unroll(per, (k) => {
    const all = (k + 1) * quads <= blockOf(s);
    w.block(all ? "" : `if (q + ${k * quads}u < BLOCK)`, () => {
      w.line(`
        let step = q + ${k * quads}u;
        let t = first + block + step;
        let item = owned[block / BLOCK * ${per}u + ${k}u];
        let gB = quad_sum_part_g(step, c);
        let draw = add_quads_part_w(item.u * gB, step, c) * item.slope;
        dbias += draw;
        dskip += item.dy * item.u;
      `);
      w.if("t < p.length", () => {
        w.line(
          "let at = activation_index(wg, base + t, c);",
          `gy[at] = item.delta * gB${s.skip ? " + item.dy * skip" : ""};`,
          "ddelta[at] = draw;",
        );
        if (!s.gate) return;
        const sum = `quad_sum_part_y(step, c)${s.skip ? " + skip * item.u" : ""}`;
        w.line(`dz[at] = ${storedScalar(s)}(item.gate * (${sum}));`);
      });
    });
  });
}

/**
 * The panel's parts of dB and dC: each thread adds up the four groups of channels of one value. The
 * workgroup has threads for the values of {@linkcode STEPS_AT_ONCE} steps.
 */
function writePartsOfBC(w: WgslWriter, s: ScanShape): void {
  const steps = blockOf(s);
  w.line("let v = li % (8u * QUADS); // quad * 8 + (dB: 0..3, dC: 4..7)");
  w.unroll(Math.ceil(steps / STEPS_AT_ONCE), (round) => {
    w.block("", () => {
      w.line(
        `let step = ${round * STEPS_AT_ONCE}u + li / (8u * QUADS);`,
        "let t = first + block + step;",
      );
      w.if(`t < p.length${steps < STEPS_AT_ONCE ? " && step < BLOCK" : ""}`, () => {
        const terms = range(4).map((octet) => `octet[step][${octet}u * (8u * QUADS) + v]`);
        w.line(
          `let total = ${sumOf(terms)};`,
          "let column = v % 8u / 4u * NP + v / 8u * 4u + v % 4u;",
          "parts[activation_index(wg, base + t, 0u) + column] = total;",
        );
      });
    });
  });
}

/** 32 threads for each quad of states, and 8 values of each quad and step. */
const STEPS_AT_ONCE = 4;

/** The segment's parts of dA, dD and the bias's gradient. */
function writeParameterGradients(w: WgslWriter): void {
  w.line("let out = p.dpar_parts + (wg.z * p.segments + segment) * (NP + 2u) * width + ch;");
  w.unroll(4, (k) => w.line(`parts[out + (q * 4u + ${k}u) * width] = dA.${"xyzw"[k]};`));
  w.line("part_y[0][li] = dskip;", "part_g[0][li] = dbias;", "workgroupBarrier();");
  w.if("q == 0u", () => {
    w.line(
      "parts[out + NP * width] = quad_sum_part_y(0u, c);",
      "parts[out + (NP + 1u) * width] = quad_sum_part_g(0u, c);",
    );
  });
}
