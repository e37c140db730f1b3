/**
 * The search of a learning rate, a batch and a number of epochs by successive halving (Jamieson and
 * Talwalkar 2016): every setting learns for few epochs, the better half for twice as many, and so on
 * until the last ones learn for all of theirs. The development split alone decides.
 * @module
 */
import { fail, UserError } from "../../../core/errors.ts";
import {
  exists,
  readJson,
  refuseForeign,
  removeIfExists,
  writeAtomic,
} from "../../../core/files.ts";
import { formatTable, type Reporter } from "../../../core/reporter.ts";
import { join } from "../../../core/std.ts";
import { isRun, mergeConfig, type PartialConfig } from "../../training/mod.ts";

/** What is searched, as it is written to files and JSON. */
export interface Setting {
  /** The peak. */
  learning_rate: number;
  /** Examples of an update. */
  batch: number;
  epochs: number;
}

/** The values to combine. */
export interface Grid {
  /** Half the default, the default and twice the default where not given. */
  learningRates?: readonly number[];
  /** That of the options where not given. */
  batches?: readonly number[];
  /** Those of the options where not given. */
  epochs?: readonly number[];
}

/** A setting's development scores, a round each; fewer where others were better. */
export interface TunedSetting extends Setting {
  scores: number[];
}

const FILE = "tuning.json";

/** tuning.json: what the search is of, and what is known by now. */
interface TuningFile {
  /** Everything that the scores depend on, as JSON. */
  subject: unknown;
  /** Best first; by the number of rounds, and then by the last score. */
  settings: TunedSetting[];
}

/** Every combination of a grid's values, in the order in which they are given. */
export function settingsOf({ learningRates = [], batches = [], epochs = [] }: Grid): Setting[] {
  return learningRates.flatMap((learning_rate) =>
    batches.flatMap((batch) =>
      epochs.map((count): Setting => ({ learning_rate, batch, epochs: count }))
    )
  );
}

/** A training configuration with a setting's learning rate and batch. @throws {UserError} */
export function withSetting(
  config: PartialConfig,
  { learning_rate, batch }: Setting,
  rows: number,
): PartialConfig {
  if (batch > rows && batch % rows !== 0) {
    throw new UserError(
      `Cannot learn from ${batch} examples per update with --batch-size ${rows}: give a multiple ` +
        `of it in --tune-batches`,
    );
  }
  const shape = { rows: Math.min(rows, batch), accumulate: Math.max(1, batch / rows) };
  return mergeConfig(config, { optimizer: { learning_rate: learning_rate }, batch: shape });
}

/** Rounds until one of so many settings is left. */
const roundsOf = (settings: number): number => Math.max(1, Math.ceil(Math.log2(settings)));

/** Epochs of a setting in a round: all in the last one, half as many in the one before it. */
const epochsIn = (setting: Setting, round: number, rounds: number): number =>
  Math.ceil(setting.epochs / 2 ** (rounds - 1 - round));

/** What {@linkcode tune} takes. */
export interface TuneRequest {
  /** The search's folder; tuning.json and a folder for each run that is under way. */
  out: string;
  settings: readonly Setting[];
  /** Everything else that the scores depend on: data, model, seed, configuration. */
  subject: unknown;
  resume: boolean;
  /** Learns with a setting for so many epochs and returns the development score. */
  develop(setting: Setting, epochs: number, out: string, resume: boolean): Promise<number>;
  reporter: Reporter;
}

/**
 * Searches the best setting, prints the table of all and returns them, best first. Each score is kept as
 * soon as it is known, and its run's folder is removed then; a search that was stopped goes on there.
 * Of equal scores the setting that comes first is taken.
 * @throws {UserError} for a folder in use, or another search's.
 */
export async function tune(request: TuneRequest): Promise<TunedSetting[]> {
  const { out, settings, subject, reporter } = request;
  const file = join(out, FILE);
  const known = openSearch(request, file);
  const all = settings.map((setting): TunedSetting => ({ ...setting, scores: [] }));
  const rounds = roundsOf(all.length);
  const write = () => writeAtomic(file, JSON.stringify({ subject, settings: all }, null, 2) + "\n");
  if (!exists(file)) write();
  let left = [...all];
  for (let round = 0; round < rounds; round++) {
    for (const setting of left) {
      const old = known.find((other) => keyOf(other) === keyOf(setting))?.scores[round];
      if (old !== undefined) {
        setting.scores.push(old);
        continue;
      }
      const epochs = epochsIn(setting, round, rounds);
      reporter.log(
        `Search, round ${round + 1} of ${rounds}: learning rate ${setting.learning_rate}, ` +
          `${setting.batch} examples per update, ${epochs} of ${setting.epochs} epochs`,
      );
      const folder = join(out, `round-${round + 1}-${keyOf(setting)}`);
      const score = await request.develop(setting, epochs, folder, isRun(folder));
      setting.scores.push(score);
      write();
      removeIfExists(folder, { recursive: true });
    }
    left = ranked(left).slice(0, Math.ceil(left.length / 2));
  }
  const best = ranked(all);
  reporter.line(tableOf(best, rounds));
  return best;
}

/** As in names of folders. */
const keyOf = ({ learning_rate, batch, epochs }: Setting): string =>
  `rate-${learning_rate}-batch-${batch}-epochs-${epochs}`;

/** What an earlier start of the same search has found out. */
function openSearch({ out, resume, subject }: TuneRequest, file: string): TunedSetting[] {
  if (!exists(file)) {
    if (!resume) refuseForeign(out, "a search", () => false);
    Deno.mkdirSync(out, { recursive: true });
    return [];
  }
  if (!resume) {
    throw new UserError(
      `Cannot start a search in ${out}: there is one already; go on with it by --resume, or name ` +
        `another folder with --out`,
    );
  }
  const old = readJson<TuningFile>(file, "search");
  if (JSON.stringify(old.subject) !== JSON.stringify(subject)) {
    throw new UserError(
      `Cannot go on with the search in ${out}: it was begun with other data, another model or ` +
        `other options; give the same, or name another folder with --out`,
    );
  }
  return old.settings;
}

/** Those of more rounds first, then those of a higher last score; stable. */
const ranked = (settings: readonly TunedSetting[]): TunedSetting[] =>
  [...settings].sort((a, b) =>
    b.scores.length - a.scores.length || (b.scores.at(-1) ?? 0) - (a.scores.at(-1) ?? 0)
  );

/** Every setting with its development score of each round. */
function tableOf(settings: readonly TunedSetting[], rounds: number): string {
  const names = Array.from({ length: rounds }, (_, round) => `round ${round + 1}`);
  return formatTable(
    ["learning rate", "batch", "epochs", ...names],
    settings.map(({ learning_rate, batch, epochs, scores }) => [
      String(learning_rate),
      String(batch),
      String(epochs),
      ...names.map((_, round) => scores[round]?.toFixed(4) ?? "-"),
    ]),
  );
}

/** The first of some settings. */
export const bestOf = (settings: readonly TunedSetting[]): TunedSetting =>
  settings[0] ?? fail("a search has settings");
