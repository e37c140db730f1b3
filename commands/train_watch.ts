/** `train --watch`: training with a live page beside it. @module */
import type { Invocation, OptionSpec } from "../core/cli.ts";
import { Interrupted, messageOf } from "../core/errors.ts";
import type { LoopResult, RunListener } from "../model/training/mod.ts";

/** Spread into the command's options. */
export const watchOptions = {
  watch: {
    type: "integer",
    placeholder: "PORT",
    help: "serve a live page on 127.0.0.1 at this port; 0 for any that is free",
    min: 0,
    max: 65535,
  },
} satisfies Record<string, OptionSpec>;

/** Trains, with a live page where the options ask for one; the page is told how it ended. */
export async function watched(
  invocation: Invocation,
  out: string,
  train: (listener?: RunListener) => Promise<LoopResult>,
): Promise<LoopResult> {
  const port = invocation.number("watch");
  const { reporter } = invocation;
  if (port === undefined) return await train();
  const { openWatch } = await import("../model/watch/mod.ts");
  const watch = await openWatch(out, port, (message) => reporter.log(message));
  reporter.log(`Watch at ${watch.url}`);
  try {
    const result = await train(watch);
    await watch.close(result.finished ? "finished" : "stopped");
    return result;
  } catch (error) {
    const stopped = error instanceof Interrupted;
    await watch.close(stopped ? "stopped" : "failed", stopped ? undefined : messageOf(error));
    throw error;
  }
}
