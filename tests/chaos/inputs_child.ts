/**
 * Reads the mutants FROM to TO of SEED, a process of its own, so that a hang or an abort ends it and
 * nothing else. Writes the number and the subject of the mutant at hand to FOLDER/at, and lines of JSON to stdout.
 * @module
 */
import process from "node:process";
import { removeIfExists } from "../../core/files.ts";
import { consoleReporter } from "../../core/reporter.ts";
import { join } from "../../core/std.ts";
import { Chance } from "./chance.ts";
import { makeSubjects, type Subject } from "./subjects.ts";

/** A mutant that was read wrongly. */
export interface WrongInput {
  index: number;
  subject: string;
  error: string;
}

/** What the process says of a stretch of mutants. */
export interface Progress {
  /** The next mutant. */
  next: number;
  /** How many of each subject were read since the last line, and how many of them were refused. */
  counts: Record<string, { read: number; refused: number }>;
  wrong: WrongInput[];
  /** Bytes of memory, at most, since the process began. */
  peak: number;
}

const REPORT_EVERY = 500;
/** The errors that are meant for people. */
const FORESEEN = new Set(["UserError", "UsageError", "XmlError"]);

/** The chance of one mutant: of the seed and its number alone. */
const chanceOf = (seed: number, index: number): Chance =>
  new Chance(Math.imul(seed, 0x9e3779b1) + index | 0);

/** The subject that a mutant is for. */
function subjectOf(subjects: Subject[], chance: Chance): Subject {
  let at = chance.below(subjects.reduce((sum, s) => sum + s.share, 0));
  for (const subject of subjects) if ((at -= subject.share) < 0) return subject;
  throw new Error("There are no subjects");
}

if (import.meta.main) {
  const [folder = "", ...numbers] = Deno.args;
  const [seed = 0, from = 0, to = 0] = numbers.map(Number);
  const files = join(folder, "files");
  removeIfExists(files, { recursive: true });
  const { subjects, close } = makeSubjects(files);
  const at = Deno.openSync(join(folder, "at"), { write: true, create: true, truncate: true });
  const reporter = consoleReporter();
  let progress: Progress = { next: from, counts: {}, wrong: [], peak: 0 };
  const report = (next: number) => {
    progress.next = next;
    progress.peak = process.resourceUsage().maxRSS * 1024;
    reporter.line(JSON.stringify(progress));
    progress = { next, counts: {}, wrong: [], peak: 0 };
  };
  for (let index = from; index < to; index++) {
    const chance = chanceOf(seed, index);
    const subject = subjectOf(subjects, chance);
    at.seekSync(0, Deno.SeekMode.Start);
    at.writeSync(new TextEncoder().encode(`${index} ${subject.name}`.padEnd(60)));
    const count = progress.counts[subject.name] ??= { read: 0, refused: 0 };
    count.read++;
    try {
      await subject.read(subject.input(chance), chance);
    } catch (error) {
      if (error instanceof Error && FORESEEN.has(error.name)) count.refused++;
      else {
        const text = error instanceof Error ? error.stack ?? error.message : String(error);
        progress.wrong.push({ index, subject: subject.name, error: text });
      }
    }
    if ((index + 1) % REPORT_EVERY === 0) report(index + 1);
  }
  report(to);
  at.close();
  await close();
  Deno.exit(0);
}
