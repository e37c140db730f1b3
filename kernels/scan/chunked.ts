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
 * What moves, bytes a channel and token in f32, for 16 states and sequences uncut:
 * - forward: u, delta, z and y are 16, which is the least; with the kept states (64 / STAGE = 4) 20;
 * - backward: u, delta, z, gy in and du, ddelta, dz out are 28, which is the least; kept states 4, the
 *   parts of dB and dC by panel 4 out and 4 in: 40.
 * For mamba-130m (1,536 channels) that is 92 KB a token and layer, against 68 KB at the least. Where
 * sequences are cut, u and delta are read twice forward, delta, z and gy backward: 28 and 52. In f16 u,
 * z and dz take half. Exponentials a channel and token: 18 forward, 30 backward (16 and 28 of them
 * decays: each stage but its last block is walked twice).
 * @module
 */
import type { ScanProgram } from "./lane.ts";
import {
  elementwise,
  extents,
  lines,
  LOG2E,
  range,
  type ScanShape,
  storedScalar,
  sum,
  transposeAdd,
  when,
} from "./shape.ts";
import {
  advance,
  BLOCK,
  C,
  decayDelta,
  deltaOf,
  inputBuffers,
  isCut,
  items,
  load,
  loadStates,
  perBlock,
  program,
  put,
  registers,
  SEQUENCE,
  shared,
  slopeOfGate,
  STAGE,
  STAGE_BLOCK,
  stageBC,
  storeStates,
  walkMain,
} from "./stage.ts";

/** Cut sequences: each segment's end state from zero, but the last's, and its sum of delta. */
export function segmentEnds(s: ScanShape): ScanProgram {
  const wants = { u: true };
  return program(
    { u: storedScalar(s), ...inputBuffers(s), sums: "f32!" },
    `
${elementwise("f32")} ${shared("shDE", "shDx")} ${walkMain(s)} var h = vec4f(); var total = 0.0;
${registers(s, wants)} ${load(s, wants, "begin")}
for (var st = begin; st < end; st++) { let first = st * ${STAGE}u;
  ${
      items(s).map((item) =>
        `${deltaOf(s, item)} ${put("shDx", item, `dl${item.id} * u${item.id}`)} ${
          put("shDE", item, decayDelta(s, item.id))
        }`
      ).join("\n")
    } ${stageBC(s)}
  ${load(s, wants, "min(st + 1u, end - 1u)")} workgroupBarrier();
  ${lines(STAGE, (i) => `${advance(`${i}`)} total += shDE[${i}][c];`)}
  workgroupBarrier(); }
${storeStates("sums", "own", s, "h")} if (q == 0u) { ${SUM_OF_SEGMENT} = total; } }`,
  );
}
const SUM_OF_SEGMENT = "sums[p.sums + (wg.z * p.segments + segment) * width + ch]";

/** In reverse: what each segment sends back to its start, and its sum of delta. */
export function segmentReverse(s: ScanShape): ScanProgram {
  const wants = { z: true, gy: true };
  return program(
    {
      ...inputBuffers(s),
      gy: "f32",
      ...when(s.gate, { z: storedScalar(s) }),
      dcheckpoints: "f32!",
    },
    `
${elementwise("f32")} ${shared("shDE", "shDy")} ${
      walkMain(s, firstReversed(s) ? "wg.y + 1u" : "wg.y")
    } var dh = vec4f(); var total = 0.0;
${registers(s, wants)} ${load(s, wants, "end - 1u")}
for (var left = end; left > begin; left--) { let st = left - 1u; let first = st * ${STAGE}u;
  ${
      items(s).map((item) =>
        `${deltaOf(s, item)} ${slopeOfGate(s, item.id)} ${put("shDy", item, `dy${item.id}`)} ${
          put("shDE", item, decayDelta(s, item.id))
        }`
      ).join("\n")
    } ${stageBC(s)}
  ${load(s, wants, "max(st, begin + 1u) - 1u")} workgroupBarrier();
  ${
      range(STAGE).reverse().map((i) =>
        `dh = (dh + shDy[${i}][c] * ${
          C(s, `${i}`)
        }) * exp2(shDE[${i}][c] * A2); total += shDE[${i}][c];`
      ).join("\n")
    }
  workgroupBarrier(); }
${storeStates("dcheckpoints", "own", s, "dh")} if (q == 0u) { d${
      SUM_OF_SEGMENT.replace("sums", "checkpoints")
    } = total; } }`,
  );
}
/** Segments at the start that no one wants the reverse of: one, unless the first state has a gradient. */
export const firstReversed = (s: ScanShape): number => s.initialState ? 0 : 1;

/** Over the segments: replaces each one's own contribution by the state (gradient) that enters it. */
export function carry(s: ScanShape, reverse: boolean): ScanProgram {
  const { np } = extents(s), name = reverse ? "dcheckpoints" : "sums";
  const ends = reverse ? "dstate" : "state";
  return program(
    { par: "f32", [name]: "f32!", ...when(s.initialState, { [ends]: "f32!" }) },
    `
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let n = p.panels * ${np * 32}u; let i = id.x; if (i >= n) { return; }
  let width = p.panels * 32u; let ch = i / ${np * 32}u * 32u + i % 32u;
  let A2 = par[i / 32u % ${np}u * width + ch] * ${LOG2E};
  var h = ${s.initialState ? `${ends}[id.y * n + i]` : "0.0"};
  for (var j = 0u; j < p.segments; j++) {
    let k = id.y * p.segments + ${reverse ? "p.segments - 1u - j" : "j"};
    let own = ${name}[k * n + i]; ${name}[k * n + i] = h;
    h = exp2(A2 * ${name}[p.sums + k * width + ch]) * h + own;
  }
  ${reverse && s.initialState ? `${ends}[id.y * n + i] = h;` : ""}
}`,
  );
}

/** The walk forward: outputs, the states that enter each stage, the last state. */
export function walkForward(s: ScanShape): ScanProgram {
  const { quads } = extents(s), wants = { u: true, z: true };
  return program(
    {
      u: storedScalar(s),
      ...inputBuffers(s),
      ...when(s.gate, { z: storedScalar(s) }),
      ...when(isCut(s), { sums: "f32" }),
      checkpoints: "f32!",
      y: "f32!",
      state: "f32!",
    },
    `
${elementwise("f32")} ${shared("shDE", "shDx")}
var<workgroup> part: array<array<f32, ${32 * quads}>, ${STAGE}>; ${walkMain(s)}
var h = ${
      isCut(s)
        ? loadStates("sums", "own", s)
        : s.initialState
        ? loadStates("state", SEQUENCE, s)
        : "vec4f()"
    };
${registers(s, wants)} ${load(s, wants, "begin")}
for (var st = begin; st < end; st++) { let first = st * ${STAGE}u;
  ${
      items(s).map((item) =>
        `${deltaOf(s, item)} let uu${item.id} = u${item.id}; ${
          s.gate ? `let zt${item.id} = z${item.id};` : ""
        } ${put("shDx", item, `dl${item.id} * uu${item.id}`)} ${
          put("shDE", item, decayDelta(s, item.id))
        }`
      ).join("\n")
    } ${stageBC(s)}
  ${storeStates("checkpoints", STAGE_BLOCK, s, "h")}
  ${load(s, wants, "min(st + 1u, end - 1u)")} workgroupBarrier();
  ${lines(STAGE, (i) => `${advance(`${i}`)} part[${i}][li] = dot(h, ${C(s, `${i}`)});`)}
  workgroupBarrier();
  ${
      items(s).map(({ id: i, step }) =>
        `if (ok${i}) { let all = ${sum(quads, (r) => `part[${step}][${r * 32}u + c]`)} ${
          s.skip ? `+ skip * uu${i}` : ""
        };
    y[(wg.x * p.rows + base + t${i}) * 32u + c] = all ${
          s.gate ? `* zt${i} * sigmoid(zt${i})` : ""
        }; }`
      ).join("\n")
    }
}
if (end == p.chunks) { ${storeStates("state", SEQUENCE, s, "h")} } }`,
  );
}

/**
 * The walk back: gradients of everything. dB and dC are summed over channels by shuffles within groups
 * of 8 lanes and then through workgroup memory; without subgroups, through workgroup memory alone.
 */
export function walkBackward(s: ScanShape, subgroups: boolean): ScanProgram {
  const { np, quads } = extents(s), size = 32 * quads, per = perBlock(s);
  const wants = { u: true, z: true, gy: true };
  const at = (i: number) => `block + ${i}u`;
  const reverse = (i: number) => {
    const common = `let C${i} = ${C(s, at(i))}; let dy${i} = shDy[${
      at(i)
    }][c]; let g${i} = dh + dy${i} * C${i};
    let dB${i} = g${i} * shDx[${
      at(i)
    }][c]; let dC${i} = dy${i} * h${i}; dh = g${i} * e${i}; let w${i} = dh * ${
      i ? `h${i - 1}` : "hb"
    };
    dA += w${i} * dE${i}; partY[${i}][li] = dot(h${i}, C${i}); partG[${i}][li] = dot(g${i}, B${i}); partW[${i}][li] = dot(w${i}, A);`;
    if (subgroups) {
      const add = transposeAdd(`s${i}`, [
        ...range(4).map((k) => `dB${i}.${"xyzw"[k]}`),
        ...range(4).map((k) => `dC${i}.${"xyzw"[k]}`),
      ]);
      return `${common} ${add.code} octet[${i}][(c / 8u) * ${
        8 * quads
      }u + q * 8u + lane % 8u] = ${add.result};`;
    }
    // Each thread of the first (dB) or last (dC) 4 of an octet adds up its 8 channels of one value.
    const round = (value: string, mine: string) =>
      `wide[li] = ${value}; workgroupBarrier();
    if (${mine}) { var total = 0.0; for (var k = 0u; k < 8u; k++) { total += wide[li / 8u * 8u + k][c % 4u]; }
      octet[${i}][(c / 8u) * ${8 * quads}u + q * 8u + c % 8u] = total; } workgroupBarrier();`;
    return `${common} ${round(`dB${i}`, "c % 8u < 4u")} ${round(`dC${i}`, "c % 8u >= 4u")}`;
  };
  const flush = (k: number) => {
    const step = `(q + ${k * quads}u)`, exists = (k + 1) * quads <= BLOCK;
    const total = (name: string) => sum(quads, (r) => `${name}[${step}][${r * 32}u + c]`);
    return `${exists ? "" : `if (${step} < ${BLOCK}u)`} { let t = first + block + ${step};
  let o = owned[block / ${BLOCK}u * ${per}u + ${k}u]; let sy = ${total("partG")};
  let dd = (o.u * sy + ${total("partW")}) * o.slope; dbias += dd; dskip += o.dy * o.u;
  if (t < p.length) { let at = (wg.x * p.rows + base + t) * 32u + c; gy[at] = o.delta * sy ${
      s.skip ? "+ o.dy * skip" : ""
    }; ddelta[at] = dd;
    ${
      s.gate
        ? `dz[at] = ${storedScalar(s)}(o.gate * (${total("partY")} ${
          s.skip ? "+ skip * o.u" : ""
        }));`
        : ""
    } } }`;
  };
  return program(
    {
      u: storedScalar(s),
      ...inputBuffers(s),
      gy: "f32!",
      checkpoints: "f32",
      ...when(isCut(s), { dcheckpoints: "f32" }),
      ...when(!isCut(s) && s.initialState, { dstate: "f32!" }),
      ...when(s.gate, { z: storedScalar(s), dz: `${storedScalar(s)}!` }),
      ddelta: "f32!",
      parts: "f32!",
    },
    `
${elementwise("f32")} struct Owned { u: f32, delta: f32, dy: f32, slope: f32, gate: f32 }
${shared("shDE", "shDx", "shDy")} ${
      ["partY", "partG", "partW", "octet"].map((n) =>
        `var<workgroup> ${n}: array<array<f32, ${size}>, ${BLOCK}>;`
      ).join(" ")
    } ${subgroups ? "" : `var<workgroup> wide: array<vec4f, ${size}>;`}
${walkMain(s, "wg.y", subgroups)} ${
      subgroups ? lines(3, (m) => `let bit${m} = (lane & ${1 << m}u) != 0u;`) : ""
    }
var dh = ${
      isCut(s)
        ? loadStates("dcheckpoints", "own", s)
        : s.initialState
        ? loadStates("dstate", SEQUENCE, s)
        : "vec4f()"
    }; var dA = vec4f(); var dskip = 0.0; var dbias = 0.0;
var entry: array<vec4f, ${STAGE / BLOCK}>; // the state at each block's start
var owned: array<Owned, ${items(s).length}>;
${registers(s, wants)} ${load(s, wants, "end - 1u")}
var kept: vec4f; { let st = end - 1u; kept = ${loadStates("checkpoints", STAGE_BLOCK, s)}; }
for (var left = end; left > begin; left--) { let stage = left - 1u; let first = stage * ${STAGE}u;
  ${
      items(s).map((item) => {
        const i = item.id, slope = s.softplus ? `softplusSlope(xb${i}, ea${i})` : "1.0";
        return `${deltaOf(s, item)} ${slopeOfGate(s, i)} ${put("shDy", item, `dy${i}`)} ${
          put("shDx", item, `dl${i} * u${i}`)
        } ${put("shDE", item, decayDelta(s, i))}
  owned[${i}] = Owned(u${i}, dl${i}, dy${i}, select(0.0, ${slope}, ok${i}), ${
          s.gate ? `gy${i} * sz${i} * (1.0 + zt${i} * (1.0 - sz${i}))` : "0.0"
        });`;
      }).join("\n")
    } ${stageBC(s)}
  var h = kept; let st = max(stage, begin + 1u) - 1u;
  ${load(s, wants, "st")} kept = ${loadStates("checkpoints", STAGE_BLOCK, s)};
  workgroupBarrier(); entry[0] = h;
  ${
      range(STAGE - BLOCK).map((i) =>
        `${advance(`${i}`)} ${i % BLOCK === BLOCK - 1 ? `entry[${(i + 1) / BLOCK}] = h;` : ""}`
      ).join("\n")
    }
  for (var b = ${
      STAGE / BLOCK
    }u; b > 0u; b--) { let block = (b - 1u) * ${BLOCK}u; let hb = entry[b - 1u];
  ${
      lines(BLOCK, (i) =>
        `let B${i} = shBC[${at(i)}][q]; let dE${i} = shDE[${
          at(i)
        }][c]; let e${i} = exp2(dE${i} * A2); let h${i} = e${i} * ${
          i ? `h${i - 1}` : "hb"
        } + shDx[${at(i)}][c] * B${i};`)
    }
  ${range(BLOCK).reverse().map(reverse).join("\n")}
  workgroupBarrier();
  ${lines(per, flush)}
  { let step = li / ${8 * quads}u; let v = li % ${
      8 * quads
    }u; let t = first + block + step; // v: quad * 8 + (dB: 0..3, dC: 4..7)
    let total = ${sum(4, (o) => `octet[step][${o * 8 * quads}u + v]`)};
    if (t < p.length) { parts[(wg.x * p.rows + base + t) * 32u + v % 8u / 4u * ${np}u + v / 8u * 4u + v % 4u] = total; } }
  workgroupBarrier(); } }
let out = p.dpar_parts + (wg.z * p.segments + segment) * ${np + 2}u * width + ch;
${range(4).map((k) => `parts[out + (q * 4u + ${k}u) * width] = dA.${"xyzw"[k]};`).join(" ")}
partY[0][li] = dskip; partG[0][li] = dbias; workgroupBarrier();
if (q == 0u) { parts[out + ${np}u * width] = ${sum(quads, (r) => `partY[0][${r * 32}u + c]`)};
  parts[out + ${np + 1}u * width] = ${sum(quads, (r) => `partG[0][${r * 32}u + c]`)}; }
${!isCut(s) && s.initialState ? storeStates("dstate", SEQUENCE, s, "dh") : ""} }`,
  );
}
