/** The matrix products of a chunk: see shape.ts for the mathematics and tile.ts for what runs them. @module */
import type { WgslWriter } from "../wgsl/mod.ts";
import {
  declareChunk,
  declareSizes,
  declareStates,
  declareSteps,
  type SsdProgram,
  storedU,
} from "./declarations.ts";
import {
  DOCUMENT,
  FROM_START,
  INTO_END,
  LOG_DECAY,
  ssdExtents,
  type SsdShape,
  STEP,
  TO_END,
} from "./shape.ts";
import { declareOperand, declareRead } from "./textures.ts";
import type { Element, Look, Operand, Step, Term, TileProduct } from "./tile.ts";

const XYZW = ["x", "y", "z", "w"];

/** Bindings of a product besides the uniform values: names and WGSL types, "!" where it writes. */
function declareProduct(
  w: WgslWriter,
  program: SsdProgram,
  buffers: Record<string, string>,
): void {
  declareSizes(w, program);
  const read: string[] = [];
  for (const [name, type] of Object.entries(buffers)) {
    if (type.endsWith("!")) w.storage(name, type.replace("!", ""), "read_write");
    else if (type === "f32" || name === "skip") w.storage(name, type);
    else {
      declareOperand(w, program, name, type);
      read.push(name);
    }
  }
  for (const name of read) declareRead(w, program, name);
  declareChunk(w);
  if ("steps" in buffers) declareSteps(w);
  if ("states" in buffers || "carried" in buffers) declareStates(w);
  if (!("steps" in buffers)) return;
  w.comment("Values times the decays from four steps s on to step t of one document; 0 elsewhere.");
  w.fn(
    "decayed(v: vec4f, t: u32, s: u32, log: f32, document: f32, logs: vec4f, documents: vec4f) -> vec4f",
    `let earlier = vec4u(s, s + 1u, s + 2u, s + 3u) <= vec4u(t);
     return select(vec4f(), v * exp2(log - logs), earlier & (documents == vec4f(document)));`,
  );
}

const BY_HEAD = ["enter_chunk(w.z);", "let head = w.y;", "let group = head / p.per_group;"];
const BY_GROUP = ["enter_chunk(w.z);", "let group = w.y;"];

/** Columns of u as an operand: `column` is WGSL of the first of them. */
const rowsOfU = (column: string): Operand => ({
  along: "k",
  load: ({ out, k }) => `read_u(at(${out}, ${column} + ${k}))`,
});
/** The same, with steps summed over. */
const columnsOfU = (column: string): Operand => ({
  along: "out",
  load: ({ out, k }) => `read_u(at(${k}, ${column} + ${out}))`,
});
const rowsOfGy: Operand = {
  along: "k",
  load: ({ out, k }) => `read_gy(at(${out}, head * HEAD_WIDTH + ${k}))`,
};
const columnsOfGy: Operand = {
  along: "out",
  load: ({ out, k }) => `read_gy(at(${k}, head * HEAD_WIDTH + ${out}))`,
};
const X = "head * HEAD_WIDTH";
const B = "p.b_column + group * STATES";
const C = "p.c_column + group * STATES";
/** Summed over a head's states, or over its channels. */
const statesByN: Operand = {
  along: "out",
  load: ({ out, k }) => `read_states(state_at(head, ${k}, ${out}))`,
};
const statesByChannel: Operand = {
  along: "k",
  load: ({ out, k }) => `read_states(state_at(head, ${out}, ${k}))`,
};

/** Keeps a step's scale of four rows. */
const scaleRows = (plane: number) => ({
  rows: (row: string, id: string) => [`let ${id}_scale = four(head, ${plane}u, ${row});`],
});
const scaled = ({ value, rows, j }: Element) => `${value} *= ${rows}_scale.${XYZW[j]};`;

/** Multiplies each row of the sums with a value of its step. */
const scaleStep = (plane: number): Step => ({
  kind: "look",
  look: { ...scaleRows(plane), element: (e) => [scaled(e)] },
});

/** C[t] . B[s] of a chunk for s <= t, by groups. */
export function pairsProduct(program: SsdProgram): TileProduct {
  const { chunk, shape } = program;
  return {
    rows: chunk,
    columns: chunk,
    declare: (w) => declareProduct(w, program, { u: storedU(shape), pairs: "vec4f!" }),
    place: BY_GROUP,
    idle: "n0 >= m0 + TILE_ROWS",
    steps: [
      { kind: "add", term: { left: rowsOfU(C), right: rowsOfU(B), begin: "0u", end: "STATES" } },
      {
        kind: "look",
        look: {
          element: ({ row, column, value }) => [
            `if (${row} < valid) { pairs[at(${row}, group * CHUNK + ${column})] = ${value}; }`,
          ],
        },
      },
    ],
  };
}

/**
 * The states that enter the chunks of a sequence, (states, channels) of a head: what a chunk adds, the sum
 * of w[s] B[s] x[s], goes to the state that decays over it. Backward, in reverse, the gradients of the
 * states that leave the chunks, to which each adds the sum of v[t] C[t] gy[t]; and what passes through
 * each: its decay times <state that enters, gradient that leaves>.
 */
export function statesProduct(program: SsdProgram, backward: boolean): TileProduct {
  const { np, pp } = ssdExtents(program.shape);
  const { initialState } = program.shape;
  const left = columnsOfU(backward ? C : B);
  const plane = backward ? FROM_START : INTO_END;
  const ends = initialState || !backward;
  const buffers = {
    u: storedU(program.shape),
    steps: "vec4f",
    ...(backward ? { gy: "vec4f", states: "vec4f", sums: "f32!" } : {}),
    carried: "vec4f!",
    ...(ends ? { state: "vec4f!" } : {}),
  };
  const decay: Look = {
    columns: (_, id) => [`let ${id}_keep = one(head, ${FROM_START}u, valid - 1u);`],
    element: ({ row, column, columns, value, columnSum }) => [
      `let place = state_at(head, ${row}, ${column});`,
      `carried[place] = ${value};`,
      ...(backward ? [`${columnSum} += read_states(place) * ${value};`] : []),
      `${value} *= ${columns}_keep;`,
    ],
    ...(backward
      ? {
        storeColumns: (column: string, value: string) =>
          "let sum_place = p.passed + ((chunk * heads + head) * (STATES / TILE_ROWS)" +
          ` + m0 / TILE_ROWS) * HEAD_WIDTH + ${column};\n` +
          `let passed = one(head, ${FROM_START}u, valid - 1u) * ${value};\n` +
          storeFour("sum_place", "passed"),
      }
      : {}),
  };
  const term: Term = {
    left: {
      along: "out",
      load: (place) => `${left.load(place)} * ${place.near}.${XYZW[place.j]}`,
    },
    right: backward ? columnsOfGy : columnsOfU(X),
    begin: "0u",
    end: "CHUNK",
    near: (k, id) => [`let ${id} = four(head, ${plane}u, ${k});`],
  };
  const atEnd = ({ row, column }: Element) => `state[end_at(sequence, head, ${row}, ${column})]`;
  return {
    rows: np,
    columns: pp,
    declare: (w) => declareProduct(w, program, buffers),
    place: ["let sequence = w.z;", "let head = w.y;", "let group = head / p.per_group;"],
    steps: [
      ...(initialState ? [look({ element: (e) => [`${e.value} = ${atEnd(e)};`] })] : []),
      {
        kind: "chunks",
        backward,
        steps: [look(decay), { kind: "add", term }],
      },
      ...(ends ? [look({ element: (e) => [`${atEnd(e)} = ${e.value};`] })] : []),
    ],
  };
}

const look = (how: Look): Step => ({ kind: "look", look: how });

/** WGSL of D at four channels. */
const skipAt = ({ skip }: SsdShape, column: string) =>
  skip === "channel" ? `skip[(head * HEAD_WIDTH + ${column}) / 4u]` : "par[p.heads_padded + head]";

/** y of a head: v[t] C[t] S + the sum of (C[t] . B[s]) L[t, s] dt[s] x[s] + D x[t]. */
export function outputsProduct(program: SsdProgram): TileProduct {
  const { shape, chunk } = program;
  const within: Term = {
    left: {
      along: "k",
      load: ({ out, k, near, own }) =>
        `decayed(read_pairs(at(${out}, group * CHUNK + ${k})) * ${near}_steps, ${out}, ${k}, ` +
        `${own}_log, ${own}_document, ${near}_logs, ${near}_documents)`,
    },
    right: columnsOfU(X),
    begin: "0u",
    end: "min(m0 + TILE_ROWS, CHUNK)",
    near: (k, id) => [
      `let ${id}_logs = four(head, ${LOG_DECAY}u, ${k});`,
      `let ${id}_documents = four(head, ${DOCUMENT}u, ${k});`,
      `let ${id}_steps = four(head, ${STEP}u, ${k});`,
    ],
    own: (row, id) => [
      `let ${id}_log = one(head, ${LOG_DECAY}u, ${row});`,
      `let ${id}_document = one(head, ${DOCUMENT}u, ${row});`,
    ],
  };
  return {
    rows: chunk,
    columns: ssdExtents(shape).pp,
    declare: (w) =>
      declareProduct(w, program, {
        u: storedU(shape),
        steps: "vec4f",
        pairs: "vec4f",
        states: "vec4f",
        ...skipBuffers(shape),
        y: "vec4f!",
      }),
    place: BY_HEAD,
    steps: [
      { kind: "add", term: { left: rowsOfU(C), right: statesByN, begin: "0u", end: "STATES" } },
      scaleStep(FROM_START),
      { kind: "add", term: within },
      {
        kind: "look",
        look: {
          element: ({ row, column, value }) => {
            const x = `read_u(at(${row}, ${X} + ${column}))`;
            const skip = shape.skip === "none" ? "" : ` + ${skipAt(shape, column)} * ${x}`;
            return [`if (${row} < valid) { y[at(${row}, ${X} + ${column})] = ${value}${skip}; }`];
          },
        },
      },
    ],
  };
}

const skipBuffers = ({ skip }: SsdShape): Record<string, string> =>
  skip === "channel" ? { skip: "vec4f" } : skip === "head" ? { par: "f32" } : {};

/** WGSL that stores a row's partial sum: of a chunk and head, by tiles of columns. */
const storeRowAt = (at: string, columns: string) => (row: string, value: string) =>
  `sums[p.${at} + ((chunk * heads + head) * (${columns} / TILE_COLUMNS) + n0 / TILE_COLUMNS) * CHUNK` +
  ` + ${row}] = ${value};`;

/** WGSL that stores four values from an index on. */
const storeFour = (at: string, value: string) =>
  XYZW.map((x, i) => `sums[${at} + ${i}u] = ${value}.${x};`).join("\n");

/**
 * dx of a head: dt[s] W[s] + D gy[s], with W[s] the sum over t of (C[t] . B[s]) L[t, s] gy[t] + (w[s] /
 * dt[s]) B[s] G, and G the gradient of the state that leaves the chunk. Leaves x . W and gy x.
 */
export function inputsProduct(program: SsdProgram): TileProduct {
  const { shape, chunk } = program;
  const within: Term = {
    left: {
      along: "out",
      load: ({ out, k, near, own, j }) =>
        `decayed(read_pairs(at(${k}, group * CHUNK + ${out})), ${k}, ${out}, ${near}_logs.${
          XYZW[j]
        }, ` +
        `${near}_documents.${XYZW[j]}, ${own}_logs, ${own}_documents)`,
    },
    right: columnsOfGy,
    begin: "m0",
    end: "CHUNK",
    near: (k, id) => [
      `let ${id}_logs = four(head, ${LOG_DECAY}u, ${k});`,
      `let ${id}_documents = four(head, ${DOCUMENT}u, ${k});`,
    ],
    own: (row, id) => [
      `let ${id}_logs = four(head, ${LOG_DECAY}u, ${row});`,
      `let ${id}_documents = four(head, ${DOCUMENT}u, ${row});`,
    ],
  };
  return {
    rows: chunk,
    columns: ssdExtents(shape).pp,
    declare: (w) =>
      declareProduct(w, program, {
        u: storedU(shape),
        steps: "vec4f",
        pairs: "vec4f",
        states: "vec4f",
        gy: "vec4f",
        ...skipBuffers(shape),
        du: "vec4f!",
        sums: "f32!",
      }),
    place: BY_HEAD,
    steps: [
      { kind: "add", term: { left: rowsOfU(B), right: statesByN, begin: "0u", end: "STATES" } },
      scaleStep(TO_END),
      { kind: "add", term: within },
      {
        kind: "look",
        look: {
          ...scaleRows(STEP),
          element: ({ row, column, value, rows, j, rowSum, columnSum }) => [
            `let x = read_u(at(${row}, ${X} + ${column}));`,
            `let g = read_gy(at(${row}, ${X} + ${column}));`,
            `${rowSum} += dot(x, ${value});`,
            `${columnSum} += select(vec4f(), x * g, ${row} < valid);`,
            `let dx = ${value} * ${rows}_scale.${XYZW[j]}${
              shape.skip === "none" ? "" : ` + ${skipAt(shape, column)} * g`
            };`,
            `if (${row} < valid) { du[at(${row}, ${X} + ${column})] = dx; }`,
          ],
          storeRow: storeRowAt("direct", "HEAD_WIDTH"),
          storeColumns: (column, value) =>
            "let place = p.skips + (chunk * (CHUNK / TILE_ROWS) + m0 / TILE_ROWS) * heads * HEAD_WIDTH" +
            ` + head * HEAD_WIDTH + ${column};\n${storeFour("place", value)}`,
        },
      },
    ],
  };
}

/**
 * The gradient of pairs: the sum over a group's heads of L[t, s] dt[s] (gy[t] . x[s]). For each head it
 * leaves what the pairs (t, s) with s < t add to the loss through their decay, summed by t and by s.
 */
export function pairsGradientProduct(program: SsdProgram): TileProduct {
  const { shape, chunk } = program;
  const load = (row: string, id: string) => [
    `let ${id}_logs = four(head, ${LOG_DECAY}u, ${row});`,
    `let ${id}_documents = four(head, ${DOCUMENT}u, ${row});`,
  ];
  return {
    rows: chunk,
    columns: chunk,
    totals: true,
    declare: (w) => {
      declareProduct(w, program, {
        u: storedU(shape),
        steps: "vec4f",
        pairs: "vec4f",
        gy: "vec4f",
        dpairs: "vec4f!",
        sums: "f32!",
      });
    },
    place: BY_GROUP,
    idle: "n0 >= m0 + TILE_ROWS",
    steps: [
      {
        kind: "heads",
        steps: [
          { kind: "clear" },
          {
            kind: "add",
            term: { left: rowsOfGy, right: rowsOfU(X), begin: "0u", end: "HEAD_WIDTH" },
          },
          {
            kind: "look",
            look: {
              rows: load,
              columns: (column, id) => [
                ...load(column, id),
                `let ${id}_steps = four(head, ${STEP}u, ${column});`,
                `let ${id}_s = vec4u(${column}) + vec4u(0u, 1u, 2u, 3u);`,
              ],
              element: ({ row, column, rows, columns, j, value, total, rowSum, columnSum }) => [
                `let own = decayed(${value} * ${columns}_steps, ${row}, ${column}, ${rows}_logs.${
                  XYZW[j]
                }, ${rows}_documents.${XYZW[j]}, ${columns}_logs, ${columns}_documents);`,
                `${total} += own;`,
                `let pair = read_pairs(at(${row}, group * CHUNK + ${column}));`,
                `let before = (${columns}_s < vec4u(${row})) & (own != vec4f());`,
                `let through = select(vec4f(), own * pair, before);`,
                `${rowSum} += dot(through, vec4f(1.0));`,
                `${columnSum} += through;`,
              ],
              storeRow: storeRowAt("later", "CHUNK"),
              storeColumns: (column, value) =>
                "let place = p.earlier + ((chunk * heads + head) * (CHUNK / TILE_ROWS) + m0 / TILE_ROWS)" +
                ` * CHUNK + ${column};\n${storeFour("place", value)}`,
            },
          },
        ],
      },
      {
        kind: "look",
        look: {
          element: ({ row, column, total }) => [
            `if (${row} < valid) { dpairs[at(${row}, group * CHUNK + ${column})] = ${total}; }`,
          ],
        },
      },
    ],
  };
}

/**
 * dC of a group: the sum over its heads of v[t] S gy[t], and over s of dpairs[t, s] B[s]. Or dB: the sum
 * over heads of w[s] G x[s], and over t of dpairs[t, s] C[t]. For each head it leaves the product of the
 * first with C, or B: what the steps take from the state, or give to it.
 */
export function projectionProduct(program: SsdProgram, side: "B" | "C"): TileProduct {
  const { shape, chunk } = program;
  const ofC = side === "C";
  const own = ofC ? C : B;
  const pairs: Term = ofC
    ? {
      left: {
        along: "k",
        load: ({ out, k }) => `read_dpairs(at(${out}, group * CHUNK + ${k}))`,
      },
      right: columnsOfU(B),
      begin: "0u",
      end: "min(m0 + TILE_ROWS, CHUNK)",
    }
    : {
      left: {
        along: "out",
        load: ({ out, k }) =>
          `select(vec4f(), read_dpairs(at(${k}, group * CHUNK + ${out})), ${k} < valid)`,
      },
      right: columnsOfU(C),
      begin: "m0",
      end: "CHUNK",
    };
  return {
    rows: chunk,
    columns: ssdExtents(shape).np,
    totals: true,
    declare: (w) =>
      declareProduct(w, program, {
        u: storedU(shape),
        steps: "vec4f",
        dpairs: "vec4f",
        states: "vec4f",
        ...(ofC ? { gy: "vec4f" } : {}),
        du: "vec4f!",
        sums: "f32!",
      }),
    place: BY_GROUP,
    steps: [
      {
        kind: "heads",
        steps: [
          { kind: "clear" },
          {
            kind: "add",
            term: {
              left: ofC ? rowsOfGy : rowsOfU(X),
              right: statesByChannel,
              begin: "0u",
              end: "HEAD_WIDTH",
            },
          },
          {
            kind: "look",
            look: {
              ...scaleRows(ofC ? FROM_START : INTO_END),
              element: (e) => [
                scaled(e),
                `${e.total} += ${e.value};`,
                `${e.rowSum} += dot(${e.value}, read_u(at(${e.row}, ${own} + ${e.column})));`,
              ],
              storeRow: storeRowAt(ofC ? "taken" : "given", "STATES"),
            },
          },
        ],
      },
      { kind: "clear" },
      { kind: "add", term: pairs },
      {
        kind: "look",
        look: {
          element: ({ row, column, value, total }) => [
            `if (${row} < valid) { du[at(${row}, ${own} + ${column})] = ${total} + ${value}; }`,
          ],
        },
      },
    ],
  };
}
