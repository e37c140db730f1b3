/**
 * The live set in memory: one bit for each record of every file, so 40 million citations take 5 MB.
 * @module
 */
import { fail, UserError } from "../../core/errors.ts";
import type { Catalogue } from "./catalogue.ts";

function unlisted(path: string, file: number): never {
  throw new UserError(
    `Cannot use the catalogue ${path}: it points at file ${file}, which it does not list; ` +
      '"pipeline verify" says what is damaged',
  );
}

/** Says of a record whether it is the live one of its PMID. */
export class LiveBits {
  readonly #bits = new Map<string, Uint8Array>();
  /** The number of live citations. */
  readonly count: number;

  constructor(catalogue: Catalogue) {
    const byNumber = new Map<number, Uint8Array>();
    for (const file of catalogue.files()) {
      // Ordinals count deletions' elements too, so there can be a few more than records.
      const bits = new Uint8Array((file.records + file.deletions + 8) >> 3);
      byNumber.set(file.number, bits);
      this.#bits.set(file.name, bits);
    }
    let count = 0;
    let current = -1;
    let bits: Uint8Array = new Uint8Array(0);
    catalogue.heldPlaces((file, ordinal) => {
      // Neighbours by PMID are of the same file mostly.
      if (file !== current) {
        bits = byNumber.get(file) ?? unlisted(catalogue.path, file);
        current = file;
      }
      bits[ordinal >> 3] = byteAt(bits, ordinal) | (1 << (ordinal & 7));
      count++;
    });
    for (const { file, ordinal } of catalogue.lowerVersions()) {
      const bits = byNumber.get(file) ?? unlisted(catalogue.path, file);
      bits[ordinal >> 3] = byteAt(bits, ordinal) & ~(1 << (ordinal & 7));
      count--;
    }
    this.count = count;
  }

  /** True where the record at `ordinal` of `source` is live. */
  isLive(source: string, _pmid: number, _version: number, ordinal: number): boolean {
    const bits = this.#bits.get(source) ?? fail(`the catalogue has no file ${source}`);
    return (byteAt(bits, ordinal) >> (ordinal & 7) & 1) === 1;
  }
}

/** The byte that has the bit of the record at `ordinal`. */
function byteAt(bits: Uint8Array, ordinal: number): number {
  return bits[ordinal >> 3] ??
    fail(`a file of ${8 * bits.length} records has no record ${ordinal}`);
}
