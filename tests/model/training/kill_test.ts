import { fromFileUrl, join } from "../../../core/std.ts";
import { checkpointPath } from "../../../model/training/checkpoint.ts";
import { readMetrics } from "../../../model/training/metrics.ts";
import { assert, assertEquals } from "../../assert.ts";
import { faults } from "../../pipeline/faults.ts";
import { withFolder } from "../helpers.ts";

const RUNNER = fromFileUrl(new URL("./kill_runner.ts", import.meta.url));
const spawn = (out: string, kind: string) =>
  new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", RUNNER, out, kind],
    stdout: "null",
    stderr: "piped",
  }).spawn();

/** Kills a run again and again, and compares it with one that was left alone. */
const survives = (kind: "reference" | "device", moments: number, steps: number) =>
  withFolder(async (dir) => {
    const whole = join(dir, "whole");
    const killed = join(dir, "killed");
    const begin = performance.now();
    const undisturbed = await spawn(whole, kind).output();
    assertEquals(undisturbed.code, 0, new TextDecoder().decode(undisturbed.stderr));
    const life = performance.now() - begin;
    // Long enough that lives make progress on the whole, short enough to end in the middle of it.
    for (let kills = 0; kills < moments; kills++) {
      const process = spawn(killed, kind);
      const wait = life * (0.1 + 0.5 * Math.random());
      const timer = setTimeout(() => {
        try {
          process.kill("SIGKILL");
        } catch (error) {
          if (!(error instanceof TypeError)) throw error; // it has just ended by itself
        }
      }, wait);
      const { code, stderr, signal } = await process.output();
      clearTimeout(timer);
      // Done before its time, or killed; but never a failure.
      assert(code === 0 || signal === "SIGKILL", new TextDecoder().decode(stderr));
    }
    const last = await spawn(killed, kind).output();
    assertEquals(last.code, 0, new TextDecoder().decode(last.stderr));
    for (const name of ["model", "optimizer", "average"]) {
      const [a, b] = [whole, killed].map((run) =>
        Deno.readFileSync(join(checkpointPath(run, steps), `${name}.safetensors`))
      );
      assertEquals(a, b, name);
    }
    const [a, b] = [whole, killed].map((run) =>
      readMetrics(run).map(({ tokens_per_second: _, ...rest }) => rest)
    );
    assertEquals(a, b);
    const left = [...Deno.readDirSync(join(killed, "checkpoints"))].map((e) => e.name);
    assert(!left.some((name) => name.endsWith(".partial")), left.join());
  });

Deno.test("a run killed at random moments ends with the bytes of an undisturbed one", () =>
  survives("reference", faults(6, 20, 20), 60));

Deno.test("so does one on the device, which goes on while checkpoints are written", () =>
  survives("device", faults(3, 5, 20), 40));
