/**
 * `bench pipeline`: how fast PubMed's XML becomes citations, documents, tokens and shards, beside
 * saxes, zcat and (where Python has lxml) a Python reader, in one run.
 * @module
 */
import { createReadStream } from "node:fs";
import { createGunzip, gunzipSync, gzipSync } from "node:zlib";
import { createHash } from "node:crypto";
import type { Invocation } from "../core/cli.ts";
import { UserError } from "../core/errors.ts";
import { fromFileUrl, join } from "../core/std.ts";
import { formatTable, type Reporter } from "../core/reporter.ts";
import { CitationScanner, type CitationSink } from "../pipeline/citation/builder.ts";
import type { FieldSelection } from "../pipeline/citation/elements.ts";
import type { RunSummary } from "../pipeline/run.ts";
import { Catalogue } from "../pipeline/catalogue/catalogue.ts";
import { parseWithSaxes } from "./saxes_peer.ts";

const FIXTURES = fromFileUrl(new URL("../fixtures/", import.meta.url));
const MB = 1e6, SYNTHETIC_BYTES = 120 * MB, PEER_BYTES = 40 * MB, PIECE = 1 << 18;

/** What can be set. */
export interface PipelineBenchOptions {
  /** A `.xml.gz` file; a large one is made from the fixtures where none is given. */
  input?: string;
  /** A `tokenizer.json`; the fixtures' own where none is given. */
  tokenizer?: string;
  workers?: number;
}

type Figures = Record<string, unknown>;

/** Entry for the command. */
export const benchPipelineCommand = (invocation: Invocation): Promise<Figures> => {
  const input = invocation.string("input"), tokenizer = invocation.string("tokenizer");
  return benchPipeline(invocation.reporter, {
    ...(input ? { input } : {}),
    ...(tokenizer ? { tokenizer } : {}),
  });
};

/** Runs the benchmark; the figures are MB of XML a second unless their name says otherwise. */
export async function benchPipeline(
  reporter: Reporter,
  options: PipelineBenchOptions = {},
): Promise<Figures> {
  const folder = Deno.makeTempDirSync({ prefix: "pubmamba-bench-" });
  try {
    const input = options.input ?? makeInput(join(folder, "input.xml.gz"));
    const tokenizer = options.tokenizer ?? join(FIXTURES, "tokenizer.json");
    const figures: Figures = {}, rows: string[][] = [];
    const add = (name: string, value: number, note = "", unit = "MB/s") => {
      figures[name] = Math.round(value * 100) / 100;
      rows.push([
        name.replaceAll("_", " "),
        `${value.toFixed(unit === "x" ? 1 : 0)} ${unit}`,
        note,
      ]);
    };
    reporter.log(`Reading ${input}`);
    const pieces: Uint8Array[] = [];
    const begin = performance.now();
    const unzip = createReadStream(input, { highWaterMark: PIECE })
      .pipe(createGunzip({ chunkSize: PIECE }));
    for await (const piece of unzip) pieces.push(piece as Uint8Array);
    const bytes = pieces.reduce((n, p) => n + p.length, 0);
    add("inflate", bytes / MB / seconds(begin), "node:zlib alone");

    const part = takeBytes(pieces, PEER_BYTES);
    for (const fields of ["text", "all"] as const) {
      reporter.log(`Parsing, fields: ${fields}`);
      const { records } = parse(pieces, fields), speed = measure(pieces, (p) => parse(p, fields));
      add(`parse_${fields}`, speed, `${Math.round(records * speed * MB / bytes)} citations/s`);
      const [a, b] = [parse(part, fields), parsePeer(part, fields)];
      if (a.characters !== b.characters) throw new Error("saxes found another text");
      const ours = measure(part, (p) => parse(p, fields));
      const theirs = measure(part, (p) => parsePeer(p, fields));
      add(`saxes_${fields}`, theirs, "the same work");
      add(`parse_${fields}_to_saxes`, ours / theirs, "", "x");
    }
    const peers = await measurePeers(input, bytes);
    for (const [name, [speed, note]] of Object.entries(peers)) add(name, speed, note);

    pieces.length = 0;
    for (const [name, value, unit, note] of benchCatalogue(join(folder, "catalogue.sqlite"))) {
      add(name, value, note, unit);
    }
    const workers = options.workers ?? 2, mirror = makeMirror(folder, input, workers);
    for (const fields of ["text", "all"] as const) {
      reporter.log(`From .xml.gz to shards, fields: ${fields}, ${workers} workers`);
      const corpus = join(folder, `corpus-${fields}`);
      const summary = await runProgram(
        ...["run", "--source", mirror, "--corpus", corpus, "--tokenizer", tokenizer],
        ...["--fields", fields, "--workers", String(workers), "--json", "--quiet"],
      );
      const speed = summary.xml_bytes / MB / summary.seconds;
      const rate = Math.round(summary.records_added / summary.seconds);
      add(
        `end_to_end_${fields}`,
        speed,
        `${workers} workers, ${workers} files, ${rate} citations/s`,
      );
      const memory = summary.peak_memory / MB / workers;
      add(`memory_${fields}`, memory, "the process's peak, a worker's share", "MB");
      if (peers.zcat) add(`end_to_end_${fields}_to_zcat`, speed / peers.zcat[0], "", "x");
      Deno.removeSync(corpus, { recursive: true });
    }
    reporter.line(formatTable(["", "figure", ""], rows));
    return { input_bytes: bytes, ...figures };
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

const seconds = (begin: number) => (performance.now() - begin) / 1000;

/** Counts what a parser finds, so that none of it is left out. */
function counter(): CitationSink & { records: number; characters: number } {
  return {
    records: 0,
    characters: 0,
    citation(c) {
      this.records++;
      this.characters += c.title.length;
      for (const section of c.sections) this.characters += section.text.length;
    },
    deletions() {},
  };
}

function parse(pieces: Iterable<Uint8Array>, fields: FieldSelection) {
  const sink = counter(), scanner = new CitationScanner(sink, fields);
  for (const piece of pieces) scanner.push(piece);
  return sink;
}

function parsePeer(pieces: Iterable<Uint8Array>, fields: FieldSelection) {
  const sink = counter();
  parseWithSaxes(pieces, fields, sink);
  return sink;
}

/** MB/s of the best of three passes over `pieces`. */
function measure(pieces: Uint8Array[], pass: (pieces: Uint8Array[]) => unknown): number {
  const bytes = pieces.reduce((n, p) => n + p.length, 0);
  let best = 0;
  for (let i = 0; i < 3; i++) {
    const begin = performance.now();
    pass(pieces);
    best = Math.max(best, bytes / MB / seconds(begin));
  }
  return best;
}

function takeBytes(pieces: Uint8Array[], bytes: number): Uint8Array[] {
  let size = 0;
  return pieces.filter((p) => (size += p.length) <= bytes || size === p.length);
}

/** Speeds of other programs on the same file, where they are installed. */
async function measurePeers(
  input: string,
  bytes: number,
): Promise<Record<string, [number, string]>> {
  const peers: Record<string, [number, string]> = {};
  const time = async (command: string, args: string[]) => {
    const begin = performance.now();
    try {
      const { success } = await new Deno.Command(command, { args, stderr: "null" }).output();
      return success ? bytes / MB / seconds(begin) : undefined;
    } catch {
      return undefined;
    }
  };
  const zcat = await time("sh", ["-c", 'zcat "$0" | wc -c', input]);
  if (zcat) peers.zcat = [zcat, "zcat | wc -c"];
  const lxml = await time("python3", ["-c", LXML, input]);
  if (lxml) peers.python_lxml = [lxml, "lxml iterparse, titles and abstracts only"];
  return peers;
}

const LXML = `
import gzip, sys
from lxml import etree
n = 0
for _, e in etree.iterparse(gzip.open(sys.argv[1]), tag="PubmedArticle"):
    n += len("".join(e.find(".//ArticleTitle").itertext()))
    for a in e.findall(".//Abstract/AbstractText"):
        n += len("".join(a.itertext()))
    e.clear()
    while e.getprevious() is not None:
        del e.getparent()[0]
`;

/** Upserts and reads back synthetic citations: PMIDs that ascend, then revisions of old ones. */
function benchCatalogue(path: string): [name: string, value: number, unit: string, note: string][] {
  const catalogue = new Catalogue(path), n = 30_000, added = 60, revised = 5;
  const column = (value: (i: number) => number) =>
    Int32Array.from({ length: n }, (_, i) => value(i));
  const none = new Int32Array(0);
  const addFile = (number: number, pmids: Int32Array) =>
    catalogue.addFile({
      ...{ number, name: String(number), folder: "baseline", md5: "", state: "documents" },
      ...{ records: n, documents: n, deletions: 0, xml_bytes: 0, counts: "{}", tokens: null },
      ...{ documents_sha256: "", tokens_sha256: null, stamp: "" },
    }, {
      ...{ pmids, versions: column(() => 1), ordinals: column((i) => i) },
      ...{ deletedPmids: none, deletedVersions: none, deletedOrdinals: none },
    });
  let begin = performance.now();
  for (let file = 0; file < added; file++) addFile(file, column((i) => file * n + i + 1));
  const insert = added * n / seconds(begin) / 1000;
  begin = performance.now();
  for (let file = 0; file < revised; file++) {
    addFile(added + file, column((i) => (i * 7919 + file) % (added * n) + 1));
  }
  const update = revised * n / seconds(begin) / 1000;
  begin = performance.now();
  let live = 0;
  for (const _ of catalogue.live()) live++;
  const read = live / seconds(begin) / 1000;
  catalogue.close();
  return [
    ["catalogue_inserts", insert, "k/s", "one transaction a file"],
    ["catalogue_revisions", update, "k/s", "of citations all over the catalogue"],
    ["catalogue_live_set", read, "k/s", `${live} citations read`],
    ["catalogue_bytes", Deno.statSync(path).size / live, "B", "a citation"],
  ];
}

/** Runs the program as a user does. */
async function runProgram(...args: string[]): Promise<RunSummary> {
  const main = join(fromFileUrl(new URL("..", import.meta.url)), "main.ts");
  const permissions = ["--allow-read", "--allow-write", "--allow-sys"];
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", ...permissions, main, "pipeline", ...args],
    stderr: "inherit",
  }).output();
  if (!success) throw new UserError("Cannot measure the pipeline: its run failed");
  return JSON.parse(new TextDecoder().decode(stdout)) as RunSummary;
}

/** A mirror of `copies` baseline files, all of them `input`. */
function makeMirror(folder: string, input: string, copies: number): string {
  const mirror = join(folder, "mirror");
  Deno.mkdirSync(join(mirror, "baseline"), { recursive: true });
  const data = Deno.readFileSync(input), md5 = createHash("md5").update(data).digest("hex");
  for (let i = 1; i <= copies; i++) {
    const name = `pubmed26n${String(i).padStart(4, "0")}.xml.gz`;
    Deno.writeFileSync(join(mirror, "baseline", name), data);
    Deno.writeTextFileSync(join(mirror, "baseline", name + ".md5"), `MD5(${name})= ${md5}\n`);
  }
  return mirror;
}

/** One large file out of the fixtures' records, under new PMIDs. */
function makeInput(path: string): string {
  const decoder = new TextDecoder(), records: string[] = [];
  for (const { name } of Deno.readDirSync(join(FIXTURES, "mirror/baseline"))) {
    if (!name.endsWith(".gz")) continue;
    const xml = decoder.decode(
      gunzipSync(Deno.readFileSync(join(FIXTURES, "mirror/baseline", name))),
    );
    records.push(...xml.match(/<PubmedArticle>[^]*?<\/PubmedArticle>/g) ?? []);
  }
  const parts = ['<?xml version="1.0" encoding="utf-8"?>\n<PubmedArticleSet>\n'];
  let size = 0;
  for (let i = 0; size < SYNTHETIC_BYTES; i++) {
    const record = records[i % records.length]!.replace(
      /(<PMID[^>]*>)\d+/,
      (_, tag: string) => tag + (10_000_000 + i),
    );
    parts.push(record, "\n");
    size += record.length;
  }
  parts.push("</PubmedArticleSet>\n");
  Deno.writeFileSync(path, gzipSync(new TextEncoder().encode(parts.join("")), { level: 4 }));
  return path;
}
