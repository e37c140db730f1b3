/**
 * `bench tokenize`: megabytes of text per second, cold and warm, on one thread, beside
 * `@huggingface/tokenizers` and, where npm has it for this machine, the Rust library's own package
 * in the same run.
 * @module
 */
import { Tokenizer as Peer } from "@huggingface/tokenizers";
import type { Invocation } from "../core/cli.ts";
import { collectGarbage } from "../core/collect.ts";
import { UserError } from "../core/errors.ts";
import { exists, readJson } from "../core/files.ts";
import { nth } from "../core/nth.ts";
import { formatTable } from "../core/reporter.ts";
import { fromFileUrl, join } from "../core/std.ts";
import { encodeBound, loadTokenizer } from "../pipeline/tokenizer/mod.ts";
import { readLines } from "../core/text_input.ts";

const ROOT = fromFileUrl(new URL("..", import.meta.url));
const SHARED = Deno.env.get("PUBMAMBA_SHARED") ?? join(ROOT, "..", "shared");
/** Text measured, in UTF-8 bytes; the peer gets a tenth, being slow. */
const TEXT_BYTES = 20e6;
const PEER_SHARE = 10;
const REPEATS = 3;
/** The Rust library behind Node-API; loaded here and in one test only. */
const RUST = "npm:tokenizers@0.23.2";

/** Measures; texts and tokenizer come from the shared data, or from the fixtures without it. */
export async function benchTokenize(invocation: Invocation): Promise<Record<string, unknown>> {
  const started = performance.now();
  const path = tokenizerFile();
  const tokenizer = loadTokenizer(path);
  tokenizer.encode("The first text pays for what is made on first use.");
  const start = performance.now() - started;
  const distinct = collectTexts();
  const { texts, bytes } = repeated(distinct, TEXT_BYTES);
  // What parsing the evaluation files left is not the tokenizer's.
  collectGarbage();
  const out = new Uint16Array(Math.max(...texts.map((t) => encodeBound(t.length))));
  const encodeAll = () => {
    const from = performance.now();
    let tokens = 0;
    for (const text of texts) tokens += tokenizer.encodeInto(text, out, 0);
    return { seconds: (performance.now() - from) / 1000, tokens };
  };
  const first = encodeAll().seconds; // with an empty cache, before the loop is compiled
  const cold: number[] = [];
  const warm: number[] = [];
  let tokens = 0;
  for (let i = 0; i < REPEATS; i++) {
    tokenizer.clearCache();
    cold.push(encodeAll().seconds);
    const again = encodeAll();
    warm.push(again.seconds);
    tokens = again.tokens;
  }
  const rss = Deno.memoryUsage().rss;
  const peer = new Peer(readJson(path) as never, {} as never);
  const part = repeated(distinct, bytes / PEER_SHARE);
  const from = performance.now();
  for (const text of part.texts) peer.encode(text, { add_special_tokens: false });
  const peerRate = part.bytes / 1e3 / (performance.now() - from);
  const rustRate = await measureRust(path, part);
  const rate = (seconds: number[]) => bytes / 1e6 / Math.min(...seconds);
  const figures = {
    text_megabytes: bytes / 1e6,
    distinct_megabytes: byteLength(distinct) / 1e6,
    tokens,
    bytes_per_token: bytes / tokens,
    first_megabytes_per_second: rate([first]),
    cold_megabytes_per_second: rate(cold),
    warm_megabytes_per_second: rate(warm),
    huggingface_megabytes_per_second: peerRate,
    ratio_cold: rate(cold) / peerRate,
    ratio_warm: rate(warm) / peerRate,
    ...(rustRate === null ? {} : {
      rust_megabytes_per_second: rustRate,
      rust_ratio_cold: rate(cold) / rustRate,
      rust_ratio_warm: rate(warm) / rustRate,
    }),
    start_milliseconds: start,
    resident_megabytes: rss / 1e6,
  };
  if (!invocation.json) {
    const row = (name: string, speed: number) => [
      name,
      speed.toFixed(1),
      `${(speed / peerRate).toFixed(1)}x`,
      rustRate === null ? "not installed" : `${(speed / rustRate).toFixed(1)}x`,
    ];
    const header = ["tokenizer", "MB/s", "to @huggingface/tokenizers", "to npm:tokenizers"];
    invocation.reporter.line(formatTable(header, [
      row("this one, first pass", figures.first_megabytes_per_second),
      row("this one, cold cache", figures.cold_megabytes_per_second),
      row("this one, warm cache", figures.warm_megabytes_per_second),
      row("@huggingface/tokenizers", peerRate),
      ...(rustRate === null ? [] : [row("npm:tokenizers (Rust)", rustRate)]),
    ]));
    invocation.reporter.line(
      `${figures.text_megabytes.toFixed(1)} MB of text, ` +
        `${figures.distinct_megabytes.toFixed(1)} of it distinct; ` +
        `${figures.bytes_per_token.toFixed(2)} bytes per token; started in ${
          start.toFixed(0)
        } ms; ` +
        `${figures.resident_megabytes.toFixed(0)} MB resident, the texts included`,
    );
  }
  return figures;
}

/** Megabytes per second of the Rust library, one text at a time; null where it does not load. */
async function measureRust(
  path: string,
  { texts, bytes }: { texts: string[]; bytes: number },
): Promise<number | null> {
  let rust;
  try {
    rust = (await import(RUST)).Tokenizer.fromFile(path);
  } catch {
    return null;
  }
  const from = performance.now();
  for (const text of texts) await rust.encode(text, null, { addSpecialTokens: false });
  return bytes / 1e3 / (performance.now() - from);
}

function tokenizerFile(): string {
  const shared = join(SHARED, "data/tokenizer/gpt-neox-20b.tokenizer.json");
  const path = exists(shared) ? shared : join(ROOT, "fixtures/tokenizer.json");
  if (exists(path)) return path;
  throw new UserError(`Cannot measure: there is no tokenizer at ${shared} nor at ${path}`);
}

/** Real abstracts and questions where the shared data are; this project's own prose otherwise. */
function collectTexts(): string[] {
  const texts: string[] = [];
  const folder = join(SHARED, "data/pubmed/truth");
  if (exists(folder)) {
    for (const path of filesUnder(join(SHARED, "data"))) {
      if (!path.endsWith(".jsonl")) continue;
      for (const { line } of readLines(path)) {
        if (line) texts.push(...longStrings(JSON.parse(line)));
      }
    }
    for (const path of filesUnder(join(SHARED, "data/eval"))) {
      if (path.endsWith(".json")) texts.push(...longStrings(readJson(path)));
    }
    return texts;
  }
  for (const path of filesUnder(join(ROOT, "docs"))) texts.push(Deno.readTextFileSync(path));
  return texts.length ? texts : [Deno.readTextFileSync(join(ROOT, "README.md"))];
}

function filesUnder(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory ? filesUnder(path) : entry.isFile ? [path] : [];
  }).sort();
}

/** Strings of a JSON value that are prose rather than identifiers. */
function longStrings(value: unknown): string[] {
  if (typeof value === "string") return value.length > 80 ? [value] : [];
  if (typeof value !== "object" || value === null) return [];
  return Object.values(value).flatMap(longStrings);
}

function byteLength(texts: string[]): number {
  const encoder = new TextEncoder();
  return texts.reduce((sum, text) => sum + encoder.encode(text).length, 0);
}

/** The texts again and again until they have `bytes`. */
function repeated(texts: string[], bytes: number): { texts: string[]; bytes: number } {
  const lengths = texts.map((t) => byteLength([t]));
  const all: string[] = [];
  let sum = 0;
  for (let i = 0; sum < bytes; i = (i + 1) % texts.length) {
    all.push(nth(texts, i));
    sum += nth(lengths, i);
  }
  return { texts: all, bytes: sum };
}
