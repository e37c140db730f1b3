/**
 * The scan for CPU drivers with subgroups of 8. One subgroup takes one panel of one sequence: four
 * channels for each lane (vec4f), every state in named registers. It walks time in chunks of
 * {@linkcode CHUNK} unrolled steps. The forward stores the state at each chunk's start; the backward
 * reloads it, recomputes the chunk's states and decays into registers and walks them in reverse.
 *
 * Names of registers end in the step of the chunk (i) and the state (n): `delta3`, `h3_15`.
 * - delta: the step size, 0 past the sequence's end; delta_u: delta times u;
 * - decay_delta: what takes delta's place in the decay, larger where a document starts;
 * - Abar: the decay of a state, exp(delta A); A2: A times log2(e);
 * - B, C: the step's B and C, four states to each vector.
 * @module
 */
import { range } from "../range.ts";
import { type Program, sumOf, WgslWriter } from "../wgsl/mod.ts";
import {
  writeActivations,
  writeConstants,
  writeLaneBits,
  writeTransposeAdd,
} from "./arithmetic.ts";
import { bindScan, extents, type ScanShape, storedVector, when } from "./shape.ts";

/** Time steps between checkpoints. */
export const CHUNK = 8;

/** True where the last chunk is partial: its surplus steps are masked. */
const masked = (s: ScanShape) => s.length % CHUNK !== 0;

/** WGSL for state n of B or C (or a decay) at step i of the chunk, which a vector of four holds. */
const component = (name: string, i: number, n: number) => `${name}${i}_${n >> 2}.${"xyzw"[n & 3]}`;

/** Forward: y, the last state and the checkpoints. */
export function laneForward(s: ScanShape): Program {
  const w = new WgslWriter();
  bindScan(w, {
    u: storedVector(s),
    delta: "vec4f",
    bc: "vec4f",
    par: "vec4f",
    checkpoints: "vec4f!",
    y: "vec4f!",
    state: "vec4f!",
    ...when(s.gate, { z: storedVector(s) }),
    ...when(s.packed, { starts: "u32" }),
  });
  writeFunctions(w, s);
  writeMain(w, () => {
    writeParameters(w, s);
    w.unroll(s.states, (n) => {
      w.line(`var h${n} = ${s.initialState ? `state[state_index(wg, ${n}u, lane)]` : "vec4f()"};`);
    });
    w.for("var chunk = 0u; chunk < p.chunks; chunk++", () => {
      writeChunkStart(w, s);
      w.unroll(s.states, (n) => {
        w.line(`checkpoints[checkpoint_index(wg, chunk, ${n}u, lane)] = h${n};`);
      });
      w.unroll(CHUNK, (i) => {
        writeInputs(w, s, i);
        writeC(w, s, i);
        w.unroll(s.states, (n) => {
          const Abar = `exp2_below_zero(decay_delta${i} * A2_${n})`;
          w.line(`h${n} = ${Abar} * h${n} + delta_u${i} * ${component("B", i, n)};`);
        });
        writeOutput(w, s, i);
      });
    });
    w.unroll(s.states, (n) => w.line(`state[state_index(wg, ${n}u, lane)] = h${n};`));
  });
  return w.program();
}

/** Step i's output, from the states after it. */
function writeOutput(w: WgslWriter, s: ScanShape, i: number): void {
  const terms = range(s.states).map((n) => `h${n} * ${component("C", i, n)}`);
  if (s.skip) terms.push(`skip * u${i}`);
  w.line(`let sum${i} = ${sumOf(terms)};`);
  if (s.gate) w.line(`let z${i} = vec4f(z[at${i}]);`);
  const store = `y[at${i}] = sum${i}${s.gate ? ` * z${i} * sigmoid(z${i})` : ""};`;
  writeMasked(w, s, i, () => w.line(store));
}

/** Backward: du, ddelta, dz, and the parts: dbc by panel, then dA, dD and dbias by sequence. */
export function laneBackward(s: ScanShape): Program {
  const w = new WgslWriter();
  bindScan(w, {
    u: storedVector(s),
    delta: "vec4f",
    bc: "vec4f",
    par: "vec4f",
    checkpoints: "vec4f",
    gy: "vec4f!",
    ddelta: "vec4f!",
    parts: "vec4f!",
    ...when(s.initialState, { dstate: "vec4f!" }),
    ...when(s.gate, { z: storedVector(s), dz: `${storedVector(s)}!` }),
    ...when(s.packed, { starts: "u32" }),
  });
  writeFunctions(w, s);
  writeMain(w, () => {
    writeParameters(w, s);
    writeLaneBits(w);
    w.unroll(s.states, (n) => {
      const last = s.initialState ? `dstate[state_index(wg, ${n}u, lane)]` : "vec4f()";
      w.line(`var dh${n} = ${last};`, `var dA${n} = vec4f();`);
    });
    w.line("var dskip = vec4f();", "var dbias = vec4f();");
    w.for("var left = p.chunks; left > 0u; left--", () => {
      w.line("let chunk = left - 1u;");
      writeChunkStart(w, s);
      writeRecomputedStates(w, s);
      w.unrollBackward(CHUNK, (i) => {
        writeC(w, s, i);
        writeSlopeOfOutput(w, s, i);
        writeReverseStep(w, s, i);
        writeGradients(w, s, i);
      });
    });
    writeParameterGradients(w, s);
  });
  return w.program();
}

/** The register that holds state n after step i of the chunk; step -1 is the chunk's start. */
const stateAfter = (i: number, n: number) => i < 0 ? `h_start${n}` : `h${i}_${n}`;

/** Recomputes the chunk's decays and states from the one that the forward kept. */
function writeRecomputedStates(w: WgslWriter, s: ScanShape): void {
  w.unroll(s.states, (n) => {
    w.line(`let ${stateAfter(-1, n)} = checkpoints[checkpoint_index(wg, chunk, ${n}u, lane)];`);
  });
  w.unroll(CHUNK, (i) => {
    writeInputs(w, s, i, { slope: true });
    w.unroll(s.states, (n) => {
      const decayed = `Abar${i}_${n} * ${stateAfter(i - 1, n)}`;
      w.line(
        `let Abar${i}_${n} = exp2_below_zero(decay_delta${i} * A2_${n});`,
        `let ${stateAfter(i, n)} = ${decayed} + delta_u${i} * ${component("B", i, n)};`,
      );
    });
  });
}

/** dL/dy of step i before the gate (dy), and with a gate the output before it (sum). */
function writeSlopeOfOutput(w: WgslWriter, s: ScanShape, i: number): void {
  w.line(`let gy${i} = ${masked(s) ? `select(vec4f(), gy[at${i}], inside${i})` : `gy[at${i}]`};`);
  if (!s.gate) {
    w.line(`let dy${i} = gy${i};`);
    return;
  }
  const terms = range(s.states).map((n) => `${stateAfter(i, n)} * ${component("C", i, n)}`);
  if (s.skip) terms.push(`skip * u${i}`);
  w.line(
    `let z${i} = vec4f(z[at${i}]);`,
    `let gate${i} = sigmoid(z${i});`,
    `let dy${i} = gy${i} * z${i} * gate${i};`,
    `let sum${i} = ${sumOf(terms)};`,
  );
}

/** One step of the reverse recurrence: g is the gradient of the state after step i, dh of that before. */
function writeReverseStep(w: WgslWriter, s: ScanShape, i: number): void {
  w.unroll(s.states, (n) => {
    w.line(
      `let g${i}_${n} = dh${n} + dy${i} * ${component("C", i, n)};`,
      `dh${n} = g${i}_${n} * Abar${i}_${n};`,
      `let w${i}_${n} = dh${n} * ${stateAfter(i - 1, n)};`,
      `dA${n} += w${i}_${n} * delta${i};`,
    );
  });
}

/** Gradients of step i: of u, delta and z, and this panel's parts of dB and dC. */
function writeGradients(w: WgslWriter, s: ScanShape, i: number): void {
  const { np } = extents(s);
  const inputTerms = range(s.states).map((n) => `g${i}_${n} * ${component("B", i, n)}`);
  const decayTerms = range(s.states).map((n) => `w${i}_${n} * A${n}`);
  w.line(
    `let gB${i} = ${sumOf(inputTerms)};`,
    `let draw${i} = (u${i} * gB${i} + ${sumOf(decayTerms)}) * slope${i};`,
    `dbias += draw${i};`,
    `dskip += dy${i} * u${i};`,
  );
  // Sums over the lane's four channels; then over the lanes: lane q gets states 4q to 4q + 3.
  const dB = (n: number) => n < s.states ? `dot(g${i}_${n}, delta_u${i})` : "0.0";
  const dC = (n: number) => n < s.states ? `dot(dy${i}, ${stateAfter(i, n)})` : "0.0";
  const values = [...range(np).map(dB), ...range(np).map(dC)];
  const vectors = range(8).map((v) =>
    `vec4f(${range(4).map((k) => values[4 * v + k] ?? "0.0").join(", ")})`
  );
  const total = writeTransposeAdd(w, `dbc${i}`, vectors);
  writeMasked(w, s, i, () => {
    w.line(
      `gy[at${i}] = delta${i} * gB${i}${s.skip ? ` + dy${i} * skip` : ""};`,
      `ddelta[at${i}] = draw${i};`,
    );
    if (s.gate) {
      const slope = `gate${i} * (1.0 + z${i} * (1.0 - gate${i}))`;
      w.line(`dz[at${i}] = ${storedVector(s)}(gy${i} * sum${i} * ${slope});`);
    }
    w.line(`parts[(wg.x * p.rows + row${i}) * 8u + lane] = ${total};`);
  });
}

/** The sequence's parts of dA, dD and the bias's gradient; and the initial state's gradient. */
function writeParameterGradients(w: WgslWriter, s: ScanShape): void {
  const { np } = extents(s);
  w.unroll(np, (n) => {
    w.line(`parts[part_index(wg, ${n}u, lane)] = ${n < s.states ? `dA${n}` : "vec4f()"};`);
  });
  w.line(
    `parts[part_index(wg, ${np}u, lane)] = dskip;`,
    `parts[part_index(wg, ${np + 1}u, lane)] = dbias;`,
  );
  if (!s.initialState) return;
  w.unroll(s.states, (n) => w.line(`dstate[state_index(wg, ${n}u, lane)] = dh${n};`));
}

/** Constants and functions. */
function writeFunctions(w: WgslWriter, s: ScanShape): void {
  const { np } = extents(s);
  w.comment("Steps of a chunk; states of a channel, rounded up to 4.");
  w.const("CHUNK", CHUNK);
  w.const("NP", np);
  writeConstants(w);
  writeActivations(w, "vec4f");
  writeExp2BelowZero(w);
  w.fn(
    "state_index(wg: vec3u, n: u32, lane: u32) -> u32",
    "return ((wg.y * p.panels + wg.x) * NP + n) * 8u + lane;",
  );
  w.fn(
    "checkpoint_index(wg: vec3u, chunk: u32, n: u32, lane: u32) -> u32",
    "return (((wg.y * p.chunks + chunk) * p.panels + wg.x) * NP + n) * 8u + lane;",
  );
  w.fn(
    "parameter_index(wg: vec3u, row: u32, lane: u32) -> u32",
    "return (row * p.panels + wg.x) * 8u + lane;",
  );
  w.fn(
    "part_index(wg: vec3u, row: u32, lane: u32) -> u32",
    "return p.dpar_parts / 4u + ((wg.y * (NP + 2u) + row) * p.panels + wg.x) * 8u + lane;",
  );
}

/** 2^x for x <= 0, 0 at -127 and below: on lavapipe faster and more exact than the built-in. */
function writeExp2BelowZero(w: WgslWriter): void {
  w.fn(
    "exp2_below_zero(x: vec4f) -> vec4f",
    `
      let a = max(x, vec4f(-127.0));
      let c = a + 12582912.0; // c's low bits hold round(a)
      let f = a - round(a); // not "a - (c - 12582912.0)", which Mesa folds to 0
      let tail = 0.0096181291 + f * (0.0013333558 + f * 0.00015403530);
      let q = 1.0 + f * (0.69314718 + f * (0.24022651 + f * (0.055504109 + f * tail)));
      return bitcast<vec4f>(bitcast<vec4i>(q) + (bitcast<vec4i>(c) << vec4u(23u)));
    `,
  );
}

/** The entry point of a subgroup: its body sees lane and wg (panel, sequence). */
function writeMain(w: WgslWriter, body: () => void): void {
  w.main(8, { lane: "local_invocation_index", wg: "workgroup_id" }, body);
}

/** Loads the lane's A, D and bias of delta. */
function writeParameters(w: WgslWriter, s: ScanShape): void {
  const { np } = extents(s);
  const row = (n: number) => `par[parameter_index(wg, ${n}u, lane)]`;
  w.unroll(s.states, (n) => w.line(`let A${n} = ${row(n)};`, `let A2_${n} = A${n} * LOG2E;`));
  if (s.skip) w.line(`let skip = ${row(np)};`);
  if (s.bias) w.line(`let bias = ${row(np + 1)};`);
}

/** Where the chunk begins (first), and by lane i what its step i resets (reset). */
function writeChunkStart(w: WgslWriter, s: ScanShape): void {
  w.line("let first = chunk * CHUNK;");
  if (!s.packed) return;
  w.line(
    "let lane_row = wg.y * p.length + min(first + min(lane, CHUNK - 1u), p.length - 1u);",
    "let reset = f32(starts[lane_row]) * RESET;",
  );
}

/**
 * Step i's inputs: u, delta, delta_u, decay_delta, B and the lane's part of C; with `slope`, the
 * derivative of softplus. Past the sequence's end the last row stands in, with a delta of 0.
 */
function writeInputs(w: WgslWriter, s: ScanShape, i: number, { slope = false } = {}): void {
  const partial = masked(s);
  const mask = (x: string) => partial ? `select(vec4f(), ${x}, inside${i})` : x;
  w.line(`let t${i} = first + ${i}u;`);
  if (partial) w.line(`let inside${i} = t${i} < p.length;`);
  w.line(
    `let row${i} = wg.y * p.length + ${partial ? `min(t${i}, p.length - 1u)` : `t${i}`};`,
    `let at${i} = (wg.x * p.rows + row${i}) * 8u + lane;`,
    `let raw${i} = delta[at${i}]${s.bias ? " + bias" : ""};`,
    `let u${i} = vec4f(u[at${i}]);`,
  );
  if (s.softplus) w.line(`let e${i} = exp_of_minus_abs(raw${i});`);
  w.line(`let delta${i} = ${mask(s.softplus ? `softplus(raw${i}, e${i})` : `raw${i}`)};`);
  if (slope) {
    const value = s.softplus ? `softplus_slope(raw${i}, e${i})` : "vec4f(1.0)";
    w.line(`let slope${i} = ${mask(value)};`);
  }
  const reset = mask(`vec4f(subgroupBroadcast(reset, ${i}u))`);
  w.line(
    `let delta_u${i} = delta${i} * u${i};`,
    `let decay_delta${i} = ${s.packed ? `max(delta${i}, ${reset})` : `delta${i}`};`,
    `let bc${i} = bc[row${i} * 8u + lane];`,
  );
  w.unroll(extents(s).quads, (q) => w.line(`let B${i}_${q} = subgroupBroadcast(bc${i}, ${q}u);`));
}

/** Step i's C, from the lanes that loaded it. */
function writeC(w: WgslWriter, s: ScanShape, i: number): void {
  const { quads } = extents(s);
  w.unroll(quads, (q) => w.line(`let C${i}_${q} = subgroupBroadcast(bc${i}, ${q + quads}u);`));
}

/** Writes stores of step i, which past the sequence's end do not happen. */
function writeMasked(w: WgslWriter, s: ScanShape, i: number, body: () => void): void {
  if (masked(s)) w.if(`inside${i}`, body);
  else body();
}
