/**
 * Matrix units (tensor cores) as WebGPU offers them: subgroup matrices, an experimental feature of
 * Dawn. An adapter lists the shapes that its units multiply; this file chooses the one that products
 * use. The programs are in matmul/subgroup_matrix.ts.
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
  /** Rows of the matrix that one multiplication gives. */
  m: number;
  /** Columns of it. */
  n: number;
  /** Values that each of its elements sums over. */
  k: number;
  /** Invocations of a subgroup. */
  lanes: number;
  /** The device has subgroups of several sizes, so that the pipeline must ask for this one. */
  sized?: boolean;
  /** The operations are written out in plain WGSL, because the feature is absent: for tests, very slow. */
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

/**
 * Whether the shape divides what the programs work in: strips of 16 rows by 32 columns of C, and slabs
 * of 32 values of K.
 */
const fits = ({ M, N, K }: MatrixConfig) =>
  [8, 16].includes(M) && [8, 16, 32].includes(N) && [8, 16, 32].includes(K);

/**
 * The units that products use: of the shapes with f16 factors and f32 sums the largest, which loads
 * the fewest values for its arithmetic. Undefined where the adapter has none.
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
