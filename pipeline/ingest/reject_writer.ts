/** `rejected/<source>.jsonl`: what was dropped of a file and why, one JSON object per line. @module */
import { type AtomicFile, openAtomic, removeIfExists } from "../../core/files.ts";
import type { DropReason } from "./policy.ts";

/** A record or document that was dropped. */
interface Reject {
  /** Null where the record has none. */
  pmid: number | null;
  version: number;
  /** The record's position in its source file. */
  ordinal: number;
  reason: DropReason;
  /** The name of an element that no record may be. */
  element?: string;
}

/** Lines are gathered up to so many characters before they go to the disk. */
const HELD_CHARACTERS = 1 << 16;

/** Writes rejects as they come, so that however many there are take no memory. */
export class RejectWriter {
  readonly #path: string;
  readonly #encoder = new TextEncoder();
  #file: AtomicFile | undefined;
  #held = "";

  /** @param path made with the first reject; where there is none, no file is left there */
  constructor(path: string) {
    this.#path = path;
  }

  /** Appends a reject. */
  add(reject: Reject): void {
    this.#held += JSON.stringify(reject) + "\n";
    if (this.#held.length >= HELD_CHARACTERS) this.#flush();
  }

  #flush(): void {
    this.#file ??= openAtomic(this.#path);
    this.#file.write(this.#encoder.encode(this.#held));
    this.#held = "";
  }

  /** Puts the file in place; where nothing was rejected, an older one goes. */
  commit(): void {
    if (this.#held !== "") this.#flush();
    if (this.#file) this.#file.commit();
    else removeIfExists(this.#path);
  }

  /** Removes what was written. Harmless after commit. */
  abort(): void {
    this.#file?.abort();
  }
}
