/** The adapter as `doctor` finds it: what it is, and whether the kernels are right on it. @module */
import type { Device, Variant } from "../kernels/device.ts";
import { describeUnits, type MatrixConfig, matrixConfigs } from "../kernels/matrix_units.ts";
import { isCpuDriver, isOpenGl, openDevice } from "../kernels/open_device.ts";
import type { ProviderName } from "../kernels/providers.ts";
import { selfTest, selfTestCount, type SelfTestResult } from "../kernels/self_test.ts";

/** The adapter as found. */
export interface AdapterFacts {
  description: string;
  vendor: string;
  backend: "native" | "opengl";
  cpu: boolean;
  variant: Variant;
  features: string[];
  limits: Record<string, number>;
  selfTest: SelfTestResult[];
  /** Seconds after which the self-test was cut off, before it had come to an end. */
  cutOff?: number;
  /** Kernels that a self-test without a limit of time looks at. */
  selfTests?: number;
  /** Shapes of tensor cores that the provider offers, and what products use of them. */
  matrixConfigs?: MatrixConfig[];
  matrixUnits?: string;
}

/** What the thread tells. */
export type AdapterNews =
  | { kind: "opened"; adapter: AdapterFacts }
  | { kind: "done"; adapter: AdapterFacts }
  | { kind: "failed"; error: string };

/** The device to look at. */
export interface Asked {
  variant?: string;
  provider?: ProviderName;
}

/** Limits that decide what fits. */
const SHOWN_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxTextureDimension2D",
] as const;

/**
 * Opens the device and tests the kernels.
 * @param budget milliseconds after which no further kernel is begun
 * @param opened told of the adapter before the test
 * @throws {DeviceError} where none opens
 */
export async function inspectAdapter(
  asked: Asked,
  budget: number,
  opened: (adapter: AdapterFacts) => void,
): Promise<AdapterFacts> {
  const device: Device = await openDevice(asked);
  try {
    const { adapter, gpu } = device;
    const facts: AdapterFacts = {
      description: device.description,
      vendor: adapter.info.vendor,
      backend: isOpenGl(adapter) ? "opengl" : "native",
      cpu: isCpuDriver(adapter),
      variant: device.variant,
      features: [...device.features].sort(),
      limits: Object.fromEntries(SHOWN_LIMITS.map((name) => [name, gpu.limits[name]])),
      selfTest: [],
      selfTests: selfTestCount(device),
      matrixConfigs: matrixConfigs(adapter),
      matrixUnits: device.matrixUnits && describeUnits(device.matrixUnits),
    };
    opened(facts);
    return { ...facts, selfTest: await selfTest(device, budget) };
  } finally {
    device.destroy();
  }
}

/**
 * What a thread finds out within some seconds: the adapter, cut off where the test takes longer.
 * @param worker takes what is asked and answers with {@linkcode AdapterNews}
 * @throws {Error} where no device opens, or none answers in time
 */
export function inspectWithin(
  worker: Worker,
  asked: Asked,
  budget: number,
  seconds: number,
): Promise<AdapterFacts> {
  let found: AdapterFacts | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  return new Promise<AdapterFacts>((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<AdapterNews>) => {
      if (data.kind === "failed") reject(new Error(data.error));
      else if (data.kind === "done") resolve(data.adapter);
      else found = data.adapter;
    };
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Error(event.message));
    };
    if (Number.isFinite(seconds)) {
      timer = setTimeout(() => {
        if (found) resolve({ ...found, cutOff: seconds });
        else reject(new Error(`the driver did not open a device in ${seconds} s`));
      }, 1000 * seconds);
    }
    worker.postMessage({ asked, budget });
  }).finally(() => {
    clearTimeout(timer);
    worker.terminate();
  });
}
