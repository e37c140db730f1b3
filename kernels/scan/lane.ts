/**
 * The scan for CPU drivers with subgroups of 8. One subgroup takes one panel of one sequence: four
 * channels a lane (vec4f), every state in named registers. It walks time in chunks of {@linkcode CHUNK}
 * unrolled steps. The forward stores the state at each chunk's start; the backward reloads it,
 * recomputes the chunk's states and decays into registers and walks them in reverse.
 * @module
 */
import {
  declare,
  elementwise,
  extents,
  lines,
  LOG2E,
  range,
  RESET,
  type ScanShape,
  storedVector,
  sum,
  transposeAdd,
  when,
} from "./shape.ts";

/** Time steps between checkpoints. */
export const CHUNK = 8;

/** 2^x for x <= 0, 0 at -127 and below: on lavapipe faster and more exact than the built-in. */
const decay = `fn decay(x: vec4f) -> vec4f {
  let a = max(x, vec4f(-127.0)); let c = a + 12582912.0; // c's low bits hold round(a)
  let f = a - round(a); // not "a - (c - 12582912.0)", which Mesa folds to 0
  let q = 1.0 + f * (0.69314718 + f * (0.24022651 + f * (0.055504109 + f * (0.0096181291 + f * (0.0013333558 + f * 0.00015403530)))));
  return bitcast<vec4f>(bitcast<vec4i>(q) + (bitcast<vec4i>(c) << vec4u(23u)));
}
`;
const main =
  "@compute @workgroup_size(8) fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) wg: vec3u) {";

/** True where the last chunk is partial: its surplus steps are masked. */
const masked = (s: ScanShape) => s.length % CHUNK !== 0;

const stateAt = (s: ScanShape, name: string, n: number) =>
  `${name}[((wg.y * p.panels + wg.x) * ${extents(s).np}u + ${n}u) * 8u + lane]`;
const checkpointAt = (s: ScanShape, n: number) =>
  `checkpoints[(((wg.y * p.chunks + c) * p.panels + wg.x) * ${
    extents(s).np
  }u + ${n}u) * 8u + lane]`;
/** Broadcast B or C, state n, step i. */
const of = (name: string, i: number, n: number) => `${name}${i}_${n >> 2}.${"xyzw"[n & 3]}`;

function parameters(s: ScanShape): string {
  const { np } = extents(s), row = (n: number) => `par[(${n}u * p.panels + wg.x) * 8u + lane]`;
  return `${lines(s.states, (n) => `let A${n} = ${row(n)}; let A2_${n} = A${n} * ${LOG2E};`)}
let skip = ${row(np)}; let bias = ${row(np + 1)};`;
}

/**
 * Step i's inputs: delta dl{i}, u uu{i}, dx{i} = delta * u, dE{i} (delta, or 1e30 at a start), B and
 * the lane's part of C; with `slope`, the derivative of softplus as sg{i}.
 */
function inputs(s: ScanShape, i: number, slope: boolean): string {
  const { quads } = extents(s), partial = masked(s), V = "vec4f";
  const mask = (x: string) => partial ? `select(${V}(), ${x}, ok${i})` : x;
  return `
let t${i} = tc + ${i}u; ${partial ? `let ok${i} = t${i} < p.length;` : ""}
let row${i} = wg.y * p.length + ${partial ? `min(t${i}, p.length - 1u)` : `t${i}`};
let at${i} = (wg.x * p.rows + row${i}) * 8u + lane; let x${i} = delta[at${i}]${
    s.bias ? " + bias" : ""
  }; let uu${i} = vec4f(u[at${i}]);
${s.softplus ? `let ea${i} = exp2(abs(x${i}) * -${LOG2E});` : ""}
let dl${i} = ${mask(s.softplus ? `softplus(x${i}, ea${i})` : `x${i}`)};
${
    slope
      ? `let sg${i} = ${mask(s.softplus ? `softplusSlope(x${i}, ea${i})` : `${V}(1.0)`)};`
      : ""
  } let dx${i} = dl${i} * uu${i};
let dE${i} = ${s.packed ? `max(dl${i}, ${mask(`${V}(subgroupBroadcast(rs, ${i}u))`)})` : `dl${i}`};
let bc${i} = bc[row${i} * 8u + lane];
${lines(quads, (q) => `let B${i}_${q} = subgroupBroadcast(bc${i}, ${q}u);`)}`;
}
const inputC = (s: ScanShape, i: number) => {
  const { quads } = extents(s);
  return lines(quads, (q) => `let C${i}_${q} = subgroupBroadcast(bc${i}, ${q + quads}u);`);
};
const resets = (s: ScanShape) =>
  s.packed
    ? `let rs = f32(starts[wg.y * p.length + min(tc + min(lane, ${
      CHUNK - 1
    }u), p.length - 1u)]) * ${RESET};`
    : "";

/** Buffers in binding order, and WGSL. */
export interface ScanProgram {
  buffers: string[];
  code: string;
}

/** Forward: y, the last state and the checkpoints. */
export function laneForward(s: ScanShape): ScanProgram {
  const buffers = {
    u: storedVector(s),
    delta: "vec4f",
    bc: "vec4f",
    par: "vec4f",
    checkpoints: "vec4f!",
    y: "vec4f!",
    state: "vec4f!",
    ...when(s.gate, { z: storedVector(s) }),
    ...when(s.packed, { starts: "u32" }),
  };
  return {
    buffers: Object.keys(buffers),
    code: `${declare(buffers)} ${elementwise("vec4f")} ${decay} ${main} ${parameters(s)}
${lines(s.states, (n) => `var h${n} = ${s.initialState ? stateAt(s, "state", n) : "vec4f()"};`)}
for (var c = 0u; c < p.chunks; c++) { let tc = c * ${CHUNK}u; ${resets(s)}
  ${lines(s.states, (n) => `${checkpointAt(s, n)} = h${n};`)}
  ${
      lines(CHUNK, (i) =>
        `${inputs(s, i, false)} ${inputC(s, i)}
  ${
          lines(
            s.states,
            (n) => `h${n} = decay(dE${i} * A2_${n}) * h${n} + dx${i} * ${of("B", i, n)};`,
          )
        }
  let p${i} = ${sum(s.states, (n) => `h${n} * ${of("C", i, n)}`)} ${
          s.skip ? `+ skip * uu${i}` : ""
        }; ${s.gate ? `let z${i} = vec4f(z[at${i}]);` : ""}
  ${masked(s) ? `if (ok${i})` : ""} { y[at${i}] = p${i} ${
          s.gate ? `* z${i} * sigmoid(z${i})` : ""
        }; }`)
    }
}
${lines(s.states, (n) => `${stateAt(s, "state", n)} = h${n};`)} _ = skip; _ = bias; }`,
  };
}

/** Backward: du, ddelta, dz, and the parts: dbc by panel, then dA, dD and dbias by sequence. */
export function laneBackward(s: ScanShape): ScanProgram {
  const { np, quads } = extents(s);
  const h = (i: number, n: number) => i < 0 ? `hs${n}` : `h${i}_${n}`;
  const reverse = (i: number) => {
    const values = range(2 * np).map((k) =>
      k % np >= s.states
        ? "0.0"
        : k < np
        ? `dot(g${i}_${k}, dx${i})`
        : `dot(dy${i}, ${h(i, k - np)})`
    );
    const vectors = range(8).map((v) =>
      `vec4f(${range(4).map((k) => values[4 * v + k] ?? "0.0")})`
    );
    const total = transposeAdd(`s${i}`, vectors);
    return `${inputC(s, i)}
let gy${i} = ${masked(s) ? `select(vec4f(), gy[at${i}], ok${i})` : `gy[at${i}]`};
${
      s.gate
        ? `let z${i} = vec4f(z[at${i}]); let sz${i} = sigmoid(z${i}); let dy${i} = gy${i} * z${i} * sz${i};
let p${i} = ${sum(s.states, (n) => `${h(i, n)} * ${of("C", i, n)}`)} ${
          s.skip ? `+ skip * uu${i}` : ""
        };`
        : `let dy${i} = gy${i};`
    }
${
      lines(s.states, (n) =>
        `let g${i}_${n} = dh${n} + dy${i} * ${of("C", i, n)}; dh${n} = g${i}_${n} * e${i}_${n};
let w${i}_${n} = dh${n} * ${h(i - 1, n)}; dA${n} += w${i}_${n} * dl${i};`)
    }
let gB${i} = ${sum(s.states, (n) => `g${i}_${n} * ${of("B", i, n)}`)};
let dd${i} = (uu${i} * gB${i} + ${sum(s.states, (n) => `w${i}_${n} * A${n}`)}) * sg${i};
dbias += dd${i}; dskip += dy${i} * uu${i};
${total.code}
${masked(s) ? `if (ok${i})` : ""} {
  gy[at${i}] = dl${i} * gB${i} ${s.skip ? `+ dy${i} * skip` : ""}; ddelta[at${i}] = dd${i};
  ${
      s.gate
        ? `dz[at${i}] = ${
          storedVector(s)
        }(gy${i} * p${i} * sz${i} * (1.0 + z${i} * (1.0 - sz${i})));`
        : ""
    }
  parts[(wg.x * p.rows + row${i}) * 8u + lane] = ${total.result};
}`;
  };
  const part = (n: number) =>
    `parts[p.dpar_parts / 4u + ((wg.y * ${np + 2}u + ${n}u) * p.panels + wg.x) * 8u + lane]`;
  const buffers = {
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
  };
  return {
    buffers: Object.keys(buffers),
    code: `${declare(buffers)} ${elementwise("vec4f")} ${decay} ${main} ${parameters(s)}
${lines(3, (m) => `let bit${m} = (lane & ${1 << m}u) != 0u;`)}
${
      lines(s.states, (n) =>
        `var dh${n} = ${
          s.initialState ? stateAt(s, "dstate", n) : "vec4f()"
        }; var dA${n} = vec4f();`)
    }
var dskip = vec4f(); var dbias = vec4f();
for (var left = p.chunks; left > 0u; left--) { let c = left - 1u; let tc = c * ${CHUNK}u; ${
      resets(s)
    }
  ${lines(s.states, (n) => `let hs${n} = ${checkpointAt(s, n)};`)}
  ${
      lines(CHUNK, (i) =>
        `${inputs(s, i, true)}
  ${
          lines(s.states, (n) =>
            `let e${i}_${n} = decay(dE${i} * A2_${n}); let h${i}_${n} = e${i}_${n} * ${
              h(i - 1, n)
            } + dx${i} * ${of("B", i, n)};`)
        }`)
    }
  ${range(CHUNK).reverse().map(reverse).join("\n")}
}
${lines(np, (n) => `${part(n)} = ${n < s.states ? `dA${n}` : "vec4f()"};`)}
${part(np)} = dskip; ${part(np + 1)} = dbias;
${s.initialState ? lines(s.states, (n) => `${stateAt(s, "dstate", n)} = dh${n};`) : ""}
_ = skip; _ = bias; _ = ${quads}u; }`,
  };
}
