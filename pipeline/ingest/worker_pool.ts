/**
 * Web Workers that take tasks in turn. What they make depends on the task alone, so the number of
 * workers changes nothing but the time.
 * @module
 */
import { Interrupted, UserError } from "../../core/errors.ts";
import type { Answer, Task, TaskOutcome } from "./worker_protocol.ts";

/** How long workers may take to give up before they are ended wherever they are. */
const STOP_SECONDS = 0.5;

/** A fixed number of workers, started when first needed. */
export class WorkerPool {
  readonly #idle: Worker[] = [];
  readonly #all: Worker[] = [];
  readonly #waiting: ((worker: Worker) => void)[] = [];
  readonly #running = new Set<(error: Error) => void>();
  #closed = false;
  #ending: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param size how many there are at most
   * @param script what each runs
   */
  constructor(
    readonly size: number,
    readonly script: URL = new URL("./worker.ts", import.meta.url),
  ) {}

  /** Runs a task on the next free worker. @throws what the task threw. */
  async run(task: Task): Promise<TaskOutcome> {
    const worker = await this.#take();
    let fail: (error: Error) => void = () => {};
    try {
      return await new Promise<TaskOutcome>((resolve, reject) => {
        if (this.#closed) return reject(new Interrupted("Stopped"));
        this.#running.add(fail = reject);
        worker.onmessage = ({ data }: MessageEvent<Answer>) => {
          if ("outcome" in data) return resolve(data.outcome);
          if (data.interrupted) return reject(new Interrupted("Stopped"));
          const error = data.user ? new UserError(data.error) : new Error(data.error);
          if (!data.user) error.stack = data.stack;
          reject(error);
        };
        worker.onerror = (event) => {
          event.preventDefault();
          reject(new Error(`A worker failed: ${event.message}`));
        };
        worker.postMessage(task);
      });
    } finally {
      this.#running.delete(fail);
      const next = this.#waiting.shift();
      if (next) next(worker);
      else this.#idle.push(worker);
    }
  }

  #take(): Promise<Worker> | Worker {
    const idle = this.#idle.pop();
    if (idle) return idle;
    if (this.#all.length < this.size) {
      const worker = new Worker(this.script, { type: "module" });
      this.#all.push(worker);
      return worker;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Ends the workers that are idle, for the memory that they hold; a later task starts new ones. */
  release(): void {
    for (const worker of this.#idle.splice(0)) {
      worker.terminate();
      this.#all.splice(this.#all.indexOf(worker), 1);
    }
  }

  /**
   * Tells the workers to give up what they are doing; their tasks end in {@linkcode Interrupted}. A
   * worker in a long computation does not hear it, and is ended after half a second: what it was
   * writing has not got its name yet, and the next run begins it anew.
   */
  stop(): void {
    this.#closed = true;
    for (const worker of this.#all) worker.postMessage("stop");
    this.#ending ??= setTimeout(() => this.#end(), STOP_SECONDS * 1000);
  }

  #end(): void {
    clearTimeout(this.#ending);
    for (const worker of this.#all.splice(0)) worker.terminate();
    for (const fail of [...this.#running]) fail(new Interrupted("Stopped"));
  }

  /** Stops the workers and ends them, those that do not stop after a while too. */
  async close(): Promise<void> {
    this.stop();
    const end = performance.now() + STOP_SECONDS * 1000;
    while (this.#running.size > 0 && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    this.#end();
  }
}
