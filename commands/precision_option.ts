/** The option `--precision` of commands that compute a model without a run's configuration. @module */
import type { Invocation, OptionSpec } from "../core/cli.ts";
import type { Precision } from "../model/mamba/mamba.ts";

/** f32, or f16 where it is exact enough. */
export const precisionOption = {
  type: "string",
  help: "f32; or mixed: weights and activations in f16 where products use them, sums in f32",
  choices: ["f32", "mixed"],
} satisfies OptionSpec;

/** What the option says. */
export const precisionOf = (invocation: Pick<Invocation, "string">): Precision =>
  invocation.string("precision") === "mixed" ? "mixed" : "f32";
