/** A corpus's documents in the formats of other trainers. @module */
import type { SchemaElement } from "hyparquet";
import { join } from "../../core/std.ts";
import { type AtomicFile, openAtomic, refuseForeign } from "../../core/files.ts";
import { Interrupted } from "../../core/errors.ts";
import { ParquetFile } from "../documents/parquet_file.ts";
import { loadTokenizer } from "../tokenizer/mod.ts";
import { breathe } from "../../core/breathe.ts";
import { readManifest, tokenizerPath } from "./manifest.ts";
import { bytesOf } from "./npy.ts";
import { type Split, SPLITS } from "./order.ts";
import { type PackedDocument, packedDocuments } from "./packed_documents.ts";

/**
 * `jsonl`: `<split>.jsonl`, one object per document: id, version, source, text.
 * `megatron`: `<split>.bin` and `<split>.idx`, Megatron-LM's indexed dataset, a document each
 * sequence, end of text after it; needs the corpus's tokenizer.json.
 * `hf-dataset`: `data/<split>-00000.parquet` with the same columns, which `load_dataset` reads; of
 * citations also year, journal and the names of the MeSH headings.
 */
export type ExportFormat = "jsonl" | "megatron" | "hf-dataset";
/** The formats. */
export const EXPORT_FORMATS: readonly ExportFormat[] = ["jsonl", "megatron", "hf-dataset"];

/** What a citation is, beside its text. */
export interface CitationColumns {
  /** Of publication; null where it is not known. */
  year: number | null;
  /** "" where it is not known. */
  journal: string;
  /** The names of its MeSH headings. */
  mesh: string[];
}

/** Knows the columns of citations by PMID. */
export interface CitationSource {
  of(pmid: number): CitationColumns;
}

/** How an export goes on. */
export interface ExportOptions {
  /** What goes into a hf-dataset besides the text; a corpus of texts has none. */
  citations?: CitationSource | undefined;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** Names that an export gives, half-written ones too: an export may be made again in its place. */
const OWN_NAMES = /^((train|validation|test)\.(jsonl|bin|idx)(\.partial)?|data)$/;

/** What an export wrote. */
interface ExportSummary {
  documents: Record<Split, number>;
  tokens: number;
  files: string[];
}

/** Takes the documents of one split. */
interface Sink {
  readonly files: string[];
  add(document: PackedDocument, text: () => string): void;
  commit(): void;
  abort(): void;
}

/**
 * Writes the documents that the shards hold into the folder `out`. A split without documents gives
 * no file.
 * @throws {UserError} where the corpus has no shards or they are damaged
 * @throws {Interrupted} where the signal fires
 */
export async function exportDocuments(
  corpus: string,
  format: ExportFormat,
  out: string,
  options: ExportOptions = {},
): Promise<ExportSummary> {
  const manifest = readManifest(corpus);
  refuseForeign(out, "an export", (name) => OWN_NAMES.test(name));
  const { citations } = options;
  const tokenizer = loadTokenizer(tokenizerPath(corpus));
  const total = SPLITS.reduce((n, s) => n + manifest.splits[s].documents, 0);
  const summary: ExportSummary = {
    documents: { train: 0, validation: 0, test: 0 },
    tokens: 0,
    files: [],
  };
  let done = 0;
  for (const split of SPLITS) {
    if (manifest.splits[split].documents === 0) continue;
    const sink = openSink(format, out, split, manifest.end_of_text, citations);
    try {
      for await (const document of packedDocuments(corpus, split)) {
        sink.add(document, () => tokenizer.decode(document.tokens));
        summary.documents[split]++;
        summary.tokens += document.tokens.length;
        if (++done % 1000 === 0) {
          await breathe();
          if (options.signal?.aborted) throw new Interrupted("Stopped while exporting");
          options.onProgress?.(done, total);
        }
      }
      sink.commit();
    } catch (error) {
      sink.abort();
      throw error;
    }
    summary.files.push(...sink.files);
  }
  return summary;
}

function openSink(
  format: ExportFormat,
  out: string,
  split: Split,
  endOfText: number,
  citations: CitationSource | undefined,
): Sink {
  if (format === "jsonl") return new JsonLines(join(out, `${split}.jsonl`));
  if (format === "megatron") return new Megatron(join(out, split), endOfText);
  return new Dataset(join(out, "data", `${split}-00000.parquet`), citations);
}

class JsonLines implements Sink {
  readonly files: string[];
  readonly #file: AtomicFile;
  #waiting = "";

  constructor(path: string) {
    this.files = [path];
    this.#file = openAtomic(path);
  }
  add({ pmid, version, source }: PackedDocument, text: () => string): void {
    this.#waiting += JSON.stringify({ id: pmid, version, source, text: text() }) + "\n";
    if (this.#waiting.length > 1 << 20) this.#flush();
  }
  #flush(): void {
    this.#file.write(new TextEncoder().encode(this.#waiting));
    this.#waiting = "";
  }
  commit(): void {
    this.#flush();
    this.#file.commit();
  }
  abort(): void {
    this.#file.abort();
  }
}

/** Megatron-LM's `MMIDIDX` version 1 (megatron/core/datasets/indexed_dataset.py). */
class Megatron implements Sink {
  readonly files: string[];
  readonly #bin: AtomicFile;
  readonly #idx: AtomicFile;
  readonly #lengths: number[] = [];
  #block = new Uint16Array(1 << 20);
  #filled = 0;

  constructor(stem: string, readonly endOfText: number) {
    this.files = [`${stem}.bin`, `${stem}.idx`];
    this.#bin = openAtomic(`${stem}.bin`);
    this.#idx = openAtomic(`${stem}.idx`);
  }
  add({ tokens }: PackedDocument): void {
    const length = tokens.length + 1;
    if (this.#filled + length > this.#block.length) {
      this.#flush();
      if (length > this.#block.length) this.#block = new Uint16Array(length);
    }
    this.#block.set(tokens, this.#filled);
    this.#block[this.#filled + length - 1] = this.endOfText;
    this.#filled += length;
    this.#lengths.push(length);
  }
  #flush(): void {
    this.#bin.write(bytesOf(this.#block.subarray(0, this.#filled)));
    this.#filled = 0;
  }
  commit(): void {
    this.#flush();
    const n = this.#lengths.length;
    const head = new DataView(new ArrayBuffer(34));
    new TextEncoder().encodeInto("MMIDIDX\0\0", new Uint8Array(head.buffer));
    head.setBigUint64(9, 1n, true); // version
    head.setUint8(17, 8); // uint16
    head.setBigUint64(18, BigInt(n), true);
    head.setBigUint64(26, BigInt(n + 1), true);
    const pointers = new BigInt64Array(n);
    const documents = new BigInt64Array(n + 1);
    let at = 0;
    this.#lengths.forEach((length, i) => {
      pointers[i] = BigInt(at);
      documents[i + 1] = BigInt(i + 1);
      at += length * 2;
    });
    this.#idx.write(new Uint8Array(head.buffer));
    this.#idx.write(new Uint8Array(Int32Array.from(this.#lengths).buffer));
    this.#idx.write(new Uint8Array(pointers.buffer));
    this.#idx.write(new Uint8Array(documents.buffer));
    this.#bin.commit();
    this.#idx.commit();
  }
  abort(): void {
    this.#bin.abort();
    this.#idx.abort();
  }
}

const text = (name: string): SchemaElement => ({
  name,
  type: "BYTE_ARRAY",
  converted_type: "UTF8",
  logical_type: { type: "STRING" },
  repetition_type: "REQUIRED",
});
const integer = (name: string): SchemaElement => ({
  name,
  type: "INT32",
  repetition_type: "REQUIRED",
});
const COLUMNS = [integer("id"), integer("version"), text("source"), text("text")];
/** What a citation has besides. */
const CITATION_COLUMNS: SchemaElement[] = [
  { name: "year", type: "INT32", repetition_type: "OPTIONAL" },
  text("journal"),
  {
    name: "mesh",
    repetition_type: "REQUIRED",
    num_children: 1,
    converted_type: "LIST",
    logical_type: { type: "LIST" },
  },
  { name: "list", repetition_type: "REPEATED", num_children: 1 },
  text("element"),
];
const GROUP_ROWS = 5000;

class Dataset implements Sink {
  readonly files: string[];
  readonly #file: ParquetFile;
  readonly #citations: CitationSource | undefined;

  constructor(path: string, citations: CitationSource | undefined) {
    this.files = [path];
    this.#citations = citations;
    const more = citations ? CITATION_COLUMNS : [];
    const root = { name: "document", num_children: COLUMNS.length + (citations ? 3 : 0) };
    this.#file = new ParquetFile(path, [root, ...COLUMNS, ...more], {});
  }
  add({ pmid, version, source }: PackedDocument, text: () => string): void {
    const { year, journal, mesh } = this.#citations?.of(pmid) ?? {};
    const more = this.#citations ? [year, journal, mesh] : [];
    this.#file.add([pmid, version, source, text(), ...more]);
    if (this.#file.rows === GROUP_ROWS) this.#file.endGroup();
  }
  commit(): void {
    this.#file.commit();
  }
  abort(): void {
    this.#file.abort();
  }
}
