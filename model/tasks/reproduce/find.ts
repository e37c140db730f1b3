/**
 * The sets of a folder, found by looking at what is in the files: which task each one is data for, and
 * whether it can be learned from or only asked. What is no set is told with the reason.
 * @module
 */
import type { OptionSpec } from "../../../core/cli.ts";
import { UserError } from "../../../core/errors.ts";
import { dirname, join, relative } from "../../../core/std.ts";
import { type AnyTask, type Given, isTask, type Purpose, type TaskData } from "../core/task.ts";
import { probe } from "../formats/files.ts";
import { FORMATS, readRecords, type TaskRecord } from "../formats/mod.ts";
import { findSplits, splitOf } from "../formats/splits.ts";
import type { Format, Probe } from "../formats/types.ts";
import { TASKS } from "../list.ts";

/** A set that a task has data of. */
export interface FoundSet {
  /** The task and the place, as in folders' and answer files' names: "ner-BC5CDR". */
  id: string;
  task: AnyTask;
  /** Where it lies, as seen from the folder that was searched. */
  place: string;
  /** "finetune" where there are splits to learn from; "evaluate" where it can only be asked. */
  purpose: Purpose;
  /** The task's options, as the command line would have them. */
  given: Given;
  /** Reads it. */
  read(): TaskData<unknown>;
}

/** A file or folder that is no set. */
export interface LeftOut {
  place: string;
  why: string;
}

/** What a folder holds. */
export interface Found {
  sets: FoundSet[];
  leftOut: LeftOut[];
}

/** What tells the folder of a reproduction's results. */
export const RESULTS_FILE = "reproduction.json";

/** The options of a command with its defaults, and some values. */
export function givenOf(
  specs: Readonly<Record<string, OptionSpec>>,
  values: Readonly<Record<string, string | number | boolean>>,
): Given {
  const value = (name: string) => values[name] ?? specs[name]?.default;
  return {
    json: false,
    string(name) {
      const own = value(name);
      return typeof own === "string" ? own : undefined;
    },
    number(name) {
      const own = value(name);
      return typeof own === "number" ? own : undefined;
    },
    boolean: (name) => value(name) === true,
  };
}

/** The task of a name. */
function taskNamed(name: string): AnyTask {
  for (const entry of TASKS) if (isTask(entry) && entry.name === name) return entry;
  throw new TypeError(`There is no task ${name}`);
}

/**
 * Looks through a folder and everything below it.
 * @throws {UserError} where there is no such folder, or nothing in it is a set.
 */
export function findSets(folder: string): Found {
  const looked = probe(folder);
  if (!looked.isFolder) {
    throw new UserError(`Cannot look for sets in ${folder}: it is a file; name the folder`);
  }
  const search = new Search(folder);
  search.visit(looked);
  if (!search.found.sets.length) {
    const reasons = search.found.leftOut.slice(0, 5).map(({ place, why }) => `${place}: ${why}`);
    throw new UserError(
      `Cannot find a set of any task in ${folder}` +
        (reasons.length ? ` (${reasons.join("; ")})` : ": it is empty") +
        `; "deno task tasks formats" lists the formats that are known`,
    );
  }
  return search.found;
}

/** One search through a folder. */
class Search {
  readonly found: Found = { sets: [], leftOut: [] };
  readonly #root: string;
  /** Folders that were looked at, by their real paths: links may lead in a circle. */
  readonly #seen = new Set<string>();

  constructor(root: string) {
    this.#root = root;
  }

  /** Looks at a folder: a set as a whole, or files and folders one by one. */
  visit(folder: Probe): void {
    const real = Deno.realPathSync(folder.path);
    if (this.#seen.has(real)) return this.#leave(folder.path, "it leads to a folder seen already");
    this.#seen.add(real);
    if (folder.names.includes(RESULTS_FILE)) {
      return this.#leave(folder.path, "it holds the results of a reproduction");
    }
    const names = folder.names.filter((name) => !name.startsWith("."))
      .filter((name) => this.#canBeRead(join(folder.path, name)));
    const used = new Set<string>();
    const use = (...some: string[]) => some.forEach((name) => used.add(name));
    if (formatOf(folder)) return this.#lone(folder);
    const known = new Map<string, Format>();
    for (const name of names) {
      const format = formatOf(folder.child(name));
      if (format) known.set(name, format);
    }
    const { isSet, trouble } = this.#splits(folder, use);
    const of = (...formats: string[]) =>
      [...known].filter(([name, format]) => !used.has(name) && formats.includes(format.name))
        .map(([name]) => name);
    if (of("pubmedqa").length) this.#pubmedqa(folder, of("pubmedqa"), names, use);
    this.#bioasq(folder, of("bioasq", "squad"), use);
    for (const name of names) {
      if (used.has(name)) continue;
      const child = folder.child(name);
      if (known.has(name) && isSet) {
        this.#leave(child.path, "it is none of the splits that lie beside it");
      } else if (known.has(name) && trouble !== undefined) this.#leave(child.path, trouble);
      else if (known.has(name)) this.#lone(child);
      else if (child.isFolder) this.visit(child);
      else this.#leave(child.path, "it has none of the known formats");
    }
  }

  /** A folder of splits; tells whether it is one, or why not where some of its files are called so. */
  #splits(
    folder: Probe,
    use: (...names: string[]) => void,
  ): { isSet: boolean; trouble?: string } {
    let splits: ReturnType<typeof findSplits>;
    try {
      splits = findSplits(folder.path);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      return { isSet: false, ...(hasSplits(folder) ? { trouble: error.message } : {}) };
    }
    // Of a folder that holds a release's own folder alone, that one is looked at when its turn comes.
    if ("whole" in splits || dirname(splits.train) !== folder.path) return { isSet: false };
    for (const path of [splits.train, splits.develop, splits.test]) {
      if (path !== undefined) use(relative(folder.path, path));
    }
    this.#add(folder.path, tasksOf(splits.train), "finetune", { data: folder.path });
    return { isSet: true };
  }

  /** PubMedQA's questions, of which another file names those of the test. */
  #pubmedqa(
    folder: Probe,
    files: readonly string[],
    names: readonly string[],
    use: (...names: string[]) => void,
  ): void {
    const added = this.#add(folder.path, ["pubmedqa"], "finetune", { data: folder.path });
    use(...files);
    if (!added) return;
    const decisions = (value: unknown) =>
      typeof value === "object" && value !== null && Object.keys(value).length > 0 &&
      Object.values(value).every((answer) => ["yes", "no", "maybe"].includes(String(answer)));
    use(...names.filter((name) => {
      const child = folder.child(name);
      return !child.isFolder && decisions(child.json());
    }));
  }

  /** BioASQ's files: the one with most questions is learned from, the others are asked. */
  #bioasq(folder: Probe, files: readonly string[], use: (...names: string[]) => void): void {
    use(...files);
    const read = files.map((name) => {
      const path = join(folder.path, name);
      const ids = new Set(readRecords(path).records.map((q) => (q as { id?: string }).id ?? ""));
      return { path, ids };
    });
    const same = read.filter((a) => read.some((b) => a !== b && equal(a.ids, b.ids)));
    for (const { path } of same) {
      this.#leave(
        path,
        "another file here has the same questions, so that one of them holds a system's answers: " +
          "leave the golden one alone, and give the other with --systems",
      );
    }
    const [largest, ...tests] = read.filter((one) => !same.includes(one))
      .sort((a, b) => b.ids.size - a.ids.size);
    if (!largest) return;
    if (!tests.length) {
      this.#add(largest.path, ["bioasq"], "evaluate", { gold: largest.path });
      return;
    }
    for (const { path } of tests) {
      this.#add(path, ["bioasq"], "finetune", { data: largest.path, test: path });
    }
  }

  /**
   * A file (or a folder that one format takes as a whole) without splits. Questions are asked as they
   * are; of anything else, splits are drawn.
   */
  #lone({ path }: Probe): void {
    const names = tasksOf(path);
    const taught = names.filter((name) => !QUESTIONS.includes(name));
    const asked = names.filter((name) => QUESTIONS.includes(name));
    if (asked.length) this.#add(path, asked, "evaluate", { gold: path });
    if (taught.length) this.#add(path, taught, "finetune", { data: path });
    if (!names.length) this.#leave(path, "no task asks what it holds");
  }

  /** Adds a set of every task among `names` that can read it; tells whether there is any. */
  #add(
    path: string,
    names: readonly string[],
    purpose: Purpose,
    values: Record<string, string>,
  ): boolean {
    const place = relative(this.#root, path) || ".";
    const reasons: string[] = [];
    let added = false;
    for (const name of names) {
      const task = taskNamed(name);
      const help = purpose === "finetune" ? task.finetuning : task.evaluation;
      if (!help) {
        reasons.push(`${name} cannot be taught`);
        continue;
      }
      const given = givenOf(help.options, values);
      const read = () => task.read(given, purpose);
      try {
        const { test, train } = read();
        if (!test.length || (purpose === "finetune" && !train.length)) {
          throw new UserError("one of its splits holds nothing");
        }
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        reasons.push(error.message);
        continue;
      }
      this.found.sets.push({ id: this.#idOf(name, place), task, place, purpose, given, read });
      added = true;
    }
    if (!added) this.#leave(path, reasons.join("; ") || "no task asks what it holds");
    return added;
  }

  /** Whether there is something to look at: links may lead nowhere, and files may be closed to us. */
  #canBeRead(path: string): boolean {
    try {
      probe(path);
      return true;
    } catch (error) {
      const closed = error instanceof Deno.errors.PermissionDenied ||
        error instanceof Deno.errors.NotCapable;
      if (!(error instanceof UserError) && !closed) throw error;
      this.#leave(path, "it cannot be read, or is a link that leads nowhere or out of the folder");
      return false;
    }
  }

  #leave(path: string, why: string): void {
    this.found.leftOut.push({ place: relative(this.#root, path) || ".", why });
  }

  /** A name for a set that no other set of this folder has. */
  #idOf(task: string, place: string): string {
    const words = place === "." ? "data" : place.replace(/[^A-Za-z0-9.]+/g, "-");
    const id = `${task}-${words}`;
    const same = this.found.sets.filter((set) => set.id === id || set.id.startsWith(`${id}--`));
    return same.length ? `${id}--${same.length + 1}` : id;
  }
}

const equal = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean =>
  a.size === b.size && [...a].every((id) => b.has(id));

/** The format that is surest of a file; undefined where none knows it. */
function formatOf(looked: Probe): Format | undefined {
  const scored = FORMATS.map((format) => ({ format, score: format.recognise(looked) }))
    .filter(({ score }) => score > 0).sort((a, b) => b.score - a.score);
  return scored[0]?.format;
}

/** Whether a model that was not taught a task can be asked it: by the words of its answers. */
export function isAsked(task: AnyTask): boolean {
  const head = task.finetuning?.defaults?.head;
  return task.approaches.length > 0 && (head === undefined || head.asked === true);
}

/** The marks of entities in a sentence, or the words that stand for their names. */
const MARKED = /<<.*>>|\[\[.*\]\]|@[A-Z]+\$/s;

/** The names of the tasks that a file is data for. */
function tasksOf(path: string): string[] {
  let read: { format: Format; records: readonly TaskRecord[] };
  try {
    read = readRecords(path);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return ["classify"]; // its reader says what is wrong with the file
  }
  const { format: { name, kind }, records } = read;
  if (kind === "sentence") return ["ner"];
  if (kind === "question") {
    if (name === "pubmedqa") return ["pubmedqa"];
    if (name === "bioasq" || name === "squad") return ["bioasq"];
    return records.some((r) => r.kind === "question" && r.options?.length) ? ["choices"] : [];
  }
  if (kind === "document") {
    const documents = records.flatMap((r) => (r.kind === "document" ? [r] : []));
    return [
      ...(documents.some((d) => d.mentions.length) ? ["ner"] : []),
      ...(documents.some((d) => d.relations.length) ? ["relations"] : []),
    ];
  }
  const labelled = records.flatMap((r) => (r.kind === "text" ? [r] : []));
  if (labelled.some(({ score }) => score !== undefined)) return ["regression"];
  if (labelled.some(({ labels }) => labels.length !== 1)) return ["multilabel"];
  const marked = labelled.filter(({ text }) => MARKED.test(text)).length;
  return marked > labelled.length / 2 ? ["relations"] : ["classify"];
}

/** Tasks of questions: their files are tests, which are asked whole where nothing else is said. */
const QUESTIONS: readonly string[] = ["choices", "bioasq", "pubmedqa"];

/** Whether a name in a folder says that it is a split. */
function hasSplits({ names }: Probe): boolean {
  return names.some((name) => splitOf(name) !== undefined);
}
