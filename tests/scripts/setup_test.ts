import { type Machine, PACKAGES, planSetup } from "../../scripts/setup.ts";
import { assertEquals, assertStringIncludes } from "../assert.ts";

const BARE: Machine = {
  os: "linux",
  adapter: "none",
  backendChosen: false,
  root: true,
  aptGet: true,
  sudo: false,
};

Deno.test("set-up does nothing where Vulkan answers, or off Linux, or where a backend is chosen", () => {
  const nothing = { action: "nothing" } as const;
  assertEquals(planSetup({ ...BARE, adapter: "vulkan" }), nothing);
  assertEquals(planSetup({ ...BARE, os: "darwin" }), nothing);
  assertEquals(planSetup({ ...BARE, os: "windows" }), nothing);
  assertEquals(planSetup({ ...BARE, adapter: "opengl", backendChosen: true }), nothing);
});

Deno.test("set-up installs as root, or through sudo where that asks nothing", () => {
  const root = planSetup(BARE);
  const sudo = planSetup({ ...BARE, root: false, sudo: true });
  if (root.action !== "run" || sudo.action !== "run") throw new Error("nothing to run");
  assertEquals(root.commands.map((c) => c[0]), ["/usr/bin/apt-get", "/usr/bin/apt-get"]);
  assertEquals(root.commands[1]!.slice(-2), PACKAGES);
  assertEquals(sudo.commands.map((c) => c.slice(0, 2)), [
    ["/usr/bin/sudo", "-n"],
    ["/usr/bin/sudo", "-n"],
  ]);
});

Deno.test("set-up prints the exact command where it may not install", () => {
  const plan = planSetup({ ...BARE, root: false });
  if (plan.action !== "print") throw new Error("nothing to print");
  assertStringIncludes(
    plan.message,
    "sudo apt-get update && sudo apt-get install -y libvulkan1 mesa-vulkan-drivers",
  );
  const elsewhere = planSetup({ ...BARE, aptGet: false });
  if (elsewhere.action !== "print") throw new Error("nothing to print");
  assertStringIncludes(elsewhere.message, "dnf install");
});
