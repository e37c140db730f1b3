/** The matrix products of a chunk: see shape.ts for the mathematics and tile.ts for what runs them. @module */
import type { WgslWriter } from "../wgsl/mod.ts";
import {
  declareChunk,
  declareSizes,
  declareStates,
  declareSteps,
  entersChunk,
  leavesChunk,
  type SsdProgram,
  storedU,
} from "./declarations.ts";
import {
  carriesStates,
  EARLIER,
  END,
  FIRST,
  FROM_START,
  INTO_END,
  LOG_BEFORE,
  LOG_DECAY,
  ssdExtents,
  type SsdShape,
  STEP,
  TO_END,
} from "./shape.ts";
import { declareOperand, declareRead } from "./textures.ts";
import type { Element, Look, Operand, Place, Step, Term, TileProduct } from "./tile.ts";

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
  w.comment("A step's sums of decays and its document: `before` has the blocks before its own.");
  w.line("struct Moment { log: f32, before: f32, first: f32 }");
  w.line("struct Moments { log: vec4f, before: vec4f, first: vec4f }");
  w.fn(
    "moment(head: u32, step: u32) -> Moment",
    `return Moment(
       one(head, ${LOG_DECAY}u, step),
       one(head, ${LOG_BEFORE}u, step),
       one(head, ${FIRST}u, step),
     );`,
  );
  w.fn(
    "moments(head: u32, step: u32) -> Moments",
    `return Moments(
       four(head, ${LOG_DECAY}u, step),
       four(head, ${LOG_BEFORE}u, step),
       four(head, ${FIRST}u, step),
     );`,
  );
  w.comment("The decay from four steps to one, or from one to four.");
  w.fn(
    "decay_from(s: Moments, t: Moment) -> vec4f",
    "return exp2((t.log - s.log) + (t.before - s.before));",
  );
  w.fn(
    "decay_to(s: Moment, t: Moments) -> vec4f",
    "return exp2((t.log - s.log) + (t.before - s.before));",
  );
  w.comment("Values times the decays from four steps s on to step t of one document; 0 elsewhere.");
  w.fn(
    "decayed(v: vec4f, t: u32, s: u32, at_t: Moment, at_s: Moments) -> vec4f",
    `let earlier = vec4u(s, s + 1u, s + 2u, s + 3u) <= vec4u(t);
     return select(vec4f(), v * decay_from(at_s, at_t), earlier & (at_s.first == vec4f(at_t.first)));`,
  );
}

/**
 * Statements about a tile of rows m0 on, which are steps t: `origin`, the moment of its first one, whose
 * document begins at `begin`. Earlier steps s of that document count by exp(t - origin) exp(origin - s),
 * so that no decay is computed for each pair.
 */
const ROW_STEPS = [
  "let origin = moment(head, m0);",
  "let begin = u32(max(origin.first, 0.0));",
];

/**
 * Statements about a tile of rows that are steps s: `origin`, the moment of its last one, whose document
 * ends at `end_step`. Later steps t of that document count by exp(t - origin) exp(origin - s).
 */
const ROW_STEPS_BEFORE = [
  "let last = min(m0 + TILE_ROWS, valid) - 1u;",
  "let origin = moment(head, last);",
  `let end_step = u32(one(head, ${END}u, last));`,
];

const BY_HEAD = ["enter_chunk(w.z);", "let head = w.y;", "let group = head / p.per_group;"];
const BY_GROUP = ["enter_chunk(w.z);", "let group = w.y;"];

/** An operand but for what is made of its values, once they are read. */
interface Stored extends Omit<Operand, "load"> {
  read(at: string): string;
}
/** A panel matrix as an operand from a column on, a multiple of 32; rows are steps, summed over columns. */
const rowsOf = (read: (at: string) => string, column: string): Stored => ({
  along: "k",
  outAt: (out) => `column_at(${column}) + step_at(${out})`,
  kAt: (k) => `column_at(${k})`,
  read,
});
/** The same, summed over steps. */
const columnsOf = (read: (at: string) => string, column: string): Stored => ({
  along: "out",
  outAt: (out) => `column_at(${column}) + column_at(${out})`,
  kAt: (k) => `step_at(${k})`,
  read,
});
/** An operand whose values count by a factor, or are made otherwise of what is read. */
const made = (
  operand: Stored,
  value: (read: string, place: Place) => string,
): Operand => ({ ...operand, load: (place) => value(operand.read(place.at), place) });
const asRead = (operand: Stored): Operand => made(operand, (read) => read);

const readU = (at: string) => `read_u(${at})`;
const readGy = (at: string) => `read_gy(${at})`;
const readPairs = (at: string) => `read_pairs(${at})`;
const readDpairs = (at: string) => `read_dpairs(${at})`;
const rowsOfU = (column: string) => asRead(rowsOf(readU, column));
const columnsOfU = (column: string) => asRead(columnsOf(readU, column));
const X = "head * HEAD_WIDTH";
const B = "p.b_column + group * STATES";
const C = "p.c_column + group * STATES";
const PAIRS = "group * CHUNK";
const rowsOfGy = asRead(rowsOf(readGy, X));
const columnsOfGy = asRead(columnsOf(readGy, X));
/** Summed over a head's states, or over its channels. */
const statesByN: Operand = {
  along: "out",
  outAt: (out) => `state_at(head, 0u, ${out})`,
  kAt: (k) => `${k} * 8u`,
  load: ({ at }) => `read_states(${at})`,
};
const statesByChannel: Operand = {
  along: "k",
  outAt: (out) => `state_at(head, ${out}, 0u)`,
  kAt: (k) => `channel_at(${k})`,
  load: ({ at }) => `read_states(${at})`,
};

/** Keeps a step's scale of four rows. */
const scaleRows = (plane: number) => ({
  rows: (row: string, id: string) => [`let ${id}_scale = four(head, ${plane}u, ${row});`],
});
const scaled = ({ value, rows, j }: Element) => `${value} *= ${rows}_scale.${XYZW[j]};`;

/** Multiplies all sums with one value. */
const scaleAll = (by: string): Step => ({
  kind: "look",
  look: { element: ({ value }) => [`${value} *= ${by};`] },
});

/** Statements that find the scales of four rows: their decays from or to the origin, as `decay` says. */
const fromOrigin = (row: string, id: string, decay: string): string[] => [
  `let ${id}_moments = moments(head, ${row});`,
  `let ${id}_same = ${id}_moments.first == vec4f(origin.first);`,
  `let ${id}_scale = select(vec4f(), ${decay.replace("ROWS", `${id}_moments`)}, ${id}_same);`,
];

/** Multiplies each row of the sums with its decay from or to the origin; 0 in other documents. */
const scaleFromOrigin = (decay: string): Step => ({
  kind: "look",
  look: {
    rows: (row, id) => fromOrigin(row, id, decay),
    element: (e) => [scaled(e)],
  },
});

/** WGSL: one of four moments. */
const momentOf = (moments: string, j: number) =>
  `Moment(${["log", "before", "first"].map((name) => `${moments}.${name}.${XYZW[j]}`).join(", ")})`;
/** WGSL: four neighbours from `k` on. */
const fourFrom = (k: string) => `(vec4u(${k}) + vec4u(0u, 1u, 2u, 3u))`;
/** WGSL: a bound of sums over steps, as whole rounds of a product. */
const roundedDown = (k: string) => `${k} / K_STEP * K_STEP`;
const roundedUp = (k: string) => `(${k} + K_STEP - 1u) / K_STEP * K_STEP`;

/** WGSL: whether a tile has no pair of one document, as any head of the group can say. */
const NO_PAIRS = "m0 >= valid || " +
  `f32(n0 + TILE_COLUMNS) <= one(group * p.per_group, ${FIRST}u, m0)`;

/** C[t] . B[s] of a chunk for s <= t of one document, by groups. */
export function pairsProduct(program: SsdProgram): TileProduct {
  const { chunk, shape } = program;
  return {
    rows: chunk,
    columns: chunk,
    declare: (w) => {
      declareProduct(w, program, { u: storedU(shape), steps: "vec4f", pairs: "vec4f!" });
    },
    place: BY_GROUP,
    part: "lower",
    idle: NO_PAIRS,
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
  const { initialState, lastState } = program.shape;
  const left = columnsOf(readU, backward ? C : B);
  const plane = backward ? FROM_START : INTO_END;
  const ends = initialState || !backward && lastState;
  const buffers = {
    u: storedU(program.shape),
    steps: "vec4f",
    ...(backward ? { gy: "vec4f", states: "vec4f", sums: "f32!" } : {}),
    carried: "vec4f!",
    ...(ends ? { state: "vec4f!" } : {}),
  };
  const decay: Look = {
    // Mesa's CPU driver takes far longer where each row's place is found anew.
    columns: (column, id) => [
      `let ${id}_keep = one(head, ${FROM_START}u, valid - 1u);`,
      `let ${id}_place = state_at(head, m0, ${column});`,
    ],
    element: ({ row, columns, value, columnSum }) => [
      `let place = ${columns}_place + ((${row}) - m0) * 8u;`,
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
  // What the last chunk adds is the last state, and what the first one adds the initial state's gradient.
  const wanted = ends ? "true" : backward ? entersChunk(program.shape) : leavesChunk(program.shape);
  const term: Term = {
    left: made(left, (value, { near, j }) => `${value} * ${near}.${XYZW[j]}`),
    right: backward ? columnsOfGy : columnsOfU(X),
    // Only what the last document of the chunk adds reaches its end, and only the first came from before.
    begin: backward ? "0u" : roundedDown(`u32(max(one(head, ${FIRST}u, valid - 1u), 0.0))`),
    end: backward
      ? `select(0u, ${
        roundedUp(`u32(one(head, ${END}u, 0u))`)
      }, (${wanted}) && one(head, ${FIRST}u, 0u) == ${EARLIER}.0)`
      : `select(0u, ${roundedUp("valid")}, ${wanted})`,
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

/** Steps that begin with the product of B or C and the states, scaled, where any are carried and `when` is so. */
const withStates = (shape: SsdShape, side: string, when: string, scale: string): Step[] =>
  carriesStates(shape)
    ? [
      {
        kind: "add",
        term: {
          left: rowsOfU(side),
          right: statesByN,
          begin: "0u",
          end: `select(0u, STATES, ${when})`,
        },
      },
      scaleAll(scale),
    ]
    : [];

/** WGSL of D at four channels. */
const skipAt = ({ skip }: SsdShape, column: string) =>
  skip === "channel" ? `skip[(head * HEAD_WIDTH + ${column}) / 4u]` : "par[p.heads_padded + head]";

/** y of a head: v[t] C[t] S + the sum of (C[t] . B[s]) L[t, s] dt[s] x[s] + D x[t]. */
export function outputsProduct(program: SsdProgram): TileProduct {
  const { shape, chunk } = program;
  const pairs = rowsOf(readPairs, PAIRS);
  const before: Term = {
    left: made(pairs, (pair, { near }) => `${pair} * ${near}_gain`),
    right: columnsOfU(X),
    begin: roundedDown("begin"),
    end: "m0",
    near: (k, id) => [
      `let ${id}_moments = moments(head, ${k});`,
      `let ${id}_steps = four(head, ${STEP}u, ${k}) * decay_from(${id}_moments, origin);`,
      `let ${id}_all = ${fourFrom(k)};`,
      `let ${id}_some = (${id}_all >= vec4u(begin)) & (${id}_all < vec4u(m0));`,
      `let ${id}_gain = select(vec4f(), ${id}_steps, ${id}_some);`,
    ],
  };
  const within: Term = {
    left: made(
      pairs,
      (pair, { out, k, near, own }) =>
        `decayed(${pair} * ${near}_steps, ${out}, ${k}, ${own}, ${near}_moments)`,
    ),
    right: columnsOfU(X),
    begin: "m0",
    end: "min(m0 + TILE_ROWS, CHUNK)",
    near: (k, id) => [
      `let ${id}_moments = moments(head, ${k});`,
      `let ${id}_steps = four(head, ${STEP}u, ${k});`,
    ],
    own: (row, id) => [`let ${id} = moment(head, ${row});`],
  };
  const entered = `(${entersChunk(shape)}) && origin.first == ${EARLIER}.0`;
  return {
    rows: chunk,
    columns: ssdExtents(shape).pp,
    declare: (w) =>
      declareProduct(w, program, {
        u: storedU(shape),
        steps: "vec4f",
        pairs: "vec4f",
        ...statesBuffer(shape),
        ...skipBuffers(shape),
        y: "vec4f!",
      }),
    place: [...BY_HEAD, ...ROW_STEPS, `let from_start = one(head, ${FROM_START}u, m0);`],
    steps: [
      ...withStates(shape, C, entered, "from_start"),
      { kind: "add", term: before },
      scaleFromOrigin("decay_to(origin, ROWS)"),
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

const statesBuffer = (shape: SsdShape): Record<string, string> =>
  carriesStates(shape) ? { states: "vec4f" } : {};
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
  const pairs = columnsOf(readPairs, PAIRS);
  const later: Term = {
    left: made(pairs, (pair, { near, j }) => `${pair} * ${near}_gain.${XYZW[j]}`),
    right: columnsOfGy,
    // The last tile has no later steps, but a round to take.
    begin: "min(m0 + TILE_ROWS, CHUNK - K_STEP)",
    end: roundedUp("end_step"),
    near: (k, id) => [
      `let ${id}_decays = decay_to(origin, moments(head, ${k}));`,
      `let ${id}_all = ${fourFrom(k)};`,
      `let ${id}_some = (${id}_all >= vec4u(m0 + TILE_ROWS)) & (${id}_all < vec4u(end_step));`,
      `let ${id}_gain = select(vec4f(), ${id}_decays, ${id}_some);`,
    ],
  };
  const within: Term = {
    left: made(
      pairs,
      (pair, { out, k, near, own, j }) =>
        `decayed(${pair}, ${k}, ${out}, ${momentOf(near, j)}, ${own})`,
    ),
    right: columnsOfGy,
    begin: "m0",
    end: "min(m0 + TILE_ROWS, CHUNK)",
    near: (k, id) => [`let ${id} = moments(head, ${k});`],
    own: (row, id) => [`let ${id} = moments(head, ${row});`],
  };
  const leaving = `(${leavesChunk(shape)}) && end_step == valid`;
  return {
    rows: chunk,
    columns: ssdExtents(shape).pp,
    declare: (w) =>
      declareProduct(w, program, {
        u: storedU(shape),
        steps: "vec4f",
        pairs: "vec4f",
        ...statesBuffer(shape),
        gy: "vec4f",
        ...skipBuffers(shape),
        du: "vec4f!",
        sums: "f32!",
      }),
    place: [...BY_HEAD, ...ROW_STEPS_BEFORE, `let to_end = one(head, ${TO_END}u, last);`],
    steps: [
      ...withStates(shape, B, leaving, "to_end"),
      { kind: "add", term: later },
      scaleFromOrigin("decay_from(ROWS, origin)"),
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
export function pairsGradientProduct(
  program: SsdProgram,
  part: "diagonal" | "below",
): TileProduct {
  const { shape, chunk } = program;
  /** What a pair adds, given its part of the gradient, `own`, and which of four are of two steps. */
  const added = ({ row, column, total, rowSum, columnSum }: Element, apart: string) => [
    `${total} += own;`,
    `let pair = read_pairs(at(${row}, ${PAIRS} + ${column}));`,
    `let through = select(vec4f(), own * pair, ${apart});`,
    `${rowSum} += dot(through, vec4f(1.0));`,
    `${columnSum} += through;`,
  ];
  const sums: Pick<Look, "storeRow" | "storeColumns"> = {
    storeRow: storeRowAt("later", "CHUNK"),
    storeColumns: (column, value) =>
      "let place = p.earlier + ((chunk * heads + head) * (CHUNK / TILE_ROWS) + m0 / TILE_ROWS)" +
      ` * CHUNK + ${column};\n${storeFour("place", value)}`,
  };
  const near: Look = {
    rows: (row, id) => [`let ${id} = moments(head, ${row});`],
    columns: (column, id) => [
      `let ${id} = moments(head, ${column});`,
      `let ${id}_steps = four(head, ${STEP}u, ${column});`,
      `let ${id}_s = ${fourFrom(column)};`,
    ],
    element: (e) => [
      `let at_t = ${momentOf(e.rows, e.j)};`,
      `let own = decayed(${e.value} * ${e.columns}_steps, ${e.row}, ${e.column}, at_t, ${e.columns});`,
      ...added(e, `(${e.columns}_s < vec4u(${e.row})) & (own != vec4f())`),
    ],
    ...sums,
  };
  const far: Look = {
    prepare: ["let origin = moment(head, m0);"],
    rows: (row, id) => fromOrigin(row, id, "decay_to(origin, ROWS)"),
    columns: (column, id) => [
      `let ${id} = moments(head, ${column});`,
      `let ${id}_same = ${fourFrom(column)} >= vec4u(u32(max(origin.first, 0.0)));`,
      `let ${id}_decays = four(head, ${STEP}u, ${column}) * decay_from(${id}, origin);`,
      `let ${id}_gain = select(vec4f(), ${id}_decays, ${id}_same);`,
    ],
    element: (e) => [
      `let own = ${e.value} * ${e.columns}_gain * ${e.rows}_scale.${XYZW[e.j]};`,
      ...added(e, "own != vec4f()"),
    ],
    ...sums,
  };
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
    part,
    idle: NO_PAIRS,
    steps: [
      {
        kind: "heads",
        steps: [
          { kind: "clear" },
          {
            kind: "add",
            term: { left: rowsOfGy, right: rowsOfU(X), begin: "0u", end: "HEAD_WIDTH" },
          },
          { kind: "look", look: part === "below" ? far : near },
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
      left: asRead(rowsOf(readDpairs, PAIRS)),
      right: columnsOfU(B),
      begin: roundedDown("begin"),
      end: "min(m0 + TILE_ROWS, CHUNK)",
    }
    : {
      left: made(
        columnsOf(readDpairs, PAIRS),
        (pair, { k }) => `select(vec4f(), ${pair}, ${k} < valid)`,
      ),
      right: columnsOfU(C),
      begin: "m0",
      end: roundedUp("end_step"),
    };
  const carried = ofC
    ? `(${entersChunk(shape)}) && origin.first == ${EARLIER}.0`
    : `(${leavesChunk(shape)}) && end_step == valid`;
  const ofStates: Step = {
    kind: "heads",
    when: carried,
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
        ...statesBuffer(shape),
        ...(ofC && carriesStates(shape) ? { gy: "vec4f" } : {}),
        du: "vec4f!",
        ...(carriesStates(shape) ? { sums: "f32!" } : {}),
      }),
    // Where documents lie is the same for all heads.
    place: [
      ...BY_GROUP,
      "let any_head = group * p.per_group;",
      ...(ofC ? ROW_STEPS : ROW_STEPS_BEFORE).map((line) =>
        line.replaceAll("(head,", "(any_head,")
      ),
    ],
    steps: [
      ...(carriesStates(shape) ? [ofStates] : []),
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
