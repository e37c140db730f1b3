/**
 * A worker: brings files into a corpus, one at a time.
 * @module
 */
import { messageOf, UserError } from "../../core/errors.ts";
import { isDiskFull } from "../../core/errors.ts";
import { runTask } from "./tasks.ts";
import type { Answer, Task } from "./worker_protocol.ts";

const scope = self as unknown as {
  onmessage: (event: MessageEvent<Task>) => void;
  postMessage(answer: Answer): void;
};

scope.onmessage = async ({ data }) => {
  try {
    scope.postMessage({ outcome: await runTask(data) });
  } catch (error) {
    scope.postMessage({
      error: messageOf(error),
      user: error instanceof UserError || isDiskFull(error),
      stack: error instanceof Error ? error.stack ?? "" : "",
    });
  }
};
