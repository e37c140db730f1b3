/**
 * The scan for GPUs, chunk-parallel. A workgroup takes one panel and one chunk of {@linkcode CHUNK}
 * steps; thread li is channel li % 32, states 4 * (li / 32) .. + 3 (a vec4f). Forward: (1) each
 * chunk's end state from zero and its sum of delta, (2) states carried over the chunks, (3) outputs.
 * Backward the same in reverse; its last pass walks blocks of {@linkcode BLOCK} steps whose states
 * stay in registers. Per chunk the state that enters is kept, nothing larger.
 * @module
 */
import type { ScanProgram } from "./lane.ts";
import {
  declare,
  elementwise,
  extents,
  lines,
  LOG2E,
  range,
  RESET,
  type ScanShape,
  storedScalar,
  sum,
  transposeAdd,
  when,
} from "./shape.ts";

/** Time steps of a chunk. */
export const CHUNK = 32;
/** Steps whose states a thread keeps in registers in the backward. */
const BLOCK = 4;

const program = (buffers: Record<string, string>, body: string): ScanProgram => ({
  buffers: Object.keys(buffers),
  code: declare(buffers) + body,
});
const chunkMain = (s: ScanShape, subgroups = false) => {
  const { np, quads } = extents(s);
  return `@compute @workgroup_size(${
    32 * quads
  }) fn main(@builtin(local_invocation_index) li: u32, ${
    subgroups ? "@builtin(subgroup_invocation_id) lane: u32, " : ""
  }@builtin(workgroup_id) wg: vec3u) {
let q = li / 32u; let c = li % 32u; let width = p.panels * 32u; let ch = wg.x * 32u + c; let first = wg.y * ${CHUNK}u;
let A = vec4f(${range(4).map((k) => `par[(q * 4u + ${k}u) * width + ch]`)}); let A2 = A * ${LOG2E};
let skip = par[${np}u * width + ch]; let bias = par[${np + 1}u * width + ch];
let home = ((wg.z * p.chunks + wg.y) * p.panels + wg.x) * ${
    np * 32
  }u + q * 128u + c; let sumAt = (wg.z * p.chunks + wg.y) * width + ch;
_ = skip; _ = bias; _ = A2; _ = home; _ = sumAt;`;
};
/** Inputs of time t; past the end dl = dx = dE = 0, which leaves every state as it is. */
function inputs(s: ScanShape): string {
  return `let ok = t < p.length; let row = wg.z * p.length + min(t, p.length - 1u); let at = (wg.x * p.rows + row) * 32u + c;
let x = delta[at]${s.bias ? " + bias" : ""}; let uu = f32(u[at]); ${
    s.softplus ? `let ea = exp2(abs(x) * -${LOG2E});` : ""
  }
let dl = select(0.0, ${s.softplus ? "softplus(x, ea)" : "x"}, ok); let dx = dl * uu;
let dE = ${
    s.packed ? `max(dl, select(0.0, f32(starts[row]) * ${RESET}, ok))` : "dl"
  }; _ = dx; _ = dE;`;
}
/** B (or C) of the thread's quad of states at a row. */
const bcAt = (s: ScanShape, row: string, second: boolean) =>
  `bc[(${row}) * 8u + q${second ? ` + ${extents(s).quads}u` : ""}]`;
const inputBuffers = (s: ScanShape) => ({
  u: storedScalar(s),
  delta: "f32",
  bc: "vec4f",
  par: "f32",
  ...when(s.packed, { starts: "u32" }),
});
const loadHome = (name: string) => `vec4f(${range(4).map((k) => `${name}[home + ${32 * k}u]`)})`;
const storeHome = (name: string, v: string) =>
  range(4).map((k) => `${name}[home + ${32 * k}u] = ${v}.${"xyzw"[k]};`).join(" ");
/** dL/dy before the gate, dy, from gy at `at`. */
const gateSlope = (s: ScanShape) =>
  `let gyt = select(0.0, gy[at], ok);
${s.gate ? "let zt = f32(z[at]); let sz = sigmoid(zt); let dy = gyt * zt * sz;" : "let dy = gyt;"}`;

/** (1) Each chunk's end state from zero, and its sum of delta. */
export function chunkStates(s: ScanShape): ScanProgram {
  return program(
    { ...inputBuffers(s), checkpoints: "f32!", sums: "f32!" },
    `
${elementwise("f32")} ${chunkMain(s)} var h = vec4f(); var total = 0.0;
for (var i = 0u; i < ${CHUNK}u; i++) { let t = first + i; ${inputs(s)}
  h = exp2(dE * A2) * h + dx * ${bcAt(s, "row", false)}; total += dE; }
${storeHome("checkpoints", "h")} if (q == 0u) { sums[sumAt] = total; } }`,
  );
}

/** (1) in reverse: what each chunk sends back to its start. */
export function chunkReverse(s: ScanShape): ScanProgram {
  return program(
    {
      ...inputBuffers(s),
      gy: "f32",
      ...when(s.gate, { z: storedScalar(s) }),
      dcheckpoints: "f32!",
    },
    `
${elementwise("f32")} ${chunkMain(s)} var dh = vec4f();
for (var i = ${CHUNK}u; i > 0u; i--) { let t = first + i - 1u; ${inputs(s)} ${gateSlope(s)}
  dh = (dh + dy * ${bcAt(s, "row", true)}) * exp2(dE * A2); }
${storeHome("dcheckpoints", "dh")} }`,
  );
}

/** (2) and its reverse: replaces each chunk's own contribution by the state (gradient) that enters it. */
export function carry(s: ScanShape, reverse: boolean): ScanProgram {
  const { np } = extents(s);
  const name = reverse ? "dcheckpoints" : "checkpoints", ends = reverse ? "dstate" : "state";
  // The reverse without an initial state has no one to give the gradient of the first state to.
  const keep = !reverse || s.initialState;
  return program(
    { par: "f32", sums: "f32", [name]: "f32!", ...when(keep, { [ends]: "f32!" }) },
    `
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let n = p.panels * ${np * 32}u; let i = id.x; if (i >= n) { return; }
  let width = p.panels * 32u; let ch = i / ${np * 32}u * 32u + i % 32u;
  let A2 = par[i / 32u % ${np}u * width + ch] * ${LOG2E};
  var h = ${s.initialState ? `${ends}[id.y * n + i]` : "0.0"};
  for (var j = 0u; j < p.chunks; j++) {
    let k = id.y * p.chunks + ${reverse ? "p.chunks - 1u - j" : "j"};
    let own = ${name}[k * n + i]; ${name}[k * n + i] = h; h = exp2(A2 * sums[k * width + ch]) * h + own;
  }
  ${keep ? `${ends}[id.y * n + i] = h;` : ""}
}`,
  );
}

/** (3) Outputs. */
export function chunkOutputs(s: ScanShape): ScanProgram {
  const { quads } = extents(s);
  return program(
    { ...inputBuffers(s), checkpoints: "f32", y: "f32!", ...when(s.gate, { z: storedScalar(s) }) },
    `
${elementwise("f32")} var<workgroup> part: array<f32, ${BLOCK * quads * 32}>;
${chunkMain(s)} var h = ${loadHome("checkpoints")};
for (var block = 0u; block < ${CHUNK}u; block += ${BLOCK}u) {
  ${
      lines(BLOCK, (i) =>
        `{ let t = first + block + ${i}u; ${inputs(s)}
  h = exp2(dE * A2) * h + dx * ${bcAt(s, "row", false)}; part[${i * quads * 32}u + li] = dot(h, ${
          bcAt(s, "row", true)
        }); }`)
    }
  workgroupBarrier();
  for (var i = q; i < ${BLOCK}u; i += ${quads}u) { let t = first + block + i; if (t < p.length) { ${
      inputs(s)
    }
    let sums = ${sum(quads, (r) => `part[i * ${quads * 32}u + ${r * 32}u + c]`)} ${
      s.skip ? "+ skip * uu" : ""
    };
    y[at] = sums ${s.gate ? "* f32(z[at]) * sigmoid(f32(z[at]))" : ""}; } }
  workgroupBarrier();
} }`,
  );
}

/**
 * (3) in reverse; checkpoints and dcheckpoints hold what enters the chunk at either end. dB and dC
 * are summed over channels by shuffles within groups of 8 lanes and then through shared memory;
 * without subgroups, through shared memory alone.
 */
export function chunkGradients(s: ScanShape, subgroups: boolean): ScanProgram {
  const { np, quads } = extents(s), size = 32 * quads, blocks = CHUNK / BLOCK;
  const per = Math.ceil(BLOCK / quads); // (step, channel) items of a block that a thread owns
  const staged = (name: string, i: string) => `${name}[(${i}) * 32u + c]`;
  const owns = (k: number) => (k + 1) * quads <= BLOCK ? "true" : `i${k} < ${BLOCK}u`;
  const stage = (backward: boolean) =>
    lines(per, (k) => `
let i${k} = q + ${k * quads}u; var own${k} = Item(); if (${
      owns(k)
    }) { let t = first + block + i${k}; ${inputs(s)}
  ${staged("shDl", `i${k}`)} = dl; ${staged("shDx", `i${k}`)} = dx; ${staged("shDE", `i${k}`)} = dE;
  ${
      backward
        ? `${gateSlope(s)} ${staged("shDy", `i${k}`)} = dy; own${k} = Item(at, row, ok, uu, dl, dy,
    ${s.softplus ? "select(0.0, softplusSlope(x, ea), ok)" : "select(0.0, 1.0, ok)"}, ${
          s.gate ? "gyt * sz * (1.0 + zt * (1.0 - sz))" : "0.0"
        });`
        : ""
    } }`);
  const rowOf = (i: number) => `wg.z * p.length + min(first + block + ${i}u, p.length - 1u)`;
  const reverse = (i: number) => {
    const common = `let C${i} = ${bcAt(s, rowOf(i), true)}; let dy${i} = ${
      staged("shDy", `${i}u`)
    }; let g${i} = dh + dy${i} * C${i};
    let dB${i} = g${i} * ${
      staged("shDx", `${i}u`)
    }; let dC${i} = dy${i} * h${i}; dh = g${i} * e${i}; let w${i} = dh * ${i ? `h${i - 1}` : "hb"};
    dA += w${i} * ${staged("shDl", `${i}u`)}; part[${
      i * size
    }u + li] = vec3f(dot(h${i}, C${i}), dot(g${i}, B${i}), dot(w${i}, A));`;
    if (subgroups) {
      const add = transposeAdd(`s${i}`, [
        ...range(4).map((k) => `dB${i}.${"xyzw"[k]}`),
        ...range(4).map((k) => `dC${i}.${"xyzw"[k]}`),
      ]);
      return `${common} ${add.code} octet[${i * size}u + (c / 8u) * ${
        8 * quads
      }u + q * 8u + lane % 8u] = ${add.result};`;
    }
    // Each thread of the first two rows of 4 per octet adds up 8 channels of one value.
    return `${common} wide[li * 2u] = dB${i}; wide[li * 2u + 1u] = dC${i}; workgroupBarrier();
    { var total = 0.0; let v = c % 8u; let base = (q * 32u + c / 8u * 8u) * 2u + v / 4u;
      for (var k = 0u; k < 8u; k++) { total += wide[base + 2u * k][v % 4u]; }
      octet[${i * size}u + (c / 8u) * ${8 * quads}u + q * 8u + v] = total; } workgroupBarrier();`;
  };
  return program(
    {
      ...inputBuffers(s),
      gy: "f32!",
      checkpoints: "f32",
      dcheckpoints: "f32",
      ...when(s.gate, { z: storedScalar(s), dz: `${storedScalar(s)}!` }),
      ddelta: "f32!",
      parts: "f32!",
    },
    `
${
      elementwise("f32")
    } struct Item { at: u32, row: u32, ok: bool, uu: f32, dl: f32, dy: f32, slope: f32, dz: f32 }
${
      ["shDl", "shDx", "shDE", "shDy"].map((n) => `var<workgroup> ${n}: array<f32, ${BLOCK * 32}>;`)
        .join(" ")
    }
var<workgroup> part: array<vec3f, ${BLOCK * size}>; var<workgroup> octet: array<f32, ${
      BLOCK * size
    }>; ${subgroups ? "" : `var<workgroup> wide: array<vec4f, ${2 * size}>;`}
${chunkMain(s, subgroups)} ${
      subgroups ? lines(3, (m) => `let bit${m} = (lane & ${1 << m}u) != 0u;`) : ""
    }
var h = ${loadHome("checkpoints")}; var dh = ${
      loadHome("dcheckpoints")
    }; var dA = vec4f(); var dskip = 0.0; var dbias = 0.0;
var entry: array<vec4f, ${blocks}>; // the state at each block's start
for (var b = 0u; b < ${blocks}u; b++) { let block = b * ${BLOCK}u; entry[b] = h; ${
      stage(false)
    } workgroupBarrier();
  ${
      lines(
        BLOCK,
        (i) =>
          `h = exp2(${staged("shDE", `${i}u`)} * A2) * h + ${staged("shDx", `${i}u`)} * ${
            bcAt(s, rowOf(i), false)
          };`,
      )
    }
  workgroupBarrier(); }
for (var left = ${blocks}u; left > 0u; left--) { let block = (left - 1u) * ${BLOCK}u; let hb = entry[left - 1u]; ${
      stage(true)
    } workgroupBarrier();
  ${
      lines(BLOCK, (i) =>
        `let B${i} = ${bcAt(s, rowOf(i), false)}; let e${i} = exp2(${staged("shDE", `${i}u`)} * A2);
  let h${i} = e${i} * ${i ? `h${i - 1}` : "hb"} + ${staged("shDx", `${i}u`)} * B${i};`)
    }
  ${range(BLOCK).reverse().map(reverse).join("\n")}
  workgroupBarrier();
  ${
      lines(per, (k) =>
        `if (${owns(k)}) { let all = ${
          sum(quads, (r) =>
            `part[i${k} * ${size}u + ${r * 32}u + c]`)
        }; let o = own${k};
  let dd = (o.uu * all.y + all.z) * o.slope; dbias += dd; dskip += o.dy * o.uu;
  if (o.ok) { gy[o.at] = o.dl * all.y ${s.skip ? "+ o.dy * skip" : ""}; ddelta[o.at] = dd;
    ${
          s.gate
            ? `dz[o.at] = ${storedScalar(s)}(o.dz * (all.x ${s.skip ? "+ skip * o.uu" : ""}));`
            : ""
        } } }`)
    }
  { let step = li / ${8 * quads}u; let v = li % ${
      8 * quads
    }u; let t = first + block + step; // v: quad * 8 + (dB: 0..3, dC: 4..7)
    let total = ${sum(4, (o) => `octet[step * ${size}u + ${o * 8 * quads}u + v]`)};
    if (t < p.length) { parts[(wg.x * p.rows + wg.z * p.length + t) * 32u + v % 8u / 4u * ${np}u + v / 8u * 4u + v % 4u] = total; } }
  workgroupBarrier(); }
let out = p.dpar_parts + (wg.z * p.chunks + wg.y) * ${np + 2}u * width + ch;
${range(4).map((k) => `parts[out + (q * 4u + ${k}u) * width] = dA.${"xyzw"[k]};`).join(" ")}
part[li] = vec3f(dskip, dbias, 0.0); workgroupBarrier();
if (q == 0u) { let all = ${
      sum(quads, (r) => `part[${r * 32}u + c]`)
    }; parts[out + ${np}u * width] = all.x; parts[out + ${np + 1}u * width] = all.y; } }`,
  );
}
