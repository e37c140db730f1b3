/**
 * How a training run is configured: the schema with its defaults, read from a JSON file with
 * comments and overridden key by key.
 * @module
 */
import * as v from "valibot";
import { meantOr } from "../../core/distance.ts";
import { UserError } from "../../core/errors.ts";
import { readJsonc } from "../../core/jsonc.ts";

const whole = (least: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(least));
const above0 = v.pipe(v.number(), v.finite(), v.gtValue(0));
const atLeast0 = v.pipe(v.number(), v.finite(), v.minValue(0));
const share = v.pipe(v.number(), v.minValue(0), v.maxValue(1));
/** A coefficient of a running mean. */
const beta = v.pipe(v.number(), v.minValue(0), v.ltValue(1));
/** A section whose every key has a default, and that may be left out. */
const section = <T extends v.ObjectEntries>(entries: T) =>
  v.optional(v.strictObject(entries), {} as never);

const schema = v.strictObject({
  /** Optimizer updates of the whole run. */
  steps: v.optional(whole(1), 1000),
  /** Instead of steps: tokens of the whole run, rounded up to a whole step; 0 for none. */
  tokens: v.optional(whole(0), 0),
  /** Stop and save after this many hours; 0 for no limit. The schedule goes by steps. */
  hours: v.optional(atLeast0, 0),
  /** Of initial weights and of the order of rows. */
  seed: v.optional(whole(0), 0),
  /**
   * f32, or mixed: weights and activations in f16 where matrix products use them, with f32 masters
   * and sums, and a loss scale that adapts. Needs a device with shader-f16.
   */
  precision: v.optional(v.picklist(["f32", "mixed"]), "f32"),
  batch: section({
    /** Rows of a micro-batch: what the device computes at once. */
    rows: v.optional(whole(1), 8),
    /** Micro-batches of a step. The result equals one batch of rows x accumulate. */
    accumulate: v.optional(whole(1), 1),
    /**
     * The micro-batches are dealt to so many lanes, a power of two: each is summed in order, and lanes
     * are added in a fixed tree. With as many lanes as there will ever be ranks, a run ends with the
     * same bytes on any number of them.
     */
    lanes: v.optional(whole(1), 1),
  }),
  data: section({
    /** Conditions that training documents have to fulfil, such as year>=2015, separated by ";". */
    filter: v.optional(v.string(), ""),
    /** CONDITION:FACTOR, separated by ";": documents that count so many times as much. */
    upsample: v.optional(v.string(), ""),
    /** A column: documents come by its values, lowest first; ":desc" behind it turns that around. */
    curriculum: v.optional(v.string(), ""),
    /** A file of further columns: JSON lines, or Parquet, with pmid. */
    scores: v.optional(v.string(), ""),
  }),
  optimizer: section({
    /** Peak learning rate. */
    learning_rate: v.optional(above0, 1e-3),
    beta1: v.optional(beta, 0.9),
    beta2: v.optional(beta, 0.95),
    epsilon: v.optional(above0, 1e-8),
    /** Decoupled decay of matrices; not of A_log, D, biases and norm weights unless `decay_all`. */
    weight_decay: v.optional(atLeast0, 0.1),
    /** Weight decay applies to every parameter. */
    decay_all: v.optional(v.boolean(), false),
    /** Gradients are scaled down to this global L2 norm; 0 for no clipping. */
    max_grad_norm: v.optional(atLeast0, 1),
    /** Each layer learns this much slower than the one above it; 1 for all alike. */
    layer_decay: v.optional(v.pipe(v.number(), v.gtValue(0), v.maxValue(1)), 1),
    /** The embedding, which is the head too, learns at the full rate rather than the lowest layer's. */
    embedding_full_rate: v.optional(v.boolean(), false),
    /** Peak of a head of labels, which begins anew; 0 for that of all else. */
    head_learning_rate: v.optional(atLeast0, 0),
    /** Parameters that are not trained: names with * for any text, separated by commas. */
    freeze: v.optional(v.string(), ""),
  }),
  lora: section({
    /**
     * Matrices beside which adapters of low rank are trained while all else is frozen: in_proj, x_proj,
     * dt_proj, out_proj, embedding, linear (all but the embedding), or names with * for any text,
     * separated by commas; empty for none.
     */
    targets: v.optional(v.string(), ""),
    rank: v.optional(whole(1), 8),
    /** An adapter's product is multiplied with alpha / rank. */
    alpha: v.optional(above0, 16),
    /** This share of what an adapter reads is left out in training. */
    dropout: v.optional(beta, 0),
    /** Multiply with alpha / sqrt(rank) in its place. */
    root_scale: v.optional(v.boolean(), false),
  }),
  objective: section({
    /** This share of each target is spread evenly over the vocabulary. */
    label_smoothing: v.optional(beta, 0),
    /** Weight of the squared log of the sum of exponentials, such as 1e-4; 0 for none. */
    z_loss: v.optional(atLeast0, 0),
    /** This share of the embeddings' values is left out in training, drawn anew at each step. */
    dropout: v.optional(beta, 0),
    /** This share of the tokens is read without its embedding in training, drawn as above. */
    token_dropout: v.optional(beta, 0),
    /** This share of the last hidden states' values is left out in training, drawn as above. */
    state_dropout: v.optional(beta, 0),
  }),
  schedule: section({
    kind: v.optional(v.picklist(["constant", "linear", "cosine", "wsd"]), "cosine"),
    /** Steps of linear warm-up; below 1, a share of all steps. */
    warmup: v.optional(atLeast0, 0.1),
    /** Where a decay ends, as a share of the peak. */
    final: v.optional(share, 0.1),
    /** Of wsd: the share of all steps at the peak, after warm-up and before the decay. */
    stable: v.optional(share, 0.65),
  }),
  checkpoint: section({
    /** Save every so many steps (and always at the end); 0 for the end only. */
    every: v.optional(whole(0), 500),
    /** Save also when this many minutes have passed; 0 for no clock. */
    minutes: v.optional(atLeast0, 0),
    /** Keep the last so many; the best by validation loss is kept besides. */
    keep: v.optional(whole(1), 3),
  }),
  validation: section({
    /** Compute the validation loss every so many steps and at the end; 0 for never. */
    every: v.optional(whole(0), 0),
    /** Rows of the validation split that are used, drawn by the seed; of a mix by its shares. */
    rows: v.optional(whole(1), 64),
    /** Score the averaged weights where the run keeps them, or the weights as trained. */
    weights: v.optional(v.picklist(["average", "trained"]), "average"),
    /** Texts that the model writes at each validation; the first is its likeliest; 0 for none. */
    samples: v.optional(whole(0), 1),
    /** What they begin with; empty for the beginning of a document. */
    prompt: v.optional(v.string(), ""),
    /** Most tokens of each. */
    sample_tokens: v.optional(whole(1), 48),
  }),
  average: section({
    /** Keep an exponential moving average of the weights, with this decay per step; 0 for none. */
    decay: v.optional(beta, 0),
  }),
  spikes: section({
    /** A step is a spike if loss or gradient norm lies so many standard deviations off; 0: never. */
    z_score: v.optional(atLeast0, 6),
    /**
     * What follows: a line in the log; the step's update is left out; or the run goes back to its
     * newest checkpoint and on from there with the rows that come after the spike. A loss or norm
     * that is not finite is a spike too; with "log" it ends the run.
     */
    action: v.optional(v.picklist(["log", "skip", "rollback"]), "log"),
    /** Over how many steps mean and deviation run. */
    window: v.optional(whole(2), 100),
    /** A run ends after so many updates left out in a row, or so many returns from the same steps. */
    limit: v.optional(whole(1), 5),
  }),
});

/** The most lanes of a step: each doubling takes another copy of the gradients. */
const MOST_LANES = 1024;

/** A resolved configuration: every key present. */
export type TrainConfig = v.InferOutput<typeof schema>;

/** What a schedule is made of. */
export type ScheduleConfig = TrainConfig["schedule"];

/** Keys of the schema, dotted ("optimizer.learning_rate"), with their defaults. */
export function configKeys(): Map<string, unknown> {
  return new Map(flatten(v.parse(schema, {})));
}

/** The leaves of a nested object by dotted key. */
export function flatten(value: object, prefix = ""): [string, unknown][] {
  return Object.entries(value).flatMap(([key, inner]): [string, unknown][] =>
    typeof inner === "object" && inner !== null
      ? flatten(inner, `${prefix}${key}.`)
      : [[prefix + key, inner]]
  );
}

/** Some of a configuration's keys, nested as in the file. */
export type PartialConfig = { [key: string]: unknown };

/**
 * Checks a configuration and fills in defaults.
 * @param where named in errors: a file, or "the command line".
 * @throws {UserError} naming the key's path, its value and what is allowed.
 */
export function resolveConfig(given: unknown, where: string): TrainConfig {
  const list = findList(given, "the whole");
  if (list) {
    throw new UserError(
      `Cannot use the training configuration of ${where}: ${list} is a list, no key takes one`,
    );
  }
  const result = v.safeParse(schema, given);
  if (!result.success) {
    const [issue] = result.issues;
    const path = v.getDotPath(issue) ?? "the whole";
    const fail = (what: string) => {
      throw new UserError(`Cannot use the training configuration of ${where}: ${what}`);
    };
    if (issue.expected === "never") {
      const known = [...configKeys().keys(), ...Object.keys(schema.entries)];
      fail(`"${path}" is not a key of it; there are ${listNear(path, known)}`);
    }
    fail(`${path} is ${issue.received}, it must be ${allowed(issue)}`);
    throw new Error("unreachable");
  }
  return checkCombinations(result.output, where);
}

/** The path of a list, which the schema library would take for an object. */
function findList(value: unknown, path: string): string | undefined {
  if (Array.isArray(value)) return path;
  if (!isSection(value)) return undefined;
  for (const [key, inner] of Object.entries(value)) {
    const found = findList(inner, path === "the whole" ? key : `${path}.${key}`);
    if (found) return found;
  }
}

function checkCombinations(config: TrainConfig, where: string): TrainConfig {
  const { schedule, steps } = config;
  const fail = (what: string) => {
    throw new UserError(`Cannot use the training configuration of ${where}: ${what}`);
  };
  const { rows, accumulate, lanes } = config.batch;
  if (!Number.isInteger(Math.log2(lanes)) || lanes > MOST_LANES) {
    fail(`batch.lanes is ${lanes}, it must be a power of two up to ${MOST_LANES}`);
  }
  if (accumulate % lanes !== 0) {
    fail(
      `batch.lanes is ${lanes} and batch.accumulate ${accumulate}, which is no multiple of it; ` +
        `for about as many rows per step set batch.accumulate to ${lanes} and batch.rows to ` +
        `${Math.max(1, Math.round(rows * accumulate / lanes))}`,
    );
  }
  if (schedule.warmup >= 1 && !Number.isSafeInteger(schedule.warmup)) {
    fail(`schedule.warmup is ${schedule.warmup}: give a share below 1 or a whole number of steps`);
  }
  const warmup = schedule.warmup < 1 ? schedule.warmup * steps : schedule.warmup;
  if (!config.tokens && warmup > steps) {
    fail(`schedule.warmup is ${schedule.warmup}, more than the run's ${steps} steps`);
  }
  if (schedule.kind === "wsd" && schedule.warmup < 1 && schedule.warmup + schedule.stable > 1) {
    fail(
      `schedule.warmup ${schedule.warmup} and schedule.stable ${schedule.stable} add up to over 1`,
    );
  }
  return config;
}

/** The keys that look like `path`, or all of its section. */
function listNear(path: string, known: string[]): string {
  const section = path.includes(".") ? path.slice(0, path.lastIndexOf(".") + 1) : "";
  const near = known.filter((k) => k.startsWith(section) && (section !== "" || !k.includes(".")));
  return near.join(", ");
}

function allowed(issue: v.BaseIssue<unknown>): string {
  const [, operator, limit] = /^([<>]=?)(.*)$/.exec(issue.expected ?? "") ?? [];
  if (operator !== undefined) {
    const words: Record<string, string> = {
      ">=": "at least",
      ">": "above",
      "<=": "at most",
      "<": "below",
    };
    return `${words[operator]} ${limit}`;
  }
  if (issue.type === "safe_integer") return "a whole number";
  if (issue.type === "strict_object") return "an object";
  return String(issue.expected).replace(/[()]/g, "").replaceAll(" | ", " or ");
}

/** Lays `over` on `base`, section by section. */
export function mergeConfig(base: PartialConfig, over: PartialConfig): PartialConfig {
  const merged: PartialConfig = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = merged[key];
    merged[key] = isSection(below) && isSection(value) ? mergeConfig(below, value) : value;
  }
  return merged;
}

const isSection = (value: unknown): value is PartialConfig =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * Reads a configuration file; nothing is checked yet but that it is an object.
 * @throws {UserError} naming the file.
 */
export function readConfigFile(path: string): PartialConfig {
  const value = readJsonc(path, "training configuration");
  if (!isSection(value)) {
    throw new UserError(`Cannot use the training configuration of ${path}: it is not an object`);
  }
  return value;
}

/**
 * An override "optimizer.learning_rate=1e-4" as a nested object. The value is read as JSON, or as
 * text where it is none.
 * @throws {UserError} where there is no "=" or no such key.
 */
export function parseOverride(text: string): PartialConfig {
  const at = text.indexOf("=");
  if (at < 1) throw new UserError(`Cannot read --set ${text}: write it as key=value`);
  const key = text.slice(0, at).trim();
  const raw = text.slice(at + 1).trim();
  if (!configKeys().has(key)) {
    const keys = [...configKeys().keys()];
    // By its own name, whatever group it is in; or else the keys of the group that was named.
    const last = key.split(".").at(-1);
    const alike = keys.filter((k) => k.split(".").at(-1) === last);
    const group = keys.filter((k) => k.startsWith(key.split(".")[0] + "."));
    const there = (alike.length ? alike : group.length ? group : keys).join(", ");
    throw new UserError(
      `Cannot read --set ${text}: there is no key "${key}"` +
        meantOr(key, keys, `; there ${alike.length === 1 ? "is" : "are"} ${there}`),
    );
  }
  let value: unknown = raw;
  try {
    value = JSON.parse(raw);
  } catch {
    // Not JSON: a word such as cosine.
  }
  return nest(key, value);
}

/** `value` under a dotted key, as a nested object. */
export function nest(key: string, value: unknown): PartialConfig {
  return key.split(".").reduceRight<unknown>(
    (inner, k) => ({ [k]: inner }),
    value,
  ) as PartialConfig;
}
