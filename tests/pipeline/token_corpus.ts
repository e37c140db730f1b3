/** Small invented corpora of token files, for tests. @module */
import { join } from "../../core/std.ts";
import { hashFile } from "../../core/files.ts";
import { loadTokenizer, trainTokenizer } from "../../pipeline/tokenizer/mod.ts";
import {
  buildShards,
  type Manifest,
  type ShardOptions,
  type TokenizableDocument,
  writeTokenFile,
} from "../../pipeline/shards/mod.ts";
import { assertEquals } from "../assert.ts";

const WORDS = "Metformin lowers glucose in adults with diabetes and renal disease after trials"
  .split(" ");
const SEED = 11;
export const LENGTH = 32;

/** Texts of 2 to 10 words, some of 150. */
export function textOf(pmid: number): string {
  const length = pmid % 41 === 0 ? 150 : 2 + pmid % 9;
  return Array.from({ length }, (_, i) => WORDS[(pmid * 7 + i * i) % WORDS.length]).join(" ");
}

/** A corpus folder with token files. */
export class Corpus {
  readonly folder = Deno.makeTempDirSync();
  readonly tokenizer;
  readonly documents = new Map<number, { source: string; text: string }>();
  readonly tokenFiles: ShardOptions["tokenFiles"] = [];

  constructor(endOfTextLast = false) {
    const json = trainTokenizer([WORDS.join(" ").repeat(3)], 330);
    if (endOfTextLast) {
      // Nothing may assume that end of text is 0.
      delete json.model.vocab["<|endoftext|>"];
      (json.added_tokens as { id: number }[])[0]!.id = 330;
    }
    Deno.writeTextFileSync(join(this.folder, "given.json"), JSON.stringify(json));
    this.tokenizer = loadTokenizer(join(this.folder, "given.json"));
  }

  add(
    source: string,
    from: number,
    to: number,
    dead: (pmid: number) => boolean = () => false,
    makeText = textOf,
  ) {
    const all: TokenizableDocument[] = [];
    for (let pmid = from; pmid < to; pmid++) {
      const text = makeText(pmid);
      all.push({ pmid, version: 1, ordinal: pmid - from, text });
      if (!dead(pmid)) this.documents.set(pmid, { source, text });
    }
    const path = join(this.folder, "tokens", `${source}.tokens`);
    const written = writeTokenFile(path, source, all, this.tokenizer, SEED);
    assertEquals(written.documents, all.length);
    this.tokenFiles.push({ source, path });
  }

  build(more: Partial<ShardOptions> = {}): Promise<Manifest> {
    const { documents } = this;
    return buildShards({
      corpus: this.folder,
      tokenFiles: this.tokenFiles,
      tokenizer: this.tokenizer,
      live: { isLive: (source, pmid) => documents.get(pmid)?.source === source },
      sequenceLength: LENGTH,
      seed: SEED,
      validation: 0.1,
      test: 0.1,
      sourceFiles: this.tokenFiles.map(({ source }) => ({ name: source, md5: `md5 of ${source}` })),
      window: 100,
      maxShardBytes: 6_000,
      ...more,
    });
  }

  /** Path -> hash of everything under shards/. */
  hashes(): Record<string, string> {
    const found: Record<string, string> = {};
    const walk = (folder: string) => {
      for (const entry of Deno.readDirSync(folder)) {
        const path = join(folder, entry.name);
        if (entry.isDirectory) walk(path);
        else found[path.slice(this.folder.length)] = hashFile(path);
      }
    };
    walk(join(this.folder, "shards"));
    return found;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}

/** Two token files of 1,299 documents; PMIDs 5, 10, 15 ... of the first are not live. */
export function standard(endOfTextLast = false): Corpus {
  const corpus = new Corpus(endOfTextLast);
  corpus.add("pubmed26n0001", 1, 900, (pmid) => pmid % 5 === 0);
  corpus.add("pubmed26n0002", 900, 1300);
  return corpus;
}
