/** A run's checkpoints: written while it goes on where that can be, and as many kept as wanted. @module */
import type { Ranks } from "../../core/mpi/ranks.ts";
import type { TrainableModel } from "../mamba/mod.ts";
import { BackgroundSave, CheckpointThread } from "./background_save.ts";
import {
  checkpointPath,
  listCheckpoints,
  pruneCheckpoints,
  type TrainerState,
} from "./checkpoint.ts";
import { joinCheckpoint, saveCheckpoint } from "./checkpoint_writer.ts";

/** What {@linkcode RunSaver} takes. */
interface SaverOptions {
  /** The run folder. */
  run: string;
  model: TrainableModel;
  /** How many of the last checkpoints are kept, besides the best. */
  keep: number;
  /** The tokenizer.json that goes into each checkpoint. */
  tokenizer?: Uint8Array;
  /** The model card that goes into the checkpoint of a state. */
  card?: (state: TrainerState) => string;
  /** Makes durable what a checkpoint counts on. */
  sync: () => void;
  /**
   * Whether this process is the one that writes; the others hand over what they have, and note which
   * checkpoints there are.
   */
  writes: boolean;
  /** The ranks that share the run, each of which calls every method that returns a promise. */
  ranks: Ranks | undefined;
}

/** A checkpoint that is being written while training goes on. */
interface Going {
  save: BackgroundSave;
  state: TrainerState;
}

/** Saves a run; one checkpoint at a time. */
export class RunSaver {
  readonly #options: SaverOptions;
  #saved: { step: number; path: string } | undefined;
  #going: Going | undefined;
  /** A piece on its way from the device to the thread that writes. */
  #piece: Promise<void> | undefined;
  #thread: CheckpointThread | undefined;
  #time = performance.now();

  /** @param step where the run stands: at a checkpoint's step, or at its start. */
  constructor(options: SaverOptions, step: number) {
    this.#options = options;
    this.restored(step);
  }

  /** The newest checkpoint that counts. */
  get saved(): { step: number; path: string } | undefined {
    return this.#saved;
  }

  /** Milliseconds since the last one was begun. */
  get age(): number {
    return performance.now() - this.#time;
  }

  /** The run stands where a checkpoint has it: that of `step`, or none. */
  restored(step: number): void {
    this.#saved = listCheckpoints(this.#options.run).find((c) => c.step === step);
  }

  /** Saves where the run stands, and waits for it. Returns the checkpoint's path. */
  async save(state: TrainerState): Promise<string> {
    await this.finish();
    this.#time = performance.now();
    if (this.#saved?.step === state.step) return this.#saved.path;
    const { run, model, sync, writes } = this.#options;
    if (!writes) {
      await joinCheckpoint(model);
      return this.#note(state);
    }
    sync();
    const path = await saveCheckpoint(run, model, state, this.#extras(state));
    this.#keep(state, path);
    this.#time = performance.now();
    return path;
  }

  /**
   * Begins to save where the run stands while it goes on.
   * @returns false where the model cannot keep its tensors aside, so that {@linkcode save} has to wait.
   */
  async saveInBackground(state: TrainerState): Promise<boolean> {
    await this.finish(); // one at a time
    this.#time = performance.now();
    if (this.#saved?.step === state.step) return true;
    const { run, model, writes, ranks } = this.#options;
    const snapshot = await model.snapshot?.();
    if (!snapshot) return false;
    if (writes) this.#thread ??= new CheckpointThread();
    const contents = { config: model.config, ...this.#extras(state) };
    const kept = { ...state };
    const way = { thread: this.#thread, ranks };
    const save = new BackgroundSave(way, snapshot, run, kept, contents);
    this.#going = { save, state: kept };
    return true;
  }

  /**
   * Has the device hand over the next piece of a checkpoint under way. The best moment is when the
   * device has come to the end of a step. What fails is thrown by the next {@linkcode advance}.
   */
  readPiece(): void {
    this.#piece ??= this.#going?.save.readPiece();
  }

  /** Takes the checkpoint under way further: to its name, once all its pieces are written. */
  async advance(): Promise<void> {
    await this.#pieceRead();
    const going = this.#going;
    const path = await going?.save.advance(this.#options.sync);
    if (going && path !== undefined) this.#completed(going, path);
  }

  /** Waits for the checkpoint under way. */
  async finish(): Promise<void> {
    await this.#pieceRead();
    const going = this.#going;
    if (going) this.#completed(going, await going.save.drain(this.#options.sync));
  }

  /** Gives up the checkpoint under way. */
  async abort(): Promise<void> {
    await this.#pieceRead();
    const going = this.#going;
    this.#going = undefined;
    await going?.save.abort();
  }

  /** Ends the thread that writes. */
  close(): void {
    this.#thread?.close();
  }

  async #pieceRead(): Promise<void> {
    await this.#piece;
    this.#piece = undefined;
  }

  #extras(state: TrainerState): { tokenizer?: Uint8Array; card?: string } {
    const { tokenizer, card } = this.#options;
    return { tokenizer, card: card?.(state) };
  }

  #completed({ state }: Going, path: string): void {
    this.#going = undefined;
    if (this.#options.writes) this.#keep(state, path);
    else this.#note(state);
  }

  /** Another rank has this state's checkpoint. Returns its path. */
  #note({ step }: TrainerState): string {
    const path = checkpointPath(this.#options.run, step);
    this.#saved = { step, path };
    return path;
  }

  /** A checkpoint is on the disk. */
  #keep({ step, best }: TrainerState, path: string): void {
    const { run, keep } = this.#options;
    this.#saved = { step, path };
    pruneCheckpoints(run, keep, best?.step);
  }
}
