/** What the model's tests share. @module */
import { join } from "../../core/std.ts";
import { configOfSizes, type MambaConfig } from "../../model/config.ts";

/** A configuration small enough for float64 arithmetic in a test; odd sizes on purpose. */
export const MINIATURE: MambaConfig = configOfSizes({
  hiddenSize: 10,
  layers: 2,
  vocabSize: 21,
  stateSize: 3,
  timeStepRank: 2,
});

/** Runs `body` with a folder that is removed afterwards. */
export async function withFolder(body: (folder: string) => void | Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "pubmamba-" });
  try {
    await body(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Writes an object as JSON. */
export function writeJson(folder: string, name: string, value: unknown): void {
  Deno.writeTextFileSync(join(folder, name), JSON.stringify(value));
}
