/**
 * What of the state space duality goes step by step rather than by products: the steps' decays, and what
 * the partial sums of the backward come to.
 * @module
 */
import { type Program, WgslWriter } from "../wgsl/mod.ts";
import {
  declareChunk,
  declareSizes,
  entersChunk,
  leavesChunk,
  PARAMS,
  type SsdProgram,
} from "./declarations.ts";
import {
  BLOCK,
  EARLIER,
  END,
  FIRST,
  FROM_START,
  INTO_END,
  LOG_BEFORE,
  LOG_DECAY,
  PAST,
  ssdExtents,
  STEP,
  TO_END,
} from "./shape.ts";
import { tileSize } from "./tile.ts";

export { PARAMS };

/** Invocations of a workgroup of the programs that give one to each head: a CPU driver's subgroup. */
export const HEAD_GROUP = 8;
const LOG2E = "1.4426950408889634";

/**
 * softplus and its slope from e = exp(-|x|). log1p by its atanh series, because the built-in log is
 * poor near 1: log1p(e) = 2 atanh(e / (e + 2)), |argument| <= 1/3, 8 terms, 3e-9 relative.
 */
export function declareSoftplus(w: WgslWriter): void {
  w.fn(
    "softplus(x: f32) -> f32",
    `let e = exp2(abs(x) * -${LOG2E});
     let r = e / (e + 2.0);
     let q = r * r;
     let high = 0.11111111 + q * (0.09090909 + q * (0.07692308 + q * 0.06666667));
     let series = 1.0 + q * (0.33333334 + q * (0.2 + q * (0.14285715 + q * high)));
     return max(x, 0.0) + 2.0 * r * series;`,
  );
  w.fn(
    "softplus_slope(x: f32) -> f32",
    `let e = exp2(abs(x) * -${LOG2E});
     return select(e, 1.0, x >= 0.0) / (1.0 + e);`,
  );
}

/** WGSL: `free` (before limits) and `size` of a step from `raw`. */
export const stepSizeLines = ({ shape }: Pick<SsdProgram, "shape">): string[] => {
  const { softplus, limits } = shape;
  const free = `let free = ${softplus ? "softplus(raw)" : "raw"};`;
  if (!limits) return [free, "let size = free;"];
  const [least, most] = limits;
  const above = `max(free, f32(${least}))`;
  // The largest float stands for infinity, which WGSL does not have.
  return [free, `let size = ${Number.isFinite(most) ? `min(${above}, f32(${most}))` : above};`];
};

/** Raw steps lie in a panel matrix of their own. */
const declareRaw = (w: WgslWriter) =>
  w.fn(
    "raw_at(step: u32, head: u32) -> u32",
    "return ((head >> 5u) * stride + row0 + step) * 32u + (head & 31u);",
  );

/** WGSL: where a value of a step lies in `steps`. */
const planeAt = (plane: number, step: string) => `steps[plane + ${plane}u * CHUNK + ${step}]`;

/** Fills `steps` of a chunk and head, an invocation each. */
export function stepsProgram(program: SsdProgram): Program {
  const w = new WgslWriter();
  declareSizes(w, program);
  w.storage("dt", "f32").storage("par", "f32");
  if (program.shape.packed) w.storage("starts", "u32");
  w.storage("steps", "f32", "read_write");
  declareChunk(w);
  declareRaw(w);
  declareSoftplus(w);
  w.main(HEAD_GROUP, { id: "global_invocation_id" }, () => {
    w.line("let head = id.x;");
    w.if("head >= p.heads", () => w.line("return;"));
    w.line(
      "enter_chunk(id.y);",
      "let rate = par[head];",
      "let bias = par[2u * p.heads_padded + head];",
      "let plane = (chunk * heads + head) * PLANES * CHUNK;",
      "var log_before = 0.0;",
      "var log_decay = 0.0;",
      `var first = ${EARLIER}.0;`,
    );
    w.for("var t = 0u; t < CHUNK; t++", () => {
      w.if(`t % ${BLOCK}u == 0u`, () => {
        w.line("log_before += log_decay;", "log_decay = 0.0;");
      });
      w.line("var step_size = 0.0;", "var from_start = 0.0;", `var own_first = ${PAST}.0;`);
      w.if("t < valid", () => {
        w.line(
          "let raw = dt[raw_at(t, head)] + bias;",
          ...stepSizeLines(program),
          "step_size = size;",
          `log_decay += size * rate * ${LOG2E};`,
        );
        if (program.shape.packed) w.if("starts[row0 + t] != 0u", () => w.line("first = f32(t);"));
        w.line(
          "own_first = first;",
          `from_start = select(0.0, exp2(log_before + log_decay), first == ${EARLIER}.0);`,
        );
      });
      w.line(
        `${planeAt(STEP, "t")} = step_size;`,
        `${planeAt(LOG_DECAY, "t")} = log_decay;`,
        `${planeAt(LOG_BEFORE, "t")} = log_before;`,
        `${planeAt(FROM_START, "t")} = from_start;`,
        `${planeAt(FIRST, "t")} = own_first;`,
      );
    });
    w.comment("Backwards, where documents end; `first` is that of the last one.");
    w.line("var end = valid;", "var next_first = first;");
    w.for("var left = CHUNK; left > 0u; left--", () => {
      w.line("let t = left - 1u;", `let own_first = ${planeAt(FIRST, "t")};`);
      w.if("t < valid && own_first != next_first", () => {
        w.line("end = left;", "next_first = own_first;");
      });
      w.line(
        `let to_block_end = log_decay - ${planeAt(LOG_DECAY, "t")};`,
        `let log_to_end = to_block_end + (log_before - ${planeAt(LOG_BEFORE, "t")});`,
        "let to_end = select(0.0, exp2(log_to_end), own_first == first);",
        `${planeAt(TO_END, "t")} = to_end;`,
        `${planeAt(INTO_END, "t")} = to_end * ${planeAt(STEP, "t")};`,
        `${planeAt(END, "t")} = f32(end);`,
      );
    });
  });
  return w.program();
}

/**
 * Gradients of the raw steps, and of A, D and bias by chunk, from the partial sums of a chunk and head.
 * The log decay of step k counts in every pair (t, s) with s < k <= t, in what steps t >= k take from the
 * state that enters, in what steps s < k give to the one that leaves, and in what passes through:
 * sums of such terms alone, none of which cancel. The program is one walk down a chunk, which is why
 * this is longer than 100 lines.
 */
export function finishProgram(program: SsdProgram): Program {
  const { shape, chunk, variant } = program;
  const { pp, np } = ssdExtents(shape);
  const tile = (rows: number, columns: number) => tileSize(variant, { rows, columns });
  const w = new WgslWriter();
  declareSizes(w, program);
  w.storage("dt", "f32").storage("par", "f32");
  w.storage("steps", "f32");
  w.storage("sums", "f32", "read_write").storage("ddt", "f32", "read_write");
  declareChunk(w);
  declareRaw(w);
  declareSoftplus(w);
  w.comment("The sum of a step's partial sums by tiles `first` to `end` of a chunk and head.");
  w.fn(
    "tiles(place: u32, head: u32, count: u32, first: u32, end: u32, t: u32) -> f32",
    `var sum = 0.0;
     for (var i = first; i < end; i++) {
       sum += sums[place + ((chunk * heads + head) * count + i) * CHUNK + t];
     }
     return sum;`,
  );
  const pairTile = tile(chunk, chunk);
  const rowTiles = chunk / pairTile.rows;
  const columnTiles = chunk / pairTile.columns;
  const directTiles = pp / tile(chunk, pp).columns;
  const stateTiles = np / tile(chunk, np).columns;
  const stateRowTiles = np / tile(np, pp).rows;
  const skipTiles = chunk / tile(chunk, pp).rows;
  w.main(HEAD_GROUP, { id: "global_invocation_id" }, () => {
    w.line("let head = id.x;");
    w.if("head >= p.heads_padded", () => w.line("return;"));
    w.line("enter_chunk(id.y);", "let part = p.parts + chunk * 3u * p.heads_padded + head;");
    w.if("head >= heads", () => {
      w.unroll(3, (i) => w.line(`sums[part + ${i}u * p.heads_padded] = 0.0;`));
      w.line("return;");
    });
    w.line(
      "let rate = par[head];",
      "let bias = par[2u * p.heads_padded + head];",
      "let plane = (chunk * heads + head) * PLANES * CHUNK;",
      `let enters = ${entersChunk(shape)};`,
      `let leaves = ${leavesChunk(shape)};`,
      "var passed = 0.0;",
    );
    w.comment("Through the whole chunk goes only a document that has no start in it.");
    w.if(`enters && leaves && ${planeAt(FIRST, "valid - 1u")} == ${EARLIER}.0`, () => {
      w.for(`var i = 0u; i < ${pp * stateRowTiles}u; i++`, () => {
        w.line(
          `passed += sums[p.passed + (chunk * heads + head) * ${pp * stateRowTiles}u + i];`,
        );
      });
    });
    w.comment("What steps before k give: kept where the pairs' sums were, by step.");
    w.line("var given = passed;");
    w.for("var t = 0u; t < valid; t++", () => {
      w.line(
        "let place = p.given + (chunk * heads + head) * " + stateTiles + "u * CHUNK + t;",
        "var gift = 0.0;",
      );
      w.if(`leaves && ${planeAt(END, "t")} == f32(valid)`, () => {
        w.line(`gift = tiles(p.given, head, ${stateTiles}u, 0u, ${stateTiles}u, t);`);
      });
      w.line("sums[place] = given;", "given += gift;");
    });
    w.line("var taken = 0.0;", "var pairs = 0.0;");
    w.line("var rate_gradient = 0.0;", "var bias_gradient = 0.0;");
    w.for("var left = valid; left > 0u; left--", () => {
      w.line(
        "let t = left - 1u;",
        `let first = ${planeAt(FIRST, "t")};`,
        `let end = u32(${planeAt(END, "t")});`,
      );
      w.if(`enters && first == ${EARLIER}.0`, () => {
        w.line(`taken += tiles(p.taken, head, ${stateTiles}u, 0u, ${stateTiles}u, t);`);
      });
      w.comment("At a document's last step nothing of the next document may stay.");
      w.line(
        `let first_tile = u32(max(first, 0.0)) / ${pairTile.columns}u;`,
        `let end_tile = (end - 1u) / ${pairTile.rows}u + 1u;`,
        "pairs = select(pairs, 0.0, left == end);",
        `pairs += tiles(p.later, head, ${columnTiles}u, first_tile, t / ${pairTile.columns}u + 1u, t);`,
        `pairs -= tiles(p.earlier, head, ${rowTiles}u, t / ${pairTile.rows}u, end_tile, t);`,
        `let before = sums[p.given + (chunk * heads + head) * ${stateTiles}u * CHUNK + t];`,
        "let log_gradient = pairs + taken + before;",
        `let direct = tiles(p.direct, head, ${directTiles}u, 0u, ${directTiles}u, t);`,
        "let raw = dt[raw_at(t, head)] + bias;",
        ...stepSizeLines(program),
        `let slope = select(0.0, ${shape.softplus ? "softplus_slope(raw)" : "1.0"}, size == free);`,
        "let gradient = (direct + rate * log_gradient) * slope;",
        "ddt[raw_at(t, head)] = gradient;",
        "rate_gradient += size * log_gradient;",
        "bias_gradient += gradient;",
      );
    });
    w.line("var skip_gradient = 0.0;");
    if (shape.skip === "head") {
      w.for(`var i = 0u; i < ${skipTiles}u; i++`, () => {
        w.line(
          `let place = p.skips + ((chunk * ${skipTiles}u + i) * heads + head) * HEAD_WIDTH;`,
        );
        w.for("var c = 0u; c < HEAD_WIDTH; c++", () => w.line("skip_gradient += sums[place + c];"));
      });
    }
    w.line(
      "sums[part] = rate_gradient;",
      "sums[part + p.heads_padded] = skip_gradient;",
      "sums[part + 2u * p.heads_padded] = bias_gradient;",
    );
  });
  return w.program();
}
