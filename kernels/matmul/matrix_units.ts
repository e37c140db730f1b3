/**
 * Tensor cores as WGSL reaches them: subgroup matrices, an experimental feature of Dawn. Which of an
 * adapter's shapes is used, and the few operations that programs are made of. The same operations
 * written out in plain WGSL let every other line of such a program be tested on any device.
 * @module
 */

/** Name of the device feature. */
export const MATRIX_FEATURE = "chromium-experimental-subgroup-matrix";
/** Name of the feature with which a pipeline fixes its subgroups' size. */
export const SIZE_FEATURE = "subgroup-size-control";

/** One shape of `adapter.info.subgroupMatrixConfigs`. */
export interface MatrixConfig {
  componentType: string;
  resultComponentType: string;
  M: number;
  N: number;
  K: number;
}

/** How a device's subgroups multiply: (m, k) of f16 with (k, n) of f16, added to (m, n) of f32. */
export interface MatrixUnits {
  /** Rows of a product. */
  m: number;
  /** Columns of a product. */
  n: number;
  /** What is summed over. */
  k: number;
  /** Invocations of a subgroup. */
  lanes: number;
  /** The pipeline asks for that size, because the device has several. */
  sized?: boolean;
  /** Written out in plain WGSL, where the feature is absent: for tests, very slow. */
  emulated?: boolean;
}

/** What an adapter says of its subgroup matrices. */
export interface MatrixAdapter {
  features: Pick<ReadonlySet<string>, "has">;
  info: {
    subgroupMinSize?: number;
    subgroupMaxSize?: number;
    subgroupMatrixConfigs?: Iterable<MatrixConfig>;
  };
}

/** All shapes of an adapter, as plain values; none without the feature. */
export function matrixConfigs({ features, info }: MatrixAdapter): MatrixConfig[] {
  if (!features.has(MATRIX_FEATURE)) return [];
  return [...info.subgroupMatrixConfigs ?? []].map((c) => ({
    componentType: c.componentType,
    resultComponentType: c.resultComponentType,
    M: c.M,
    N: c.N,
    K: c.K,
  }));
}

/** Whether a program's 16 x 32 blocks and slabs of 32 divide into the shape. */
const fits = ({ M, N, K }: MatrixConfig) =>
  [8, 16].includes(M) && [8, 16, 32].includes(N) && [8, 16, 32].includes(K);

/**
 * The units that products use: f16 in, f32 out, the largest shape, which loads least for its
 * arithmetic. Undefined where the adapter has none.
 */
export function matrixUnits(adapter: MatrixAdapter): MatrixUnits | undefined {
  const { subgroupMinSize: least, subgroupMaxSize: lanes } = adapter.info;
  if (!adapter.features.has("shader-f16") || !least || !lanes) return undefined;
  if (least !== lanes && !adapter.features.has(SIZE_FEATURE)) return undefined;
  const usable = matrixConfigs(adapter).filter((c) =>
    c.componentType === "f16" && c.resultComponentType === "f32" && fits(c)
  );
  const volume = ({ M, N, K }: MatrixConfig) => M * N * K;
  const [best] = usable.sort((x, y) => volume(y) - volume(x) || y.K - x.K);
  if (!best) return undefined;
  return { m: best.M, n: best.N, k: best.K, lanes, sized: least !== lanes };
}

/** One line about a device's units. */
export const describeUnits = ({ m, n, k, lanes, emulated }: MatrixUnits): string =>
  `${m} x ${n} x ${k}, f16 to f32, subgroups of ${lanes}${emulated ? ", emulated" : ""}`;

/** Where a matrix lies in memory: `array` holds vectors of 8 f16 or 4 f32, `stride` vectors a line. */
export interface MatrixPlace {
  /** The WGSL of an array, without &; for emulated units its name and first index. */
  array: string;
  /** In vectors. */
  offset: string;
  stride: number;
  /** Lines are the matrix's columns rather than its rows. */
  columns: boolean;
}

/** The operations of a program, as WGSL. */
export interface MatrixOperations {
  /** What the program begins with; `half` where it needs f16 besides. */
  enables(half: boolean): string;
  /** Functions and aliases. */
  declarations: string;
  /** Parameters of the entry point: define t, sg and lane. */
  builtins: string;
  attributes: string;
  /** First lines of the entry point. */
  head: string;
  zero(name: string): string;
  load(name: string, side: "left" | "right", place: MatrixPlace): string;
  /** result += left . right */
  multiply(result: string, left: string, right: string): string;
  store(name: string, place: MatrixPlace): string;
}

/** The operations of the feature. */
function intrinsics({ m, n, k, lanes, sized }: MatrixUnits): MatrixOperations {
  const order = (columns: boolean) => columns ? "col_major" : "row_major";
  return {
    enables: () =>
      `enable f16;\nenable subgroups;\nenable chromium_experimental_subgroup_matrix;
${
        sized
          ? "enable subgroup_size_control;\n"
          : ""
      }diagnostic(off, chromium.subgroup_matrix_uniformity);`,
    declarations: `alias Left = subgroup_matrix_left<f16, ${k}, ${m}>;
alias Right = subgroup_matrix_right<f16, ${n}, ${k}>;
alias Result = subgroup_matrix_result<f32, ${n}, ${m}>;`,
    builtins: "@builtin(local_invocation_index) t: u32, @builtin(subgroup_id) sg: u32,\n" +
      "  @builtin(subgroup_invocation_id) lane: u32",
    attributes: sized ? ` @subgroup_size(${lanes})` : "",
    head: "",
    zero: (name) => `var ${name} = Result();`,
    load: (name, side, { array, offset, stride, columns }) =>
      `let ${name} = subgroupMatrixLoad<${side === "left" ? "Left" : "Right"}, ${
        order(columns)
      }>(&${array}, ${offset}, ${stride}u);`,
    multiply: (result, left, right) =>
      `${result} = subgroupMatrixMultiplyAccumulate(${left}, ${right}, ${result});`,
    store: (name, { array, offset, stride, columns }) =>
      `subgroupMatrixStore<${order(columns)}>(&${array}, ${offset}, ${name}, ${stride}u);`,
  };
}

/**
 * The operations in plain WGSL. A result is spread over the lanes; a left or right matrix is only the
 * place that it was loaded from, read when it is multiplied: nothing is written in between.
 */
function emulation({ m, n, k, lanes }: MatrixUnits): MatrixOperations {
  // Lavapipe ends a program's loops after 65,535 rounds in all, so the inmost one is unrolled.
  const each = m * n / lanes, eight = [0, 1, 2, 3, 4, 5, 6, 7];
  const at = (place: MatrixPlace, line: string, index: string) =>
    `(${place.offset}) * 8u + ${line} * ${8 * place.stride}u + ${index}`;
  const places = new Map<string, MatrixPlace>();
  const half = (place: MatrixPlace, row: string, column: string) => {
    const [line, index] = place.columns ? [column, row] : [row, column];
    return `{ let x = ${
      at(place, line, index)
    }; let y = unpack2x16float(${place.array}[x / 8u][x / 2u % 4u]); value = select(y.x, y.y, (x & 1u) == 1u); }`;
  };
  return {
    enables: (half) => half ? "enable f16;" : "",
    declarations: "",
    builtins: "@builtin(local_invocation_index) t: u32",
    attributes: "",
    head: `let sg = t / ${lanes}u; let lane = t % ${lanes}u;`,
    zero: (name) => `var ${name}: array<f32, ${each}>;`,
    load: (name, _side, place) => {
      places.set(name, place);
      return "";
    },
    multiply: (result, left, right) => {
      const l = places.get(left)!, r = places.get(right)!;
      return `for (var i = 0u; i < ${each}u; i++) { let e = i * ${lanes}u + lane; var sum = 0.0;
for (var k = 0u; k < ${k}u; k += 8u) { var value: f32; ${
        eight.map((j) =>
          `{ ${half(l, `(e / ${n}u)`, `(k + ${j}u)`)} let x = value;
${
            half(r, `(k + ${j}u)`, `(e % ${n}u)`)
          } sum = fma(x, value, sum); }`
        ).join("\n")
      } } ${result}[i] += sum; }`;
    },
    store: (name, { array, offset, stride, columns }) => {
      const [line, index] = columns ? [`e % ${n}u`, `e / ${n}u`] : [`e / ${n}u`, `e % ${n}u`];
      const bits = array.startsWith("s[") ? `bitcast<u32>(${name}[i])` : `${name}[i]`;
      return `for (var i = 0u; i < ${each}u; i++) { let e = i * ${lanes}u + lane;
let x = (${offset}) * 4u + (${line}) * ${
        4 * stride
      }u + (${index}); ${array}[x / 4u][x % 4u] = ${bits}; }`;
    },
  };
}

/** The operations of a device's units. */
export const matrixOperations = (units: MatrixUnits): MatrixOperations =>
  units.emulated ? emulation(units) : intrinsics(units);
