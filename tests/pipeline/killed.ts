/** The real program on the fixtures, killed at random moments. @module */
import { join } from "../../core/std.ts";
import { assertEquals } from "../assert.ts";
import { ROOT } from "../shared.ts";

export const FIXTURES: string = join(ROOT, "fixtures/mirror");
export const TOKENIZER: string = join(ROOT, "fixtures/tokenizer.json");

/** The words of a corpus of short rows with held-out splits. */
export const corpusWords = (corpus: string): string[] => [
  "--corpus",
  corpus,
  "--tokenizer",
  TOKENIZER,
  "--sequence-length",
  "128",
  "--validation",
  "0.05",
  "--test",
  "0.05",
];

/** Starts `pipeline ARGS`. */
export function startPipeline(
  args: string[],
  { env = {}, stdout = "null" }: { env?: Record<string, string>; stdout?: "null" | "piped" } = {},
): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "-A", join(ROOT, "main.ts"), "pipeline", ...args],
    env,
    stdout,
    stderr: "piped",
  }).spawn();
}

/**
 * Starts `pipeline ARGS` and kills it at a random moment, again and again until it ends by itself.
 * Each time it may live a little longer than the time before, so that it also ends on a machine that
 * is busier than when `longest` was measured.
 * @param next numbers from 0 to 1
 * @param longest milliseconds that the first one may live
 * @returns how often it was killed
 */
export async function killUntilDone(
  args: string[],
  next: () => number,
  longest: number,
): Promise<number> {
  for (let kills = 0;; kills++) {
    const process = startPipeline(args);
    const timer = setTimeout(() => {
      try {
        process.kill("SIGKILL");
      } catch { /* it was done already */ }
    }, 60 + next() * longest * 1.2 ** kills);
    const { signal, code, stderr } = await process.output();
    clearTimeout(timer);
    if (signal === "SIGKILL") continue;
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    return kills;
  }
}
