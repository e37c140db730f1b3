/**
 * `bench pipeline`: how fast PubMed's XML becomes citations, documents, tokens and shards, beside
 * saxes, zcat and (where Python has lxml) a Python reader, in one run.
 * @module
 */
import { createReadStream } from "node:fs";
import process from "node:process";
import { createGunzip } from "node:zlib";
import type { Invocation } from "../core/cli.ts";
import { UserError } from "../core/errors.ts";
import { fromFileUrl, join } from "../core/std.ts";
import { formatTable, type Reporter } from "../core/reporter.ts";
import { CitationScanner, type CitationSink } from "../pipeline/citation/builder.ts";
import type { FieldSelection } from "../pipeline/citation/elements.ts";
import { explainReading } from "../pipeline/ingest/read_xml.ts";
import type { RunSummary } from "../pipeline/run.ts";
import { benchCatalogue } from "./catalogue.ts";
import { measurePeers } from "./pipeline_peers.ts";
import { makeInput, makeMirror } from "./pubmed_input.ts";
import { parseWithSaxes } from "./saxes_peer.ts";

const FIXTURES = fromFileUrl(new URL("../fixtures/", import.meta.url));
const MB = 1e6;
const PEER_BYTES = 40 * MB;
const PIECE = 1 << 18;
/** Files in the longer of the two runs whose memory is compared; the other has one. */
const MEMORY_FILES = 10;

/** What can be set. */
interface PipelineBenchOptions {
  /** A `.xml.gz` file; a large one is made from the fixtures where none is given. */
  input?: string;
  /** A `tokenizer.json`; the fixtures' own where none is given. */
  tokenizer?: string;
  workers?: number;
  /** Synthetic citations in the catalogue. */
  citations?: number;
}

type Figures = Record<string, unknown>;

/** Entry for the command. */
export const benchPipelineCommand = (invocation: Invocation): Promise<Figures> => {
  const input = invocation.string("input");
  const tokenizer = invocation.string("tokenizer");
  const citations = invocation.number("citations");
  return benchPipeline(invocation.reporter, {
    ...(input ? { input } : {}),
    ...(tokenizer ? { tokenizer } : {}),
    ...(citations ? { citations } : {}),
  });
};

/**
 * Runs the benchmark; the figures are MB of XML per second unless their name says otherwise. What a
 * busy machine takes from us shows between the two columns: by the clock, and by the processor time
 * that was used, shared out evenly among the workers.
 */
async function benchPipeline(
  reporter: Reporter,
  options: PipelineBenchOptions = {},
): Promise<Figures> {
  const folder = Deno.makeTempDirSync({ prefix: "pubmamba-bench-" });
  try {
    const input = options.input ?? makeInput(join(folder, "input.xml.gz"));
    const tokenizer = options.tokenizer ?? join(FIXTURES, "tokenizer.json");
    const figures: Figures = {};
    const rows: string[][] = [];
    const show = (value: number, unit: string) =>
      `${value.toFixed(unit === "x" || unit === "s" ? 1 : 0)} ${unit}`;
    const add = (name: string, value: number, note = "", unit = "MB/s", processor?: number) => {
      figures[name] = Math.round(value * 100) / 100;
      if (processor) figures[`${name}_by_processor_time`] = Math.round(processor * 100) / 100;
      const second = processor ? show(processor, unit) : "";
      rows.push([name.replaceAll("_", " "), show(value, unit), second, note]);
    };
    reporter.log(`Reading ${input}`);
    const { pieces, bytes, speed: inflate } = await readPieces(input);
    add("inflate", inflate.clock, "node:zlib alone", "MB/s", inflate.processor);
    const part = takeBytes(pieces, PEER_BYTES);
    for (const fields of ["text", "all"] as const) {
      reporter.log(`Parsing, fields: ${fields}`);
      const { records } = parse(pieces, fields, input);
      const speed = measure(pieces, (p) => parse(p, fields, input));
      const note = `${Math.round(records * speed.clock * MB / bytes)} citations/s, one thread`;
      add(`parse_${fields}`, speed.clock, note, "MB/s", speed.processor);
      const [a, b] = [parse(part, fields, input), parsePeer(part, fields)];
      if (a.characters !== b.characters) throw new Error("saxes found another text");
      const ours = measure(part, (p) => parse(p, fields, input));
      const theirs = measure(part, (p) => parsePeer(p, fields));
      add(`saxes_${fields}`, theirs.clock, "the same work", "MB/s", theirs.processor);
      const ratio = [ours.clock / theirs.clock, ours.processor / theirs.processor] as const;
      add(`parse_${fields}_to_saxes`, ratio[0], "", "x", ratio[1]);
    }
    const peers = await measurePeers(input, bytes);
    for (const [name, [speed, note]] of Object.entries(peers)) add(name, speed, note);
    pieces.length = part.length = 0;

    const citations = options.citations ?? 1_800_000;
    reporter.log(`Filling a catalogue with ${citations} citations`);
    const c = benchCatalogue(join(folder, "catalogue.sqlite"), citations);
    Deno.removeSync(join(folder, "catalogue.sqlite"));
    add("catalogue_upserts", c.upserts, `${c.citations} citations, then revisions`, "k/s");
    add("catalogue_inserts", c.inserts, "one transaction a file", "k/s");
    add("catalogue_revisions", c.revisions, "of citations all over the catalogue", "k/s");
    add("catalogue_live_set", c.liveSetSeconds, "to one bit a record, for packing", "s");
    add("catalogue_counts", c.countSeconds, "live, superseded, deleted", "s");
    add("catalogue_size", c.bytes / MB, `${(c.bytes / c.citations).toFixed(1)} B a citation`, "MB");

    const workers = options.workers ?? 2;
    const run = async (files: number, workers: number, fields: FieldSelection) => {
      reporter.log(`From ${files} .xml.gz to shards, fields: ${fields}, ${workers} workers`);
      const corpus = join(folder, `corpus-${fields}`);
      const mirror = makeMirror(folder, input, files);
      const summary = await runProgram(
        "run",
        "--source",
        mirror,
        "--corpus",
        corpus,
        "--tokenizer",
        tokenizer,
        "--fields",
        fields,
        "--workers",
        String(workers),
        "--json",
        "--quiet",
      );
      Deno.removeSync(corpus, { recursive: true });
      Deno.removeSync(mirror, { recursive: true });
      return summary;
    };
    for (const fields of ["text", "all"] as const) {
      const summary = await run(workers, workers, fields);
      const megabytes = summary.xml_bytes / MB;
      const speed = megabytes / summary.seconds;
      const rate = Math.round(summary.records_added / summary.seconds);
      const note = `${workers} workers, ${workers} files, ${rate} citations/s`;
      const processor = megabytes / summary.processor_seconds * workers;
      add(`end_to_end_${fields}`, speed, note, "MB/s", processor);
      if (peers.zcat) add(`end_to_end_${fields}_to_zcat`, speed / peers.zcat[0], "", "x");
      const memory = summary.peak_memory / MB / workers;
      add(`memory_${fields}`, memory, `the run's peak, a worker's share of ${workers}`, "MB");
    }
    for (const files of [1, MEMORY_FILES]) {
      const summary = await run(files, 1, "all");
      const note = `the peak of a run over ${summary.records_added} citations, one worker`;
      add(`memory_${files}_files`, summary.peak_memory / MB, note, "MB");
    }
    const header = ["", "by the clock", "by processor time", ""];
    reporter.line(formatTable(header, rows));
    return { input_bytes: bytes, ...figures };
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** MB/s by the clock and by processor time. */
interface Speed {
  clock: number;
  processor: number;
}

/** Starts a stopwatch for `bytes`. */
function stopwatch(bytes: () => number): () => Speed {
  const begin = performance.now();
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    const megabytes = bytes() / MB;
    return {
      clock: megabytes / ((performance.now() - begin) / 1000),
      processor: megabytes / ((user + system) / 1e6),
    };
  };
}

/** The file's XML as a reader gets it, and how fast it was inflated. */
async function readPieces(
  input: string,
): Promise<{ pieces: Uint8Array[]; bytes: number; speed: Speed }> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  const stop = stopwatch(() => bytes);
  const unzip = createReadStream(input, { highWaterMark: PIECE })
    .pipe(createGunzip({ chunkSize: PIECE }));
  for await (const piece of unzip) {
    pieces.push(piece as Uint8Array);
    bytes += (piece as Uint8Array).length;
  }
  return { pieces, bytes, speed: stop() };
}

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

function parse(pieces: Iterable<Uint8Array>, fields: FieldSelection, path: string) {
  const sink = counter();
  const scanner = new CitationScanner(sink, fields);
  try {
    for (const piece of pieces) scanner.push(piece);
  } catch (error) {
    throw explainReading(error, path, scanner);
  }
  return sink;
}

function parsePeer(pieces: Iterable<Uint8Array>, fields: FieldSelection) {
  const sink = counter();
  parseWithSaxes(pieces, fields, sink);
  return sink;
}

/** The best of three passes over `pieces`. */
function measure(pieces: Uint8Array[], pass: (pieces: Uint8Array[]) => unknown): Speed {
  const bytes = pieces.reduce((n, p) => n + p.length, 0);
  const best = { clock: 0, processor: 0 };
  for (let i = 0; i < 3; i++) {
    const stop = stopwatch(() => bytes);
    pass(pieces);
    const { clock, processor } = stop();
    best.clock = Math.max(best.clock, clock);
    best.processor = Math.max(best.processor, processor);
  }
  return best;
}

function takeBytes(pieces: Uint8Array[], bytes: number): Uint8Array[] {
  let size = 0;
  return pieces.filter((p) => (size += p.length) <= bytes || size === p.length);
}

/** Runs the program as a user does. */
async function runProgram(...args: string[]): Promise<RunSummary> {
  const main = join(fromFileUrl(new URL("..", import.meta.url)), "main.ts");
  const permissions = ["--allow-read", "--allow-write", "--allow-sys"];
  // Through a shell, which forks: a process that is spawned from here would count this one's peak as its own.
  const { success, stdout } = await new Deno.Command("sh", {
    args: [
      "-c",
      '"$@"; exit $?',
      "sh",
      Deno.execPath(),
      "run",
      "--no-check",
      ...permissions,
      main,
      "pipeline",
      ...args,
    ],
    stderr: "inherit",
  }).output();
  if (!success) throw new UserError("Cannot measure the pipeline: its run failed");
  return JSON.parse(new TextDecoder().decode(stdout)) as RunSummary;
}
