/**
 * `bench parts`: a corpus made by two parts of one worker each and then merged, against one process
 * with two workers, in turn on the same input; and from these figures, all of PubMed in n parts.
 * @module
 */
import { createHash } from "node:crypto";
import { gunzipSync, gzipSync } from "node:zlib";
import { UserError } from "../core/errors.ts";
import type { Invocation } from "../core/cli.ts";
import { formatDuration, formatTable } from "../core/reporter.ts";
import { fromFileUrl, join } from "../core/std.ts";
import { makeInput } from "./pubmed_input.ts";

const ROOT = fromFileUrl(new URL("..", import.meta.url));
const FILES = 4;
/** PubMed's baseline of 2026: 1,334 files, about 35 GB compressed, 5.4 times that as XML. */
const PUBMED = { xmlBytes: 35e9 * 5.4, records: 40e6 };

/** What a command of the program printed as JSON, and how long it took. */
interface Timed {
  seconds: number;
  result: Record<string, unknown>;
}

async function command(...words: string[]): Promise<Timed> {
  const start = performance.now();
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "-A", join(ROOT, "main.ts"), "pipeline", ...words, "--json"],
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  if (!success) throw new UserError(`Cannot measure parts: ${text(stderr)}`);
  const last = text(stdout).trim().split("\n").at(-1) ?? "";
  return { seconds: (performance.now() - start) / 1000, result: JSON.parse(last) };
}

/** A mirror of files with the same texts under other PMIDs. */
function makeMirror(folder: string, input: string): string {
  const mirror = join(folder, "mirror");
  Deno.mkdirSync(join(mirror, "baseline"), { recursive: true });
  const xml = new TextDecoder().decode(gunzipSync(Deno.readFileSync(input)));
  for (let file = 1; file <= FILES; file++) {
    const name = `pubmed26n${String(file).padStart(4, "0")}.xml.gz`;
    const own = xml.replace(/>10(\d{6})<\/PMID>/g, `>${9 + file}$1</PMID>`);
    const data = gzipSync(new TextEncoder().encode(own), { level: 1 });
    const md5 = createHash("md5").update(data).digest("hex");
    Deno.writeFileSync(join(mirror, "baseline", name), data);
    Deno.writeTextFileSync(join(mirror, "baseline", `${name}.md5`), `MD5(${name})= ${md5}\n`);
  }
  return mirror;
}

const median = (values: number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;

/** Measures and prints. */
export async function benchParts(invocation: Invocation): Promise<Record<string, unknown>> {
  const { reporter } = invocation;
  const given = invocation.string("input");
  const rounds = invocation.requiredNumber("steps");
  const folder = Deno.makeTempDirSync({ prefix: "pubmamba-parts-" });
  try {
    const mirror = given ?? makeMirror(folder, makeInput(join(folder, "input.xml.gz")));
    const tokenizer = join(ROOT, "fixtures/tokenizer.json");
    const run = (corpus: string) => [
      "run",
      "--source",
      mirror,
      "--corpus",
      corpus,
      "--tokenizer",
      tokenizer,
    ];
    const whole: number[] = [];
    const parts: number[] = [];
    const finish: number[] = [];
    const processors: Record<"whole" | "parts" | "finish", number[]> = {
      whole: [],
      parts: [],
      finish: [],
    };
    const used = ({ result }: Timed) => Number(result.processor_seconds);
    let records = 0;
    let files = 0;
    let xmlBytes = 0;
    for (let round = 0; round < rounds; round++) {
      const one = join(folder, `one${round}`);
      const two = join(folder, `two${round}`);
      const alone = await command(...run(one), "--workers", "2");
      whole.push(alone.seconds);
      processors.whole.push(used(alone));
      const start = performance.now();
      const both = await Promise.all(
        ["1/2", "2/2"].map((part) => command(...run(two), "--workers", "1", "--part", part)),
      );
      parts.push((performance.now() - start) / 1000);
      const merged = await command("finish", "--corpus", two, "--workers", "2");
      finish.push(merged.seconds);
      processors.parts.push(both.reduce((sum, part) => sum + used(part), 0));
      processors.finish.push(used(merged));
      records = Number(merged.result.records_added);
      files = Number(merged.result.files_added);
      xmlBytes = both.reduce((sum, { result }) => sum + Number(result.xml_bytes), 0);
      for (const corpus of [one, two]) Deno.removeSync(corpus, { recursive: true });
      reporter.log(`Round ${round + 1} of ${rounds}`);
    }
    const ratios = whole.map((seconds, i) => ((parts[i] ?? 0) + (finish[i] ?? 0)) / seconds);
    // Processor time, so that other work on the machine does not count. Merging is taken as one core's.
    const coreSecondsOfXml = median(processors.parts) / xmlBytes;
    const secondsOfRecord = median(processors.finish) / records;
    const cores = 16;
    const pubmedParts = coreSecondsOfXml * PUBMED.xmlBytes / cores;
    const pubmedFinish = secondsOfRecord * PUBMED.records;
    reporter.line(formatTable(["", ""], [
      ["XML", `${(xmlBytes / 1e6).toFixed(0)} MB, ${records} records in ${files} files`],
      ["one process, 2 workers", formatDuration(median(whole))],
      ["2 parts of 1 worker each", formatDuration(median(parts))],
      ["finish", formatDuration(median(finish))],
      ["parts and finish / one process", median(ratios).toFixed(3)],
      [
        "the same by processor time",
        ((median(processors.parts) + median(processors.finish)) / median(processors.whole))
          .toFixed(3),
      ],
      ["finish, processor time", formatDuration(median(processors.finish))],
      [`PubMed's parts on ${cores} cores, reckoned`, formatDuration(pubmedParts)],
      ["PubMed's finish, reckoned", formatDuration(pubmedFinish)],
    ]));
    return {
      xml_bytes: xmlBytes,
      records,
      one_process_seconds: whole,
      parts_seconds: parts,
      finish_seconds: finish,
      one_process_processor_seconds: processors.whole,
      parts_processor_seconds: processors.parts,
      finish_processor_seconds: processors.finish,
      ratio: median(ratios),
      pubmed: { cores, parts_seconds: pubmedParts, finish_seconds: pubmedFinish },
    };
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}
