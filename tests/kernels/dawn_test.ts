import { join } from "../../core/std.ts";
import { assertEquals, assertMatch } from "../assert.ts";
import { runWithDawn } from "../dawn.ts";
import { missingShared, ROOT, SHARED } from "../shared.ts";

/** SwiftShader, a CPU driver that Dawn accepts, as Debian's chromium brings it. */
const SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json";

const exists = (path: string) => {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
};

async function main(
  args: string[],
  permissions: string[],
): Promise<{ code: number; text: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-lock", ...permissions, "main.ts", ...args],
    cwd: ROOT,
    env: { VK_DRIVER_FILES: SWIFTSHADER, NO_COLOR: "1" },
  }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, text: decode(stdout) + decode(stderr) };
}

const reason = !exists(SWIFTSHADER)
  ? " (skipped: no SwiftShader)"
  : missingShared("goldens")
  ? " (skipped: no ../shared/goldens)"
  : "";

/** Every case of the operations and the models, which takes minutes: `deno task test:dawn`. */
const ALL = Deno.env.get("PUBMAMBA_GOLDENS") === "all";

/** Cases that stand for all of an operation whose programs take this driver long to compile. */
const CHOSEN: Readonly<Record<string, string[]>> = {
  selective_scan: ["L17", "L70_packed", "L64_state"],
};

/** Copies an operation's golden file into a folder, with the chosen cases alone. */
function copyGolden(op: string, folder: string): void {
  const from = join(SHARED, "goldens", `op_${op}`);
  const to = join(folder, `op_${op}`);
  const golden = JSON.parse(Deno.readTextFileSync(`${from}.json`)) as { cases: { name: string }[] };
  const chosen = CHOSEN[op];
  const cases = golden.cases.filter(({ name }) => !chosen || chosen.includes(name));
  if (chosen) assertEquals(cases.length, chosen.length, "cases that are no longer there");
  Deno.writeTextFileSync(`${to}.json`, JSON.stringify({ ...golden, cases }));
  Deno.copyFileSync(`${from}.safetensors`, `${to}.safetensors`);
}

Deno.test({
  name: `the ${
    ALL ? "" : "operations' "
  }goldens pass on Dawn, whose WGSL compiler is another${reason}`,
  ignore: reason !== "",
  fn: async () => {
    const folder = Deno.makeTempDirSync();
    try {
      for (const op of ["rmsnorm", "conv_silu", "selective_scan", "cross_entropy", "adamw"]) {
        copyGolden(op, folder);
      }
      const { code, text } = await main(
        [
          "goldens",
          ALL ? join(SHARED, "goldens") : folder,
          "--provider",
          "dawn",
          "--variant",
          "gpu-tiled",
        ],
        ["--allow-all"],
      );
      // Not installed and no network to fetch it: the one failure that says nothing of the kernels.
      if (code === 1 && /Cannot load Dawn/.test(text)) {
        await Deno.stderr.write(new TextEncoder().encode("skipped: no Dawn\n"));
        return;
      }
      assertEquals(code, 0, text);
      assertMatch(text, /SwiftShader.*WebGPU of dawn/);
      assertMatch(text, /\n\d+ passed, 0 failed/);
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
});

Deno.test("--provider dawn without the permission says which one it needs", async () => {
  const { code, text } = await main(["goldens", ".", "--provider", "dawn"], [
    "--allow-read",
    "--allow-env",
    "--allow-sys",
  ]);
  assertEquals(code, 1);
  assertMatch(text, /Cannot load Dawn .*--allow-all/);
});

Deno.test("Dawn's compiler accepts every program for matrix units", async () => {
  const text = await runWithDawn("kernels/dawn_programs.ts");
  if (text !== undefined) assertMatch(text, /^504 programs, \d+ built\n$/);
});
