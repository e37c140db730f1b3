/** `pipeline duplicates`: near duplicates among the live documents. @module */
import type { Command, Invocation } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { Interrupted } from "../core/errors.ts";
import { writeAtomic } from "../core/files.ts";
import { formatTable } from "../core/reporter.ts";
import { terminalWidth } from "../core/terminal.ts";
import { openCorpusTexts } from "../pipeline/corpus_texts.ts";
import { readCatalogue } from "../pipeline/corpus.ts";
import { duplicatesPath } from "../pipeline/corpus_paths.ts";
import { dropDuplicates, type Dropping } from "../pipeline/drop_duplicates.ts";
import { readTextCorpus } from "../pipeline/texts/state.ts";
import {
  type DuplicatePair,
  type DuplicateReport,
  findDuplicates,
} from "../pipeline/overlap/duplicates.ts";
import { CORPUS, grouped } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline duplicates",
  summary: "Report nearly equal documents (MinHash over runs of five words)",
  description:
    "Compares title and abstract of all live citations, or the documents of a corpus of texts, by " +
    "file and id, and reports. With --drop, a document that is nearly equal to an older one is left " +
    "out of the shards, which are built anew: duplicates.json names it and the one that is kept. Documents " +
    "that come later are compared when the command is run again.",
  options: {
    corpus: CORPUS,
    similarity: {
      type: "number",
      min: 0.5,
      max: 1,
      default: 0.7,
      help: "least share of runs of five words in common",
    },
    drop: {
      type: "boolean",
      help: "leave near copies out of the shards, now and in later runs; the oldest is kept",
    },
    out: { type: "string", placeholder: "F.jsonl", help: "write every pair there" },
  },
  examples: [
    "deno task pipeline duplicates --corpus corpus",
    "deno task pipeline duplicates --corpus corpus --similarity 0.9 --out duplicates.jsonl",
    "deno task pipeline duplicates --corpus corpus --similarity 0.8 --drop",
  ],
  async run(invocation) {
    const { reporter } = invocation;
    const started = performance.now();
    const drop = invocation.boolean("drop");
    const { found, report, shards } = drop
      ? await dropped(invocation)
      : { found: await compare(invocation), report: undefined, shards: undefined };
    const { pairs, ...counts } = found;
    const out = invocation.string("out");
    if (out) writeAtomic(out, pairs.map((p) => JSON.stringify(told(p)) + "\n").join(""));
    const seconds = (performance.now() - started) / 1000;
    const figures = {
      ...counts,
      pairs: pairs.length,
      ...(report ? { dropped: report.dropped.length, shards: shards?.figures } : {}),
      seconds,
    };
    if (invocation.json) return reporter.line(jsonLine({ ...figures, out }));
    if (pairs.length) {
      const kind = pairs[0]?.names ? "document" : "PMID";
      const header = [kind, kind, "similarity", "title"];
      reporter.line(formatTable(header, shownPairs(pairs.slice(0, 20))));
    }
    reporter.line(
      `${grouped(pairs.length)} pairs among ${grouped(counts.documents)} documents` +
        (pairs.length > 20 && !out ? "; --out FILE writes them all" : ""),
    );
    if (!report) return;
    reporter.line(
      `${grouped(report.dropped.length)} documents are dropped as near copies of an older one; ` +
        `${duplicatesPath(invocation.requiredString("corpus"))} names them`,
    );
    if (!shards) reporter.line('There are no shards yet; "pipeline run" will leave them out');
  },
};

/** Compares, and changes nothing. */
async function compare(
  { requiredString, requiredNumber, reporter, signal }: Invocation,
): Promise<DuplicateReport> {
  using corpus = openCorpusTexts(requiredString("corpus"));
  const progress = reporter.progress("Comparing", corpus.files * 2, "files");
  let pass = 0;
  try {
    return await findDuplicates(() => {
      const before = corpus.files * pass++;
      return corpus.read((done) => {
        if (signal.aborted) throw new Interrupted("Stopped; nothing was written");
        progress.update(before + done);
      });
    }, requiredNumber("similarity"));
  } finally {
    progress.finish();
  }
}

/** Compares, and drops. */
async function dropped(
  { requiredString, requiredNumber, reporter, signal }: Invocation,
): Promise<Dropping> {
  const corpus = requiredString("corpus");
  // Says so where there is no corpus, before one is made.
  if (!readTextCorpus(corpus)) readCatalogue(corpus).close();
  let stage = "";
  let progress = reporter.progress("Comparing", 0);
  try {
    return await dropDuplicates({
      corpus,
      similarity: requiredNumber("similarity"),
      signal,
      onProgress(name, done, total) {
        if (name !== stage) {
          progress.finish();
          progress = name === "files"
            ? reporter.progress("Comparing", total, "files")
            : reporter.progress("Shards", total);
          stage = name;
        }
        progress.update(done);
      },
    });
  } finally {
    progress.finish();
  }
}

/** A pair as a line of the file: by PMID, or by what its texts are. */
function told({ names, ...pair }: DuplicatePair): object {
  const { titles: [title, other_title] = ["", ""], pmid, other, similarity } = pair;
  const two = names ? { document: names[0], other: names[1] } : { pmid, other };
  return { ...two, similarity, title, other_title };
}

/** Columns of a row beside its title: two names, the similarity, and what stands between. */
const BESIDE_TITLE = "similarity".length + 6;
const LEAST_TITLE = 20;

/** Pairs as rows of one line each: near copies mostly have one title, which is cut to what fits. */
function shownPairs(
  pairs: readonly DuplicatePair[],
  width = terminalWidth(Deno.stdout),
): string[][] {
  const names = pairs.map(({ pmid, other, names }) =>
    names?.map(({ source, id }) => `${id} of ${source}`) ?? [`${pmid}`, `${other}`]
  );
  const widest = (side: number) => Math.max(8, ...names.map((two) => two[side]?.length ?? 0));
  const room = Math.max(LEAST_TITLE, width - BESIDE_TITLE - widest(0) - widest(1));
  return pairs.map(({ similarity, titles: [one = "", two = ""] = ["", ""] }, i) => {
    const title = one === two ? one : `${one} | ${two}`;
    const cut = title.length > room ? title.slice(0, room - 3).trimEnd() + "..." : title;
    return [...names[i] ?? [], similarity.toFixed(3), cut];
  });
}
