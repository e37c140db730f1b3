/**
 * A worker: brings files into a corpus, one at a time.
 * @module
 */
import { Interrupted, isDiskFull, messageOf, UserError } from "../../core/errors.ts";
import { runTask } from "./tasks.ts";
import type { Answer, Task } from "./worker_protocol.ts";

const scope = self as unknown as {
  onmessage: (event: MessageEvent<Task | "stop">) => void;
  postMessage(answer: Answer): void;
};
const stop = new AbortController();

scope.onmessage = async ({ data }) => {
  if (data === "stop") return stop.abort();
  try {
    scope.postMessage({ outcome: await runTask(data, stop.signal) });
  } catch (error) {
    scope.postMessage({
      error: messageOf(error),
      user: error instanceof UserError || isDiskFull(error),
      interrupted: error instanceof Interrupted,
      stack: error instanceof Error ? error.stack ?? "" : "",
    });
  }
};
