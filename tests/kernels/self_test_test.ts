import { type Device } from "../../kernels/device.ts";
import { openDevice } from "../../kernels/open_device.ts";
import { DeviceError } from "../../kernels/errors.ts";
import { requireSelfTest, selfTest } from "../../kernels/self_test.ts";
import { assert, assertEquals, assertRejects } from "../assert.ts";

const withDevice = async (use: (device: Device) => Promise<void>) => {
  const device = await openDevice({ variant: "gpu-tiled" });
  try {
    await use(device);
  } finally {
    device.destroy();
  }
};

/** Has the driver run other programs than those it was given. */
function tamper(device: Device, change: (label: string, code: string) => string): void {
  const pipeline = device.pipeline.bind(device);
  device.pipeline = (label, code) => pipeline(label, change(label, code));
}

Deno.test("the self-test names the kernels that a driver computes wrongly, and the driver", () =>
  withDevice(async (device) => {
    tamper(
      device,
      (label, code) =>
        label === "scan backward"
          ? code.replace("dh = g0 * Abar0;", "dh = g0;")
          : label === "rmsnorm forward"
          ? code.replace(/sqrt\(/g, "(")
          : code,
    );
    const wrong = (await selfTest(device)).filter((r) => !r.ok).map((r) => r.kernel);
    assertEquals(wrong, ["RMSNorm", "selective scan"]);
    const error = await assertRejects(() => requireSelfTest(device), DeviceError);
    assert(error.message.includes(device.description) && error.message.includes("RMSNorm (off by"));
  }));

Deno.test("the self-test finds a driver that leaves zeros", () =>
  withDevice(async (device) => {
    tamper(device, (_, code) =>
      code.replace(/fn main\(([^{]*)\{/, "fn main($1{ if (true) { return; }"));
    const results = await selfTest(device);
    assert(
      results.length >= 6 && results.every((r) =>
        !r.ok
      ),
      JSON.stringify(results),
    );
  }));

Deno.test("a device is tested once in a process", () =>
  withDevice(async (device) => {
    await requireSelfTest(device);
    tamper(device, () => "not WGSL");
    await requireSelfTest(device);
  }));
