/**
 * A few kernels on small, awkward shapes against their float64 references, in the device's own
 * variant. Some drivers compute zeros or garbage without reporting an error: better to know before
 * a week of training.
 * @module
 */
import { crossEntropy } from "./cross_entropy/cross_entropy.ts";
import { type Device } from "./device.ts";
import { isCpuDriver } from "./open_device.ts";
import { DeviceError } from "./errors.ts";
import { padded } from "./layout.ts";
import { choiceKey, defaultChoice, tunedChoices } from "./matmul/choice.ts";
import { matmul, type Product } from "./matmul/mod.ts";
import { Plan } from "./plan.ts";
import { numbers } from "./random.ts";
import * as reference from "./reference/mod.ts";
import { rmsNormForward } from "./rmsnorm/rmsnorm.ts";
import { runScan } from "./scan/harness.ts";
import { runSsd } from "./ssd/harness.ts";
import { Workbench } from "./workbench.ts";

/** What one kernel came to. */
export interface SelfTestResult {
  kernel: string;
  /** Largest difference from the reference, relative to the largest value of it. */
  error: number;
  limit: number;
  ok: boolean;
  /** Compilation included. */
  milliseconds: number;
}

type Values = Float64Array;
/** What a kernel wrote, and what is right. */
interface Outcome {
  got: ArrayLike<number>;
  want: Values;
}
/** Either queues a kernel, and returns what reads its outcome, or does all of it. */
type Check =
  & { kernel: string; limit: number }
  & ({ prepare(bench: Workbench, plan: Plan): () => Promise<Outcome> } | {
    run(device: Device): Promise<Outcome[]>;
  });

/** On matrix units A is f16 and B is f32, which they take in two parts. */
function matmulCheck(product: Product, units = false): Check {
  const m = 37;
  const n = 65;
  const k = 70;
  const b = numbers(n * k, 2);
  const type = units ? "f16" : undefined;
  const a = numbers(m * k, 1).map((x) => units ? Math.f16round(x) : x);
  const at = product === "TN"
    ? (i: number, x: number) => a[x * m + i] ?? NaN
    : (i: number, x: number) => a[i * k + x] ?? NaN;
  const bt = product === "NT"
    ? (j: number, x: number) => b[j * k + x] ?? NaN
    : (j: number, x: number) => b[x * n + j] ?? NaN;
  return {
    kernel: `matrix product ${product}${units ? " on matrix units" : ""}`,
    limit: 1e-5,
    prepare(bench, plan) {
      const c = bench.matrix(undefined, m, n);
      const { variant, workgroupBytes } = bench.device;
      const choices = tunedChoices(bench.device);
      // What large products run, which these would be too small for.
      const key = choiceKey(product, m, n, k);
      const kept = choices.get(key);
      choices.set(key, defaultChoice(8192, 3072, 768, { variant, workgroupBytes }));
      matmul(plan, {
        product,
        a: product === "TN" ? bench.matrix(a, k, m, type) : bench.matrix(a, m, k, type),
        b: product === "NT" ? bench.matrix(b, n, k) : bench.matrix(b, k, n),
        c,
      });
      if (kept) choices.set(key, kept);
      else choices.delete(key);
      return async () => {
        const want = new Float64Array(m * n);
        for (let i = 0; i < m; i++) {
          for (let j = 0; j < n; j++) {
            let sum = 0;
            for (let x = 0; x < k; x++) sum += at(i, x) * bt(j, x);
            want[i * n + j] = sum;
          }
        }
        return { got: await bench.values(c), want };
      };
    },
  };
}

const rmsNormCheck: Check = {
  kernel: "RMSNorm",
  limit: 1e-5,
  prepare(bench, plan) {
    const rows = 19;
    const cols = 100;
    const x = numbers(rows * cols, 3);
    const weight = numbers(cols, 4);
    const y = bench.matrix(undefined, rows, cols);
    rmsNormForward(plan, {
      residual: bench.matrix(x, rows, cols),
      weight: bench.flat(padTo32(weight)),
      y,
      inverseRms: bench.flat(padded(rows)),
      epsilon: 1e-5,
    });
    return async () => ({ got: await bench.values(y), want: reference.rmsNorm(x, weight, 1e-5).y });
  },
};

const crossEntropyCheck: Check = {
  kernel: "cross-entropy",
  limit: 1e-5,
  prepare(bench, plan) {
    const rows = 9;
    const vocabulary = 75;
    const logits = numbers(rows * vocabulary, 5).map((v) => 4 * v);
    const targets = Int32Array.from({ length: rows }, (_, r) => r === 3 ? -100 : r * 8);
    const nll = bench.flat(padded(rows));
    crossEntropy(plan, {
      logits: bench.matrix(logits, rows, vocabulary),
      targets: bench.flat(targets),
      nll,
      firstRow: 0,
    });
    return async () => ({
      got: await bench.floats(nll, rows),
      want: reference.crossEntropy(logits, targets).nll,
    });
  },
};

const scanCheck: Check = {
  kernel: "selective scan",
  limit: 1e-4,
  async run(device) {
    const batch = 2;
    const length = 37;
    const channels = 40;
    const states = 16;
    const rows = batch * length;
    const u = numbers(rows * channels, 6);
    const delta = numbers(rows * channels, 7);
    const A = numbers(channels * states, 8).map((v) => Math.fround(v - 1.1));
    const B = numbers(rows * states, 9);
    const C = numbers(rows * states, 10);
    const D = numbers(channels, 11);
    const z = numbers(rows * channels, 12);
    const gy = numbers(rows * channels, 13);
    const starts = Uint8Array.from(
      { length: rows },
      (_, r) => Number(r % length === 0 || r === 20),
    );
    const input = { batch, length, u, delta, A, B, C, D, z, softplus: true, starts };
    const f = (values: Values) => Float32Array.from(values);
    const got = await runScan(device, {
      batch,
      length,
      channels,
      states,
      softplus: true,
      bias: false,
      skip: true,
      gate: true,
      packed: true,
      initialState: false,
    }, {
      u: f(u),
      delta: f(delta),
      A: f(A),
      B: f(B),
      C: f(C),
      D: f(D),
      z: f(z),
      gy: f(gy),
      starts,
    });
    const { y } = reference.selectiveScan(input);
    const { du, ddelta, dA, dB, dC, dz } = reference.selectiveScanBackward(input, gy);
    return Object.entries({ y, du, ddelta, dA, dB, dC, dz }).map(([name, want]) => ({
      got: got[name] ?? [],
      want: want ?? new Float64Array(),
    }));
  },
};

const ssdCheck: Check = {
  kernel: "state space duality",
  limit: 1e-4,
  async run(device) {
    const [batch, length, heads, groups, p, n] = [2, 70, 4, 2, 20, 16] as const;
    const rows = batch * length;
    const input: reference.SsdInput = {
      batch,
      length,
      heads,
      groups,
      x: numbers(rows * heads * p, 14),
      dt: numbers(rows * heads, 15),
      A: numbers(heads, 16).map((v) => Math.fround(v - 1.1)),
      B: numbers(rows * groups * n, 17),
      C: numbers(rows * groups * n, 18),
      D: numbers(heads, 19),
      softplus: true,
      starts: Uint8Array.from({ length: rows }, (_, r) => Number(r % length === 0 || r === 20)),
    };
    const gy = numbers(rows * heads * p, 20);
    const got = await runSsd(device, {
      batch,
      length,
      heads,
      groups,
      headSize: p,
      states: n,
      softplus: true,
      skip: "head",
      packed: true,
      initialState: false,
    }, { ...input, gy });
    const { dx, ddt, dA, dB, dC } = reference.ssdBackward(input, gy);
    const want = { y: reference.ssd(input).y, dx, ddt, dA, dB, dC };
    return Object.entries(want).map(([name, want]) => ({ got: got[name] ?? [], want }));
  },
};

const padTo32 = (values: Values): Float32Array<ArrayBuffer> => {
  const out = new Float32Array(padded(values.length));
  out.set(values);
  return out;
};

const CHECKS: Check[] = [
  rmsNormCheck,
  matmulCheck("NT"),
  matmulCheck("NN"),
  matmulCheck("TN"),
  crossEntropyCheck,
  scanCheck,
  ssdCheck,
];
const UNIT_CHECKS: Check[] = (["NT", "NN", "TN"] as const).map((p) => matmulCheck(p, true));

const checksOf = (device: Pick<Device, "matrixUnits">): Check[] =>
  device.matrixUnits ? [...CHECKS, ...UNIT_CHECKS] : CHECKS;

/** How many kernels {@linkcode selfTest} looks at on a device. */
export const selfTestCount = (device: Pick<Device, "matrixUnits">): number =>
  checksOf(device).length;

/**
 * Runs the checks, cheapest first. A kernel that the device cannot build counts as failed, and the
 * rest go on. No check starts after `budget` milliseconds: drivers that compile slowly get fewer.
 */
export async function selfTest(
  device: Device,
  budget = Infinity,
  checks: readonly Check[] = checksOf(device),
): Promise<SelfTestResult[]> {
  const results: SelfTestResult[] = [];
  const begin = performance.now();
  for (const check of checks) {
    if (performance.now() - begin > budget) break;
    const start = performance.now();
    const { kernel, limit } = check;
    let error = Infinity;
    try {
      const outcomes = "run" in check
        ? await check.run(device)
        : [await runPrepared(device, kernel, check.prepare)];
      error = Math.max(...outcomes.map(({ got, want }) => relativeError(got, want)));
    } catch (problem) {
      if ((problem as Error).name !== "DeviceError") throw problem;
    }
    const milliseconds = performance.now() - start;
    results.push({ kernel, error, limit, ok: error <= limit, milliseconds });
  }
  return results;
}

async function runPrepared(
  device: Device,
  kernel: string,
  prepare: (bench: Workbench, plan: Plan) => () => Promise<Outcome>,
): Promise<Outcome> {
  const bench = new Workbench(device);
  const plan = new Plan(device);
  try {
    const finish = await device.guard(`run ${kernel}`, () => {
      const finish = prepare(bench, plan);
      plan.submit();
      return finish;
    });
    return await finish();
  } finally {
    plan.destroy();
    bench.clear();
  }
}

/** The checks of recurrences, of which a model needs one. */
const RECURRENCES = ["selective scan", "state space duality"] as const;
/** A recurrence that a model computes. */
export type Recurrence = (typeof RECURRENCES)[number];

/** Milliseconds after which no further check begins on a CPU driver, which compiles slowly. */
const CPU_BUDGET = 250;
/** What has been found right by this process. */
const tested = new Set<string>();

/**
 * Runs the checks on a device before anything is computed there, once for each kind of device in a
 * process; on CPU drivers as many as a quarter of a second holds. Matrix units, which only mixed
 * precision uses, are checked there: see unit_check.ts. Of the recurrences the one that is needed is
 * checked.
 * @throws {DeviceError} that names the driver and the kernels that it computes wrongly.
 */
export async function requireSelfTest(
  device: Device,
  recurrence: Recurrence = "selective scan",
): Promise<void> {
  const { description, variant, provider } = device;
  const kind = [provider, description, variant, recurrence].join("\n");
  if (tested.has(kind)) return;
  const results = await selfTest(
    device,
    isCpuDriver(device.adapter) ? CPU_BUDGET : Infinity,
    CHECKS.filter(({ kernel }) =>
      kernel === recurrence || !RECURRENCES.some((other) => other === kernel)
    ),
  );
  const wrong = results.filter(({ ok }) => !ok);
  if (wrong.length) {
    const list = wrong.map(({ kernel, error, limit }) =>
      `${kernel} (${
        Number.isFinite(error) ? `off by ${error.toExponential(1)} of the largest value` : "failed"
      }, at most ${limit})`
    );
    throw new DeviceError(
      `Cannot compute on ${description} with the WebGPU of ${provider}: with the kernel variant ` +
        `${variant} its driver gets ${list.join(", ")} wrong; update the driver or give another ` +
        `--variant, and see: deno task doctor --thorough`,
    );
  }
  tested.add(kind);
}

/** Infinity where anything is not finite. */
function relativeError(got: ArrayLike<number>, want: Values): number {
  let error = 0;
  let largest = 0;
  for (let i = 0; i < want.length; i++) {
    const right = want[i] ?? NaN;
    const difference = Math.abs((got[i] ?? NaN) - right);
    if (!Number.isFinite(difference)) return Infinity;
    error = Math.max(error, difference);
    largest = Math.max(largest, Math.abs(right));
  }
  return error / largest;
}
