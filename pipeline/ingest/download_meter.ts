/** How far downloads are, and how fast: the figures behind the bar of a run. @module */

/** The speed is that of the last so many seconds, so that it follows the network. */
const WINDOW_SECONDS = 5;

/** The figures at one moment. */
export interface DownloadFigures {
  /** Bytes that came over the network in this run. */
  bytes: number;
  /** Of the last seconds. */
  bytesPerSecond: number;
  /** The sum over files of the share of each that is here: 2.5 is two files and half of a third. */
  files: number;
}

/** Counts what comes. */
export class DownloadMeter {
  readonly #now: () => number;
  /** By file: the bytes that are here, and the share of the file that they are. */
  readonly #files = new Map<string, { size: number; share: number }>();
  #bytes = 0;
  #whole = 0;
  /** Moments with the bytes until then, the oldest first. */
  #course: { at: number; bytes: number }[] = [];

  /** @param now milliseconds, as `performance.now` */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /**
   * Takes in how much of a file is here. What a run finds from an earlier one counts as a part of the
   * file but not as bytes that came: the first call for a file says where it begins.
   * @param total undefined where the server does not say
   */
  update(name: string, size: number, total: number | undefined): void {
    const before = this.#files.get(name);
    const came = before === undefined ? 0 : Math.max(0, size - before.size);
    this.#bytes += came;
    this.#files.set(name, { size, share: total ? Math.min(1, size / total) : 0 });
    const at = this.#now();
    // A tenth of a second is as fine as a display needs.
    const last = this.#course.at(-1);
    if (!last || at - last.at >= 100) this.#course.push({ at, bytes: this.#bytes });
    const since = at - WINDOW_SECONDS * 1000;
    while (this.#course.length > 2 && (this.#course[1]?.at ?? at) <= since) this.#course.shift();
  }

  /** The file is here as a whole. */
  finished(name: string): void {
    this.#files.delete(name);
    this.#whole++;
  }

  /** What to show now. */
  get figures(): DownloadFigures {
    const first = this.#course[0];
    const seconds = first ? (this.#now() - first.at) / 1000 : 0;
    let files = this.#whole;
    for (const { share } of this.#files.values()) files += share;
    return {
      bytes: this.#bytes,
      bytesPerSecond: first && seconds > 0 ? (this.#bytes - first.bytes) / seconds : 0,
      files,
    };
  }
}
