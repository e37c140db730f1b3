/** What the programs of kernels/ssd/ declare alike: uniform values, sizes, and where values lie. @module */
import type { Variant } from "../device.ts";
import { uniforms, type WgslWriter } from "../wgsl/mod.ts";
import { PLANES, ssdExtents, type SsdShape } from "./shape.ts";

/** Uniform values of every program; the last ones are where each kind of partial sums begins. */
export const PARAMS = uniforms({
  /** Steps of a sequence. */
  length: "u32",
  /** Rows allocated in every panel matrix. */
  stride: "u32",
  /** Chunks of a sequence. */
  chunks: "u32",
  heads: "u32",
  /** Heads of a group. */
  per_group: "u32",
  /** Heads rounded up to 32. */
  heads_padded: "u32",
  /** First columns of B and C in u. */
  b_column: "u32",
  c_column: "u32",
  /** (chunk, head, tile, step): x . (gradient of x without D and dt). */
  direct: "u32",
  /** (chunk, head, tile, step): sums over s < t of what pairs (t, s) give, by t, then by s. */
  later: "u32",
  earlier: "u32",
  /** (chunk, head, tile, step): what steps take from the entering state, and give to the leaving one. */
  taken: "u32",
  given: "u32",
  /** (chunk, head, tile, channel): what passes through the chunk. */
  passed: "u32",
  /** (chunk, tile, channel): y's gradient times x. */
  skips: "u32",
  /** (chunk, 3, heads padded): gradients of par. */
  parts: "u32",
});

/** What a program is made for. */
export interface SsdProgram {
  variant: Variant;
  shape: SsdShape;
  /** Steps of a chunk. */
  chunk: number;
}

/** The names of u's elements. */
export const storedU = ({ half }: SsdShape): "vec4h" | "vec4f" => half ? "vec4h" : "vec4f";

/** Declares uniform values and sizes; then come the bindings. */
export function declareSizes(w: WgslWriter, { shape, chunk }: SsdProgram): void {
  const { pp, np } = ssdExtents(shape);
  w.const("HEAD_WIDTH", pp);
  w.const("STATES", np);
  w.const("CHUNK", chunk);
  w.const("PLANES", PLANES);
  w.uniforms("p", PARAMS);
}

/** Declares where a chunk lies, and how values of it are found: for programs that take one chunk. */
export function declareChunk(w: WgslWriter): void {
  w.blank().comment("The chunk, its first row, and how many steps it has; then values of p.");
  const names = ["chunk", "row0", "valid", "stride", "heads"];
  w.line(...names.map((name) => `var<private> ${name}: u32;`));
  w.fn(
    "enter_chunk(number: u32)",
    `chunk = number;
     let within = number % p.chunks;
     row0 = number / p.chunks * p.length + within * CHUNK;
     valid = min(CHUNK, p.length - within * CHUNK);
     stride = p.stride;
     heads = p.heads;`,
  );
  w.comment("Where a vector of a panel matrix lies: what its column says, and what its step says.");
  w.fn(
    "column_at(column: u32) -> u32",
    "return (column >> 5u) * stride * 8u + ((column >> 2u) & 7u);",
  );
  w.fn("step_at(step: u32) -> u32", "return (row0 + step) * 8u;");
  w.comment(
    "The vector of a panel matrix that holds columns column to column + 3 of a chunk's step.",
  );
  w.fn(
    "at(step: u32, column: u32) -> u32",
    "return column_at(column) + step_at(step);",
  );
}

/** WGSL: whether a state enters the chunk that is not known to be zero. */
export const entersChunk = ({ initialState }: SsdShape): string =>
  initialState ? "true" : "chunk % p.chunks > 0u";

/** WGSL: whether the state that leaves the chunk has a gradient that is not known to be zero. */
export const leavesChunk = ({ initialState }: SsdShape): string =>
  initialState ? "true" : "chunk % p.chunks + 1u < p.chunks";

/** Declares how `steps` is read, of which read_steps gives vectors. */
export function declareSteps(w: WgslWriter): void {
  w.fn(
    "four(head: u32, plane: u32, step: u32) -> vec4f",
    "return read_steps((((chunk * heads + head) * PLANES + plane) * CHUNK + step) / 4u);",
  );
  w.fn(
    "one(head: u32, plane: u32, step: u32) -> f32",
    "return four(head, plane, step)[step % 4u];",
  );
}

/** Declares where a chunk's states lie, and a sequence's, as vectors. */
export function declareStates(w: WgslWriter): void {
  w.comment("What a channel says of a state's place, and the place.");
  w.fn(
    "channel_at(channel: u32) -> u32",
    "return (channel >> 5u) * STATES * 8u + ((channel >> 2u) & 7u);",
  );
  w.fn(
    "end_at(sequence: u32, head: u32, n: u32, channel: u32) -> u32",
    `let panel = (sequence * p.heads + head) * (HEAD_WIDTH / 32u);
     return (panel * STATES + n) * 8u + channel_at(channel);`,
  );
  w.fn(
    "state_at(head: u32, n: u32, channel: u32) -> u32",
    "return end_at(chunk, head, n, channel);",
  );
}
