/**
 * The least permissions that a command line of the pipeline needs, so that what comes from a mirror
 * can reach nothing else: the mirror's host, the paths named on the line, and the program's own code.
 * @module
 */
import { dirname, resolve } from "../core/std.ts";
import { exists } from "../core/files.ts";
import { readCatalogue } from "./corpus.ts";
import { corpusPaths } from "./corpus_paths.ts";
import { seriesFolders } from "./new_series.ts";
import { readTextCorpus } from "./texts/state.ts";

/** What to allow: absolute paths and a host name. */
export interface PipelinePermissions {
  read: string[];
  write: string[];
  net: string[];
  /** What to ask the system: how much memory there is, for the number of workers. */
  sys: string[];
}

/**
 * The permissions of `pipeline WORDS`: reads of every path that a word names and of `code`; writes
 * under the corpus and in the folder of --out or
 * --output; network to the source's host alone, for run and refresh.
 * @param code the program's own folder
 */
export function permissionsFor(words: string[], code: string): PipelinePermissions {
  const corpus = optionOf(words, "corpus"), written: string[] = [], read = [code];
  if (corpus !== undefined) written.push(...seriesFolders(corpus));
  for (const option of ["out", "output"]) {
    const path = optionOf(words, option);
    // Files appear by a rename from a name beside them.
    if (path !== undefined) written.push(path, dirname(path));
  }
  for (const word of words.map((w) => w.replace(/^--[\w-]+=/, ""))) {
    if (!word.startsWith("--") && !isUrl(word) && word !== "" && exists(word)) read.push(word);
  }
  // Even where it is not there, so that the command can say so.
  const tokenizer = optionOf(words, "tokenizer");
  if (tokenizer !== undefined) read.push(tokenizer);
  for (const part of optionOf(words, "mix")?.split(",") ?? []) {
    const folder = part.replace(/=[\d.]+$/, "").trim();
    if (exists(folder)) read.push(folder);
  }
  // "CORPUS: FILE", for the corpora of a mix.
  for (const part of optionOf(words, "scores")?.split(";") ?? []) {
    const file = part.replace(/^[^:]*:/, "").trim();
    if (file !== "" && exists(file)) read.push(file);
  }
  const net: string[] = [], sys: string[] = [];
  if (words[0] === "run" || words[0] === "refresh") {
    sys.push("systemMemoryInfo");
    const source = optionOf(words, "source") ?? (corpus ? recordedSource(corpus) : undefined);
    if (source !== undefined && isUrl(source)) net.push(hostOf(source));
    else if (source !== undefined) read.push(source);
  }
  const write = places(written);
  return { read: places([...read, ...write]), write, net: net.filter((host) => host !== ""), sys };
}

/** The permissions as options of `deno run`. */
export function permissionFlags({ read, write, net, sys }: PipelinePermissions): string[] {
  const flag = (name: string, list: string[]) =>
    list.length ? [`--allow-${name}=${list.map((p) => p.replaceAll(",", ",,")).join()}`] : [];
  return [...flag("read", read), ...flag("write", write), ...flag("net", net), ...flag("sys", sys)];
}

const isUrl = (text: string): boolean => /^https?:\/\//i.test(text);

/** The last value of `--name VALUE` or `--name=VALUE`. */
function optionOf(words: string[], name: string): string | undefined {
  let value: string | undefined;
  words.forEach((word, i) => {
    if (word === `--${name}`) value = words[i + 1];
    else if (word.startsWith(`--${name}=`)) value = word.slice(name.length + 3);
  });
  return value;
}

function recordedSource(corpus: string): string | undefined {
  const texts = readTextCorpus(corpus);
  if (texts) return texts.source;
  if (!exists(corpusPaths.catalogue(corpus))) return undefined;
  const catalogue = readCatalogue(corpus);
  try {
    return catalogue.get("source");
  } finally {
    catalogue.close();
  }
}

function hostOf(url: string): string {
  try {
    return new URL(url).host; // with a port where it is not the scheme's own
  } catch {
    return ""; // the command says what is wrong with it
  }
}

/** Absolute, each once; a link's target too. */
function places(paths: string[]): string[] {
  const found = new Set<string>();
  for (const path of paths) {
    found.add(resolve(path));
    try {
      found.add(Deno.realPathSync(path));
    } catch { /* it is not there yet */ }
  }
  return [...found].sort();
}
