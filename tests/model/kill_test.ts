import { fromFileUrl, join } from "../../core/std.ts";
import { checkpointPath } from "../../model/checkpoint.ts";
import { readMetrics } from "../../model/metrics.ts";
import { assert, assertEquals } from "../assert.ts";
import { withFolder } from "./helpers.ts";

const RUNNER = fromFileUrl(new URL("./kill_runner.ts", import.meta.url));
const spawn = (out: string) =>
  new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", RUNNER, out],
    stdout: "null",
    stderr: "piped",
  }).spawn();

Deno.test("a run killed at 20 random moments ends with the bytes of an undisturbed one", () =>
  withFolder(async (dir) => {
    const whole = join(dir, "whole"), killed = join(dir, "killed");
    const begin = performance.now(), undisturbed = await spawn(whole).output();
    assertEquals(undisturbed.code, 0, new TextDecoder().decode(undisturbed.stderr));
    const life = performance.now() - begin;
    // Long enough that lives make progress on the whole, short enough to end in the middle of it.
    for (let kills = 0; kills < 20; kills++) {
      const process = spawn(killed), wait = life * (0.1 + 0.5 * Math.random());
      const timer = setTimeout(() => process.kill("SIGKILL"), wait);
      const { code, stderr, signal } = await process.output();
      clearTimeout(timer);
      // Done before its time, or killed; but never a failure.
      assert(code === 0 || signal === "SIGKILL", new TextDecoder().decode(stderr));
    }
    const last = await spawn(killed).output();
    assertEquals(last.code, 0, new TextDecoder().decode(last.stderr));
    for (const name of ["model", "optimizer", "average"]) {
      const [a, b] = [whole, killed].map((run) =>
        Deno.readFileSync(join(checkpointPath(run, 60), `${name}.safetensors`))
      );
      assertEquals(a, b, name);
    }
    const [a, b] = [whole, killed].map((run) =>
      readMetrics(run).map(({ tokens_per_second: _, ...rest }) => rest)
    );
    assertEquals(a, b);
    const left = [...Deno.readDirSync(join(killed, "checkpoints"))].map((e) => e.name);
    assert(!left.some((name) => name.endsWith(".partial")), left.join());
  }));
