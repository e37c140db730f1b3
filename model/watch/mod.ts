/** The live page of a run in training, at a port of this machine. @module */
import { UserError } from "../../core/errors.ts";
import type { RunListener, StepMetrics } from "../training/mod.ts";
import type { RunStatus } from "./server.ts";
import type { WatchAnswer, WatchMessage } from "./worker.ts";

/** A live page. What it hears as a listener costs the trainer a few messages per second to another thread. */
interface Watch extends Required<Omit<RunListener, "validated">> {
  url: string;
  /** Tells all pages how the run ended, and closes. */
  close(state: RunStatus["state"], text?: string): Promise<void>;
}

/**
 * Milliseconds over which steps are sent together: on a CPU driver the other thread takes a core away
 * from the kernels whenever it wakes.
 */
const SEND_EVERY = 250;

/** How long pages have to take the last news. */
const CLOSING = 2000;

/**
 * Opens the live page of a run folder, which need not exist yet.
 * @param port of 127.0.0.1; 0 for any that is free.
 * @param onFailure hears of what breaks later; training goes on without the page.
 * @throws {UserError} where the port cannot be listened on.
 */
export async function openWatch(
  run: string,
  port: number,
  onFailure: (message: string) => void,
): Promise<Watch> {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const send = (message: WatchMessage) => worker.postMessage(message);
  const answer = () =>
    new Promise<WatchAnswer>((resolve) => {
      worker.onmessage = ({ data }: MessageEvent<WatchAnswer>) => resolve(data);
      worker.onerror = (event) => {
        event.preventDefault();
        resolve({ error: event.message, inUse: false });
      };
    });
  const opened = answer();
  send({ kind: "open", port, run });
  const first = await opened;
  if (!("port" in first)) {
    worker.terminate();
    const why = !("error" in first)
      ? "it closed at once"
      : first.inUse
      ? "something else listens there"
      : first.error;
    throw new UserError(`Cannot watch at port ${port}: ${why}; name another with --watch`);
  }
  let broken = false;
  worker.onerror = (event) => {
    event.preventDefault();
    if (!broken) onFailure(`The live page is gone: ${event.message}`);
    broken = true;
  };
  let waiting: StepMetrics[] = [];
  let sent = 0;
  const flush = () => {
    if (waiting.length) send({ kind: "steps", metrics: waiting });
    waiting = [];
    sent = performance.now();
  };
  return {
    url: `http://127.0.0.1:${first.port}/`,
    began(step, steps) {
      waiting = [];
      send({ kind: "began", step, steps });
    },
    step(metrics) {
      waiting.push(metrics);
      if (performance.now() - sent >= SEND_EVERY) flush();
    },
    sampled(samples) {
      flush();
      send({ kind: "sampled", samples });
    },
    async close(state, text) {
      if (!broken) {
        flush();
        const closed = answer();
        send({ kind: "ended", state, text });
        let timer: ReturnType<typeof setTimeout> | undefined;
        const late = new Promise<void>((resolve) => timer = setTimeout(resolve, CLOSING));
        await Promise.race([closed, late]);
        clearTimeout(timer);
      }
      worker.terminate();
    },
  };
}
