/**
 * What a corpus was made with: the fields and policies of its documents, and how they became shards.
 * The first run records it in the corpus, and it holds from then on; the defaults stand here alone.
 * @module
 */
import { UserError } from "../core/errors.ts";
import type { Database } from "./catalogue/database.ts";
import type { FieldSelection } from "./citation/elements.ts";
import { DEFAULT_POLICIES, type Policies } from "./ingest/policy.ts";
import type { PackingMethod } from "./shards/packing.ts";

/** How documents become shards. */
export interface PackingSettings {
  /** Tokens of a row. */
  sequenceLength: number;
  /** How documents become rows. */
  packing: PackingMethod;
  /** Shuffles the documents. */
  seed: number;
  /** Share of documents held out for validation. */
  validation: number;
  /** Share of documents held out for testing. */
  test: number;
}

/** Everything that decides what a corpus's files hold, besides its tokenizer. */
export interface CorpusSettings extends PackingSettings {
  fields: FieldSelection;
  policies: Policies;
}

/** What a command line says of the settings; what it leaves out is the corpus's own. */
export interface GivenSettings extends Partial<PackingSettings> {
  /** Which fields of a citation are kept. */
  fields?: FieldSelection;
  /** Which citations become training text. */
  policies?: Partial<Policies>;
}

/** What holds where nothing was said. */
export const DEFAULT_SETTINGS: CorpusSettings = {
  sequenceLength: 1024,
  packing: "best-fit",
  seed: 0,
  validation: 0.005,
  test: 0.005,
  fields: "all",
  policies: DEFAULT_POLICIES,
};

/** The names of the packing settings in a corpus's record: those of the options, with underscores. */
export const PACKING_KEYS: Record<keyof PackingSettings, string> = {
  sequenceLength: "sequence_length",
  packing: "packing",
  seed: "seed",
  validation: "validation",
  test: "test",
};

/** The policies, in the order of the documentation. */
export const POLICY_KEYS = Object.keys(DEFAULT_POLICIES) as (keyof Policies)[];

/** The option of a setting: "minCharacters" is given as --min-characters. */
export const optionOf = (key: string): string => "--" + key.replace(/[A-Z]/g, "-$&").toLowerCase();

/**
 * A setting that holds for a whole corpus: the recorded value, or the one given, or the default.
 * @throws {UserError} where another value was given than was recorded
 */
export function settingOf<T extends string | number>(
  corpus: string,
  key: string,
  recorded: T | undefined,
  given: T | undefined,
  standard: T,
): T {
  if (recorded !== undefined && given !== undefined && given !== recorded) {
    const option = optionOf(key);
    throw new UserError(
      `Cannot use ${option} ${given}: the corpus ${corpus} was made with ${recorded}; leave ` +
        `${option} away, or make another corpus`,
    );
  }
  return recorded ?? given ?? standard;
}

/**
 * The settings of a corpus: its own, those given where it has none yet, or the defaults.
 * @param record the corpus's catalogue
 * @throws {UserError} where others were given than it was made with
 */
export function corpusSettings(
  corpus: string,
  record: Pick<Database, "get">,
  given: GivenSettings = {},
): CorpusSettings {
  const recordedNumber = (key: string) => {
    const text = record.get(key);
    return text === undefined ? undefined : Number(text);
  };
  const number = (key: "sequenceLength" | "seed" | "validation" | "test") =>
    settingOf(
      corpus,
      key,
      recordedNumber(PACKING_KEYS[key]),
      given[key],
      DEFAULT_SETTINGS[key],
    );
  const policies = { ...DEFAULT_POLICIES };
  for (const key of POLICY_KEYS) {
    const recorded = key === "minCharacters"
      ? recordedNumber(`policy.${key}`)
      : record.get(`policy.${key}`);
    const value = settingOf(corpus, key, recorded, given.policies?.[key], DEFAULT_POLICIES[key]);
    Object.assign(policies, { [key]: value });
  }
  const packing = record.get("packing") as PackingMethod | undefined;
  const fields = record.get("fields") as FieldSelection | undefined;
  return {
    sequenceLength: number("sequenceLength"),
    packing: settingOf(corpus, "packing", packing, given.packing, DEFAULT_SETTINGS.packing),
    seed: number("seed"),
    validation: number("validation"),
    test: number("test"),
    fields: settingOf(corpus, "fields", fields, given.fields, DEFAULT_SETTINGS.fields),
    policies,
  };
}

/** Records how documents are read. */
export function recordDocumentSettings(
  record: Pick<Database, "set">,
  { fields, policies }: Pick<CorpusSettings, "fields" | "policies">,
): void {
  record.set("fields", fields);
  for (const key of POLICY_KEYS) record.set(`policy.${key}`, String(policies[key]));
}

/** Records how documents become shards, and with which tokenizer. */
export function recordPackingSettings(
  record: Pick<Database, "set">,
  settings: PackingSettings,
  tokenizerSha256: string,
): void {
  record.set("tokenizer_sha256", tokenizerSha256);
  for (const key of Object.keys(PACKING_KEYS) as (keyof PackingSettings)[]) {
    record.set(PACKING_KEYS[key], String(settings[key]));
  }
}
