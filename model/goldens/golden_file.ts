/**
 * Golden files: what an operation must answer, computed elsewhere in float64. `NAME.json` describes
 * cases, shapes and tolerances; the tensors lie in `NAME.safetensors` beside it as
 * `<case>/in/<name>` and `<case>/out/<name>`. Anything missing or misshapen is an error.
 * @module
 */
import { fail, UserError } from "../../core/errors.ts";
import { readJson } from "../../core/files.ts";
import { float64At, nth } from "../../core/nth.ts";
import { openSafetensors, type SafetensorsFile } from "../../core/safetensors.ts";

type Shapes = Record<string, number[]>;

/** One case of an operation. */
export interface GoldenCase {
  readonly name: string;
  readonly attributes: Record<string, unknown>;
  readonly inputs: Shapes;
  readonly outputs: Shapes;
  /** An input's values (exact in float32), with its shape checked against the description. */
  input(name: string): Float64Array;
  /** An integer input. */
  integers(name: string): Int32Array;
  /** An output's wanted values. */
  output(name: string): Float64Array;
  /** The largest allowed max|got - want| / max|want| of an output. */
  limit(name: string): number;
}

/** All cases of one operation. */
export interface GoldenOperation {
  readonly operation: string;
  readonly cases: GoldenCase[];
  close(): void;
}

/** Opens the operation golden described by `path` (a .json). @throws {UserError} when malformed. */
export function openGoldenOperation(path: string): GoldenOperation {
  const json = readJson<Record<string, unknown>>(path, "golden description");
  const broken = (what: string) =>
    new UserError(`Cannot read the golden cases of ${path}: ${what}`);
  if (typeof json?.op !== "string") throw broken('it has no "op"');
  if (!Array.isArray(json.cases) || json.cases.length === 0) throw broken("it has no cases");
  const tensors = openSafetensors(path.replace(/\.json$/, ".safetensors"));
  try {
    const cases = json.cases.map((entry) => goldenCase(entry, tensors, broken));
    return { operation: json.op, cases, close: () => tensors.close() };
  } catch (error) {
    tensors.close();
    throw error;
  }
}

function goldenCase(
  entry: Record<string, unknown>,
  tensors: SafetensorsFile,
  broken: (what: string) => UserError,
): GoldenCase {
  const name = entry?.name;
  if (typeof name !== "string") throw broken("a case has no name");
  const table = <T>(key: string, ok: (value: unknown) => boolean): Record<string, T> => {
    const value = entry[key];
    if (typeof value !== "object" || value === null || !Object.values(value).every(ok)) {
      throw broken(`case ${name} has no proper "${key}"`);
    }
    return value as Record<string, T>;
  };
  const isShape = (value: unknown) => Array.isArray(value) && value.every(Number.isInteger);
  const inputs = table<number[]>("inputs", isShape);
  const outputs = table<number[]>("outputs", isShape);
  const tolerances = table<{ f32_rel: number }>(
    "tol",
    (value) => Number((value as { f32_rel?: number })?.f32_rel) > 0,
  );
  if (Object.keys(outputs).length === 0) throw broken(`case ${name} has no outputs`);
  const checked = (full: string, shape: number[] | undefined) => {
    if (!shape) throw broken(`it describes no tensor ${full}`);
    checkShape(tensors, full, shape);
    return full;
  };
  for (const [part, shapes] of [["in", inputs], ["out", outputs]] as const) {
    for (const [key, shape] of Object.entries(shapes)) checked(`${name}/${part}/${key}`, shape);
  }
  for (const key of Object.keys(outputs)) {
    if (!tolerances[key]) throw broken(`case ${name} has no tolerance for ${key}`);
  }
  return {
    name,
    attributes: table("attrs", () => true),
    inputs,
    outputs,
    input: (key) => tensors.doubles(checked(`${name}/in/${key}`, inputs[key])),
    integers: (key) => tensors.integers(checked(`${name}/in/${key}`, inputs[key])),
    output: (key) => tensors.doubles(checked(`${name}/out/${key}`, outputs[key])),
    limit: (key) => (tolerances[key] ?? fail(`${key} has no tolerance`)).f32_rel,
  };
}

/** @throws {UserError} where the tensor is missing or shaped otherwise. */
export function checkShape(file: SafetensorsFile, name: string, shape: readonly number[]): void {
  const found = file.info(name).shape;
  if (found.length !== shape.length || found.some((n, i) => n !== shape[i])) {
    throw new UserError(
      `Cannot use tensor "${name}" of ${file.path}: its shape is [${found}], not [${shape}]`,
    );
  }
}

/** How far values are from what is wanted. */
interface Comparison {
  /** max|got - want| / max|want|; where max|want| is 0, max|got| / 1e-7 x limit. */
  error: number;
  limit: number;
  ok: boolean;
}

/** Where every wanted value is 0, this much is allowed. */
const ZERO_TOLERANCE = 1e-7;

/** Compares by the goldens' rule. A NaN, an infinity or another length never passes. */
export function compare(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  limit: number,
): Comparison {
  let difference = got.length === want.length ? 0 : Infinity;
  let largest = 0;
  for (let i = 0; i < want.length; i++) {
    const wanted = nth(want, i);
    const d = Math.abs((got[i] ?? NaN) - wanted);
    if (!(d <= difference)) difference = Number.isNaN(d) ? Infinity : d;
    largest = Math.max(largest, Math.abs(wanted));
  }
  const error = largest > 0 ? difference / largest : difference / ZERO_TOLERANCE * limit;
  return { error, limit, ok: error <= limit };
}

/** (b, d, l) as the goldens have it to (b l, d) as this project has it. */
export function toRows(
  values: Float64Array,
  batch: number,
  channels: number,
  length: number,
): Float64Array {
  const out = new Float64Array(values.length);
  for (let b = 0; b < batch; b++) {
    for (let c = 0; c < channels; c++) {
      for (let t = 0; t < length; t++) {
        out[(b * length + t) * channels + c] = float64At(values, (b * channels + c) * length + t);
      }
    }
  }
  return out;
}

/** (b l, d) to (b, d, l). */
export function fromRows(
  values: ArrayLike<number>,
  batch: number,
  channels: number,
  length: number,
): Float64Array {
  const out = new Float64Array(values.length);
  for (let b = 0; b < batch; b++) {
    for (let c = 0; c < channels; c++) {
      for (let t = 0; t < length; t++) {
        out[(b * channels + c) * length + t] = nth(values, (b * length + t) * channels + c);
      }
    }
  }
  return out;
}

/** Cumulative document lengths [0, ..., l], the same in every sequence, as starts (b l). */
export function startsOf(cumulative: ArrayLike<number>, batch: number, length: number): Uint8Array {
  const starts = new Uint8Array(batch * length);
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i + 1 < cumulative.length; i++) starts[b * length + nth(cumulative, i)] = 1;
  }
  return starts;
}
