/** A run's checkpoints: written while it goes on where that can be, and kept as many as wanted. @module */
import { BackgroundSave, CheckpointThread } from "./background_save.ts";
import { listCheckpoints, pruneCheckpoints, type TrainerState } from "./checkpoint.ts";
import { saveCheckpoint } from "./checkpoint_writer.ts";
import type { TrainableModel } from "../mamba/types.ts";

/** What {@linkcode RunSaver} takes. */
export interface SaverOptions {
  /** The run folder. */
  run: string;
  model: TrainableModel;
  /** The last so many are kept, and the best. */
  keep: number;
  /** Where the run stands now. */
  state: () => TrainerState;
  /** Files that go into each checkpoint besides weights and state. */
  tokenizer?: Uint8Array;
  card?: (state: TrainerState) => string;
  /** Makes durable what a checkpoint counts on. */
  sync: () => void;
}

/** Saves a run; one checkpoint at a time. */
export class RunSaver {
  readonly #options: SaverOptions;
  #saved: { step: number; path: string } | undefined;
  #saving: BackgroundSave | undefined;
  #thread: CheckpointThread | undefined;
  #time = performance.now();

  constructor(options: SaverOptions) {
    this.#options = options;
    this.restored(options.state().step);
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

  /** Saves where the run stands, which is settled, and waits for it. */
  async save(): Promise<void> {
    await this.#finish();
    const { run, model, sync } = this.#options;
    const state = this.#options.state();
    this.#time = performance.now();
    if (this.#saved?.step === state.step) return;
    sync();
    this.#keep(state.step, await saveCheckpoint(run, model, state, this.#extras()));
    this.#time = performance.now();
  }

  /**
   * Begins to save where the run stands while it goes on.
   * @param settled whether the step has turned out to be good; else {@linkcode settle} says so.
   * @returns false where the model cannot keep its tensors aside.
   */
  async begin(settled: boolean): Promise<boolean> {
    await this.#finish(); // one at a time
    const { run, model } = this.#options;
    const state = this.#options.state();
    this.#time = performance.now();
    if (this.#saved?.step === state.step) return true;
    const snapshot = await model.snapshot?.();
    if (!snapshot) return false;
    this.#thread ??= new CheckpointThread();
    const contents = { config: model.config, ...this.#extras() };
    this.#saving = new BackgroundSave(this.#thread, snapshot, run, state.step, contents);
    if (settled) this.#saving.settle(state);
    return true;
  }

  /** A step has turned out to be good: a checkpoint of it may be finished. */
  settle(step: number): void {
    if (this.#saving?.step === step) this.#saving.settle(this.#options.state());
  }

  /** Has the device hand over the next piece of a checkpoint under way. */
  feed(): Promise<void> | undefined {
    return this.#saving?.feed();
  }

  /** Takes the checkpoint under way further, if its step has turned out to be good. */
  async advance(): Promise<void> {
    const saving = this.#saving;
    if (!saving) return;
    const path = await saving.advance(this.#options.sync);
    if (path === undefined) return;
    this.#saving = undefined;
    this.#keep(saving.step, path);
  }

  /** After a step that has failed: gives up a checkpoint of it, and waits for one of a step before. */
  async giveUp(failed: number): Promise<void> {
    const saving = this.#saving;
    if (!saving) return;
    if (saving.step < failed) return await this.#finish();
    await this.abort();
  }

  /** Gives up the checkpoint under way. */
  async abort(): Promise<void> {
    const saving = this.#saving;
    this.#saving = undefined;
    await saving?.abort();
  }

  /** Ends the thread that writes. */
  close(): void {
    this.#thread?.close();
  }

  /** Waits for the checkpoint under way; its step has been settled. */
  async #finish(): Promise<void> {
    const saving = this.#saving;
    if (!saving) return;
    const path = await saving.drain(this.#options.sync);
    this.#saving = undefined;
    this.#keep(saving.step, path);
  }

  #extras(): { tokenizer?: Uint8Array; card?: string } {
    const { tokenizer, card, state } = this.#options;
    return { tokenizer, card: card?.(state()) };
  }

  /** A checkpoint is on the disk. */
  #keep(step: number, path: string): void {
    const { run, keep, state } = this.#options;
    this.#saved = { step, path };
    pruneCheckpoints(run, keep, state().best?.step);
  }
}
