/**
 * A head of labels on a model's hidden states, besides the tied language model head: what it tells
 * apart, what it reads, and its parameters by the names that `transformers` and pytorch-crf have.
 *
 * An item (a word, a pair of entities, a whole text) has slots, each a weighted mean of hidden rows: the
 * last token of a word read forward, its first token read backward, an entity's tokens. The slots side
 * by side are its features, and a linear map makes them logits, one per label. Sparse features add a row
 * of a table each (the wide part of Cheng et al. 2016, "Wide & Deep Learning"; their names are hashed as
 * in Weinberger et al. 2009): a word that the states know too little of is known by its spelling.
 * @module
 */
import { UserError } from "../../core/errors.ts";

/** How an item's logits become a loss: labels that exclude each other, that do not, or a number. */
export type HeadLoss = "softmax" | "sigmoid" | "squared";
const LOSSES: readonly HeadLoss[] = ["softmax", "sigmoid", "squared"];

/** A head. */
export interface HeadConfig {
  /** How its logits become a loss. */
  loss: HeadLoss;
  /** K: its outputs. */
  labels: number;
  /** Slots of an item. */
  slots: number;
  /** Whether neighbouring items (words of a sentence) are decoded together by learned transitions. */
  crf: boolean;
  /** How texts are read. */
  context: HeadContext;
  /**
   * F: sparse features that an item may have besides, such as the spelling of a word or the words between
   * two entities, by the hashes of their names; none where it is not given.
   */
  sparse?: number;
}

/**
 * How a text is read before its items are: once forward; twice, one reading after the other, of which
 * the second counts; or both ways by the same weights, the second half of a batch's rows holding the
 * first half's texts from their ends.
 */
export type HeadContext = "forward" | "twice" | "both";

/** The ways to read, as options have them. */
export const HEAD_CONTEXTS: readonly HeadContext[] = ["forward", "twice", "both"];

/** The name of the linear map's matrix, (K, slots x d). */
export const HEAD_WEIGHT = "classifier.weight";
/** The name of its bias, (K). */
export const HEAD_BIAS = "classifier.bias";
/** The name of the table of sparse features, (F, K). */
export const HEAD_SPARSE = "classifier.sparse.weight";
/** The names of a conditional random field's parameters: (K), (K) and (K, K) from and to. */
export const CRF_NAMES = [
  "crf.start_transitions",
  "crf.end_transitions",
  "crf.transitions",
] as const;

/** A parameter's name and extents. */
export interface HeadParameter {
  name: string;
  shape: readonly number[];
}

/** The parameters of a head on hidden states of `hiddenSize`, in their order. */
export function headParameters(head: HeadConfig, hiddenSize: number): HeadParameter[] {
  const { labels, slots, crf, sparse } = head;
  const list: HeadParameter[] = [
    { name: HEAD_WEIGHT, shape: [labels, slots * hiddenSize] },
    { name: HEAD_BIAS, shape: [labels] },
  ];
  if (sparse) list.push({ name: HEAD_SPARSE, shape: [sparse, labels] });
  if (!crf) return list;
  const [begin, end, transition] = CRF_NAMES;
  return [
    ...list,
    { name: begin, shape: [labels] },
    { name: end, shape: [labels] },
    { name: transition, shape: [labels, labels] },
  ];
}

/** Whether a tensor belongs to a conditional random field. */
export const isCrfParameter = (name: string): boolean =>
  (CRF_NAMES as readonly string[]).includes(name);

/** Whether a tensor belongs to a head. */
export const isHeadParameter = (name: string): boolean =>
  name === HEAD_WEIGHT || name === HEAD_BIAS || name === HEAD_SPARSE || isCrfParameter(name);

/** The key of config.json under which a head is kept; `transformers` passes keys over that it lacks. */
export const HEAD_KEY = "pubmamba_head";

/** A head as config.json has it. */
export function headJson(head: HeadConfig): Record<string, unknown> {
  const { loss, labels, slots, crf, context, sparse } = head;
  const json = { loss, labels, slots, crf, context };
  return sparse ? { ...json, sparse } : json;
}

/**
 * Reads what {@linkcode headJson} wrote.
 * @throws {UserError} naming the file and the key that is wrong.
 */
export function parseHead(json: unknown, file: string): HeadConfig | undefined {
  if (json === undefined || json === null) return undefined;
  const fail = (key: string, wanted: string): never => {
    throw new UserError(
      `Cannot read the model configuration ${file}: ${HEAD_KEY}${key} must be ${wanted}; take the ` +
        `folder from a finished run`,
    );
  };
  if (typeof json !== "object" || Array.isArray(json)) return fail("", "an object");
  const record = json as Record<string, unknown>;
  const count = (key: string, most = 65_536) => {
    const value = record[key];
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 1 || value > most) {
      return fail(`.${key}`, `a whole number from 1 to ${most.toLocaleString("en")}`);
    }
    return value;
  };
  const loss = LOSSES.find((name) => name === record.loss) ??
    fail(".loss", `one of ${LOSSES.join(", ")}`);
  const context = HEAD_CONTEXTS.find((name) => name === record.context) ??
    fail(".context", `one of ${HEAD_CONTEXTS.join(", ")}`);
  const head: HeadConfig = {
    loss,
    labels: count("labels"),
    slots: count("slots"),
    crf: record.crf === true,
    context,
  };
  return record.sparse === undefined ? head : { ...head, sparse: count("sparse", 2 ** 24) };
}
