/**
 * What a citation is, beside its text: year, journal and MeSH headings of all live citations, found
 * by PMID. Names are kept once, so that all of PubMed takes about 2 GB.
 * @module
 */
import { exists } from "../core/files.ts";
import { breathe } from "../core/breathe.ts";
import { LiveBits } from "./catalogue/live_set.ts";
import { readCatalogue } from "./corpus.ts";
import { corpusPaths } from "./corpus_paths.ts";
import { type CitationColumns } from "./shards/mod.ts";
import { ParquetReader } from "./documents/parquet_file.ts";

interface Row {
  ordinal: number;
  pmid: number;
  version: number;
  journal: string;
  published: { iso: string };
  mesh: { name: string }[];
}

const COLUMNS = ["ordinal", "pmid", "version", "journal", "published", "mesh"];
const NOTHING: CitationColumns = { year: null, journal: "", mesh: [] };

/** Names with their numbers. */
class Names {
  readonly #numbers = new Map<string, number>();
  readonly #names: string[] = [];

  number(name: string): number {
    const known = this.#numbers.get(name);
    if (known !== undefined) return known;
    this.#numbers.set(name, this.#names.length);
    return this.#names.push(name) - 1;
  }

  name(number: number): string {
    return this.#names[number] ?? "";
  }
}

/** The columns of a corpus's live citations. */
export class CitationTable {
  /** Of each PMID: the place of its numbers in `#numbers`, and 0 where it has none. */
  #places = new Uint32Array(1 << 16);
  /** One after the other: year, journal, how many headings there are, the headings. */
  #numbers = new Uint32Array(1 << 16);
  #used = 1;
  readonly #names = new Names();

  /**
   * Reads the columns of all live citations; undefined for a corpus that has no citations.
   * @throws {UserError} where documents are damaged
   */
  static async open(corpus: string): Promise<CitationTable | undefined> {
    if (!exists(corpusPaths.catalogue(corpus))) return undefined;
    const table = new CitationTable();
    const catalogue = readCatalogue(corpus);
    try {
      const live = new LiveBits(catalogue);
      for (const { name } of catalogue.files()) {
        const reader = new ParquetReader(corpusPaths.documents(corpus, name));
        try {
          let at = 0;
          for (const count of await reader.groups()) {
            for (const row of await reader.rows<Row>(at, at + count, COLUMNS)) {
              if (live.isLive(name, row.pmid, row.version, row.ordinal)) table.#add(row);
            }
            at += count;
            await breathe();
          }
        } finally {
          reader.close();
        }
      }
    } finally {
      catalogue.close();
    }
    return table;
  }

  #add({ pmid, journal, published, mesh }: Row): void {
    this.#places = grown(this.#places, pmid + 1);
    this.#numbers = grown(this.#numbers, this.#used + 3 + mesh.length);
    this.#places[pmid] = this.#used;
    const year = Number(published.iso.slice(0, 4)) || 0;
    const headings = mesh.map((m) => this.#names.number(m.name));
    const own = [year, this.#names.number(journal), headings.length, ...headings];
    this.#numbers.set(own, this.#used);
    this.#used += own.length;
  }

  /** The columns of a citation; empty ones where it is not live. */
  of(pmid: number): CitationColumns {
    const at = this.#places[pmid] ?? 0;
    if (at === 0) return NOTHING;
    const [year = 0, journal = 0, count = 0] = this.#numbers.subarray(at, at + 3);
    const headings = this.#numbers.subarray(at + 3, at + 3 + count);
    return {
      year: year === 0 ? null : year,
      journal: this.#names.name(journal),
      mesh: Array.from(headings, (n) => this.#names.name(n)),
    };
  }
}

function grown(array: Uint32Array<ArrayBuffer>, needed: number): Uint32Array<ArrayBuffer> {
  if (needed <= array.length) return array;
  const larger = new Uint32Array(Math.max(needed, Math.ceil(array.length * 1.5)));
  larger.set(array);
  return larger;
}
