/**
 * Makes WebGPU work on a fresh Linux: where no Vulkan driver answers, installs Mesa's, or prints
 * the command that would. Does nothing on other systems. Run before the tasks that need a GPU.
 * @module
 */
import { EXIT, messageOf } from "../core/errors.ts";
import { consoleReporter } from "../core/reporter.ts";
import { isOpenGl } from "../kernels/open_device.ts";

/** The Debian packages that bring Vulkan, and a driver that computes on the CPU. */
export const PACKAGES = ["libvulkan1", "mesa-vulkan-drivers"];

/** What decides the set-up. */
export interface Machine {
  os: string;
  /** What answers behind WebGPU. */
  adapter: "vulkan" | "opengl" | "none";
  /** The user chose a backend by DENO_WEBGPU_BACKEND. */
  backendChosen: boolean;
  root: boolean;
  aptGet: boolean;
  /** `sudo` runs without asking for a password. */
  sudo: boolean;
}

/** What to do: nothing, run the commands in order, or print what the user has to do. */
type Plan =
  | { action: "nothing" }
  | { action: "run"; commands: string[][] }
  | { action: "print"; message: string };

/** Decides from the facts alone. */
export function planSetup(machine: Machine): Plan {
  if (machine.os !== "linux" || machine.adapter === "vulkan" || machine.backendChosen) {
    return { action: "nothing" };
  }
  const update = ["/usr/bin/apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", "update"];
  const install = [
    ...update.slice(0, -1),
    "install",
    "-y",
    "--no-install-recommends",
    ...PACKAGES,
  ];
  if (machine.aptGet && machine.root) return { action: "run", commands: [update, install] };
  if (machine.aptGet && machine.sudo) {
    const sudo = ["/usr/bin/sudo", "-n"];
    return { action: "run", commands: [[...sudo, ...update], [...sudo, ...install]] };
  }
  const found = machine.adapter === "opengl" ? "only OpenGL" : "nothing";
  const command = machine.aptGet
    ? `sudo apt-get update && sudo apt-get install -y ${PACKAGES.join(" ")}`
    : "your package manager's Vulkan loader and Mesa Vulkan driver (Fedora: sudo dnf install " +
      "vulkan-loader mesa-vulkan-drivers; Arch: sudo pacman -S vulkan-icd-loader vulkan-swrast; " +
      "Alpine: sudo apk add vulkan-loader mesa-vulkan-swrast)";
  return {
    action: "print",
    message: `No Vulkan driver was found (WebGPU sees ${found}). Install one, then run this ` +
      `again:\n\n  ${command}\n`,
  };
}

/** Looks at this machine; asks about the ways to install only where a driver is missing. */
async function inspectMachine(): Promise<Machine> {
  const linux = Deno.build.os === "linux";
  const adapter = linux ? await navigator.gpu?.requestAdapter() : null;
  const missing = linux && (!adapter || isOpenGl(adapter));
  return {
    os: Deno.build.os,
    adapter: !adapter ? "none" : isOpenGl(adapter) ? "opengl" : "vulkan",
    backendChosen: Boolean(Deno.env.get("DENO_WEBGPU_BACKEND")),
    root: missing && Deno.uid() === 0,
    aptGet: missing && await succeeds(["/usr/bin/apt-get", "--version"]),
    sudo: missing && await succeeds(["/usr/bin/sudo", "-n", "true"]),
  };
}

async function succeeds([program = "", ...args]: string[]): Promise<boolean> {
  try {
    const options = { args, stdin: "null", stdout: "null", stderr: "null" } as const;
    return (await new Deno.Command(program, options).output()).success;
  } catch {
    return false;
  }
}

/** Carries a plan out and returns the exit code. */
async function setUp(): Promise<number> {
  const reporter = consoleReporter();
  // Mesa complains about a missing folder on servers; any folder will do.
  if (Deno.build.os === "linux" && !Deno.env.get("XDG_RUNTIME_DIR")) {
    Deno.env.set("XDG_RUNTIME_DIR", "/tmp");
  }
  const plan = planSetup(await inspectMachine());
  if (plan.action === "nothing") return EXIT.done;
  if (plan.action === "print") {
    reporter.log(plan.message);
    return EXIT.failed;
  }
  reporter.log(`No Vulkan driver was found: installing ${PACKAGES.join(" and ")}`);
  for (const [program = "", ...args] of plan.commands) {
    const output = await new Deno.Command(program, {
      args,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      env: { DEBIAN_FRONTEND: "noninteractive" },
    }).output();
    // A mirror that cannot be refreshed may still have the packages: go on to the installation.
    if (output.success || args.includes("update")) continue;
    reporter.log(new TextDecoder().decode(output.stderr).trim());
    reporter.log(
      `Cannot install the driver. Once the cause is mended, run: ${
        [program, ...args].join(" ").replace(/^\/usr\/bin\/sudo -n/, "sudo")
      }`,
    );
    return EXIT.failed;
  }
  return EXIT.done;
}

if (import.meta.main) {
  try {
    Deno.exit(await setUp());
  } catch (error) {
    consoleReporter().log(`Cannot set the machine up: ${messageOf(error)}`);
    Deno.exit(EXIT.failed);
  }
}
