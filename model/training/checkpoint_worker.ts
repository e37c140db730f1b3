/**
 * Writes checkpoints on a thread of its own, from the bytes that the trainer reads off the device: the
 * layout of the device is undone, files are written, synced and hashed here, while steps go on.
 * @module
 */
import { fail, UserError } from "../../core/errors.ts";
import type { TrainerState } from "./checkpoint.ts";
import { checkpointTensors } from "../mamba/checkpoint_tensors.ts";
import { type CheckpointContents, CheckpointWriter } from "./checkpoint_writer.ts";
import { layoutOf, type Placement } from "../mamba/gpu/placement.ts";

/** What the trainer sends: one "begin", then pieces, then "finish" or "abort". */
export type SaveMessage =
  | { kind: "begin"; run: string; step: number; contents: CheckpointContents }
  | { kind: "piece"; bytes: ArrayBuffer }
  | { kind: "finish"; state: TrainerState }
  | { kind: "abort" };

/**
 * What the thread answers: "took" to each piece, "saved" to "finish", "aborted" to "abort"; and
 * "failed" to whatever it could not do.
 */
export type SaveAnswer =
  | { kind: "took" }
  | { kind: "saved"; path: string }
  | { kind: "aborted" }
  | { kind: "failed"; message: string; user: boolean };

interface WorkerScope {
  onmessage: ((event: MessageEvent<SaveMessage>) => void) | null;
  postMessage(answer: SaveAnswer): void;
}

/** The checkpoint at hand, and the tensor that is being put together. */
class Assembly {
  readonly writer: CheckpointWriter;
  readonly #layouts: Pick<Placement, "floats" | "unpack">[];
  #tensor = 0;
  #block: Uint8Array<ArrayBuffer> | undefined;
  #filled = 0;

  constructor(run: string, step: number, contents: CheckpointContents) {
    this.writer = new CheckpointWriter(run, step, contents);
    this.#layouts = checkpointTensors(contents.config, contents.average)
      .map(({ parameter }) => layoutOf(contents.config, parameter));
  }

  take(bytes: Uint8Array<ArrayBuffer>): void {
    for (let at = 0; at < bytes.length;) {
      const { floats, unpack } = this.#layouts[this.#tensor] ??
        fail("more bytes than a checkpoint has");
      const block = this.#block ??= new Uint8Array(4 * floats);
      const part = bytes.subarray(at, at + block.length - this.#filled);
      block.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled < block.length) return;
      this.writer.add(unpack(new Float32Array(block.buffer)));
      this.#block = undefined;
      this.#filled = 0;
      this.#tensor++;
    }
  }
}

const scope = self as unknown as WorkerScope;
let assembly: Assembly | undefined;

scope.onmessage = ({ data }) => {
  try {
    if (data.kind === "begin") assembly = new Assembly(data.run, data.step, data.contents);
    else if (data.kind === "piece") {
      assembly?.take(new Uint8Array(data.bytes));
      scope.postMessage({ kind: "took" });
    } else if (data.kind === "finish") {
      // Where writing has failed before, the trainer was told so already.
      if (assembly) scope.postMessage({ kind: "saved", path: assembly.writer.finish(data.state) });
      assembly = undefined;
    } else {
      assembly?.writer.abort();
      assembly = undefined;
      scope.postMessage({ kind: "aborted" });
    }
  } catch (error) {
    assembly?.writer.abort();
    assembly = undefined;
    scope.postMessage({
      kind: "failed",
      message: error instanceof Error ? error.message : String(error),
      user: error instanceof UserError,
    });
  }
};
