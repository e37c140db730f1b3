/**
 * Saving a checkpoint while training goes on: the model keeps its tensors aside on the device, a piece
 * of them comes to the host with each step, and a thread of its own writes them.
 *
 * The folder gets its name only when everything is written and synced. A process that is killed at any
 * moment leaves the checkpoint before; a resumed run repeats the steps after it, to the same bytes.
 * @module
 */
import { UserError } from "../../core/errors.ts";
import type { Ranks } from "../../core/mpi/ranks.ts";
import { checkpointPath, type TrainerState } from "./checkpoint.ts";
import type { CheckpointContents } from "./checkpoint_writer.ts";
import type { SaveAnswer, SaveMessage } from "./checkpoint_worker.ts";
import type { ModelSnapshot } from "../mamba/mod.ts";

/** How many pieces may be on their way to the file, since each takes memory of the host. */
const MOST_PIECES = 2;

/** The thread that writes checkpoints, for as long as a run lasts. */
export class CheckpointThread {
  readonly #worker = new Worker(new URL("./checkpoint_worker.ts", import.meta.url), {
    type: "module",
    name: "checkpoints",
  });
  #pieces = 0;
  #failure: Error | undefined;
  #saved: string | undefined;
  #aborted = false;
  #wake: (() => void) | undefined;

  constructor() {
    this.#worker.onmessage = ({ data }: MessageEvent<SaveAnswer>) => {
      if (data.kind === "took") this.#pieces--;
      else if (data.kind === "saved") this.#saved = data.path;
      else if (data.kind === "aborted") this.#aborted = true;
      else this.#failure = data.user ? new UserError(data.message) : new Error(data.message);
      this.#wake?.();
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#failure = new Error(`Checkpoints cannot be written: ${event.message}`);
      this.#wake?.();
    };
  }

  /** Sends a message and gives the bytes of a piece away. @throws what writing has failed with. */
  send(message: SaveMessage): void {
    if (this.#failure) throw this.#failure;
    if (message.kind === "begin") {
      this.#saved = undefined;
      this.#pieces = 0;
    }
    if (message.kind === "piece") this.#pieces++;
    this.#worker.postMessage(message, message.kind === "piece" ? [message.bytes] : []);
  }

  /** Whether no more pieces may be sent for now. */
  get full(): boolean {
    if (this.#failure) throw this.#failure;
    return this.#pieces >= MOST_PIECES;
  }

  /** The path of what was finished, once it is written. @throws what writing has failed with. */
  get saved(): string | undefined {
    if (this.#failure) throw this.#failure;
    return this.#saved;
  }

  /** Waits until `done` holds, as messages come in. */
  async until(done: () => boolean): Promise<void> {
    while (!done()) await new Promise<void>((resolve) => this.#wake = resolve);
  }

  /** Gives up what was begun, and removes it. */
  async abort(): Promise<void> {
    if (this.#failure) return;
    this.#aborted = false;
    this.send({ kind: "abort" });
    await this.until(() => this.#aborted || this.#failure !== undefined);
    this.#pieces = 0;
  }

  close(): void {
    this.#worker.terminate();
  }
}

/** Where a checkpoint goes: to the thread of the process that writes, from all ranks where there are any. */
interface SaveWay {
  /** Of the process that writes. */
  thread: CheckpointThread | undefined;
  /** Each has a {@linkcode BackgroundSave}, and all call `advance` and `drain` at the same places. */
  ranks: Ranks | undefined;
}

/** One checkpoint on its way. */
export class BackgroundSave {
  readonly #way: SaveWay;
  readonly #snapshot: ModelSnapshot;
  readonly #state: TrainerState;
  readonly #path: string;
  #read = false;
  #finished = false;
  #failure: unknown;
  /** What this rank has of a piece that was read and not yet put together. */
  #own: ArrayBuffer | undefined;

  /** Begins the checkpoint of a state, whose tensors `snapshot` keeps. */
  constructor(
    way: SaveWay,
    snapshot: ModelSnapshot,
    run: string,
    state: TrainerState,
    contents: Omit<CheckpointContents, "average">,
  ) {
    this.#way = way;
    this.#snapshot = snapshot;
    this.#state = state;
    this.#path = checkpointPath(run, state.step);
    const { average } = snapshot;
    way.thread?.send({ kind: "begin", run, step: state.step, contents: { ...contents, average } });
  }

  /**
   * Reads a piece and sends it off, where there is one and room for it; of several ranks it is kept for
   * `advance`, as nothing may be sent between them but at the same place of every rank. Never rejects:
   * what fails is thrown by the next `advance`.
   */
  async readPiece(): Promise<void> {
    const { thread, ranks } = this.#way;
    try {
      if (this.#read || this.#own || (!ranks && thread?.full)) return;
      const bytes = await this.#snapshot.read();
      if (!bytes) this.#read = true;
      else if (ranks) this.#own = bytes;
      else thread?.send({ kind: "piece", bytes });
    } catch (error) {
      this.#failure ??= error;
    }
  }

  /** Has the ranks put a piece together, where there is one and rank 0 has room for it. */
  async #handOver(ranks: Ranks): Promise<void> {
    if (!this.#own) await this.readPiece();
    if (this.#failure !== undefined) throw this.#failure;
    const own = this.#own;
    if (!own) return;
    const { thread } = this.#way;
    const room = Uint8Array.of(thread?.full ? 0 : 1);
    await ranks.broadcast(room);
    if (!room[0]) return;
    this.#own = undefined;
    const bytes = await this.#snapshot.join?.(own);
    if (bytes) thread?.send({ kind: "piece", bytes });
  }

  /**
   * Once all is read, has the checkpoint finished; `sync` makes durable what a checkpoint counts on.
   * Returns the path once it is saved; on a rank that does not write, once it has given all it has.
   * @throws {UserError} where writing failed.
   */
  async advance(sync: () => void): Promise<string | undefined> {
    const { thread, ranks } = this.#way;
    if (ranks && !this.#finished) await this.#handOver(ranks);
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#read && !this.#own && !this.#finished) {
      this.#finished = true;
      if (thread) sync();
      const lossScale = await this.#snapshot.lossScale();
      this.#snapshot.destroy();
      thread?.send({ kind: "finish", state: { ...this.#state, lossScale } });
    }
    if (!thread) return this.#finished ? this.#path : undefined;
    return thread.saved;
  }

  /** Reads and writes all that is left. Returns the path. */
  async drain(sync: () => void): Promise<string> {
    const { thread, ranks } = this.#way;
    while (!this.#finished) {
      await thread?.until(() => !thread.full);
      if (!ranks) await this.readPiece();
      await this.advance(sync);
    }
    for (;;) {
      const path = await this.advance(sync);
      if (path !== undefined) return path;
      await thread?.until(() => thread.saved !== undefined);
    }
  }

  /** Gives it up. */
  async abort(): Promise<void> {
    this.#snapshot.destroy();
    await this.#way.thread?.abort();
  }
}
