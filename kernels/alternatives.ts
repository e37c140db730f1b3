/**
 * Other ways in which the kernels for GPUs can be written, each chosen by one number: how many
 * invocations a workgroup has, how many rows one of them takes. Which number is fastest depends on the
 * GPU and is not known before it is measured: `bench gpu` measures all of them, and the autotuner may
 * choose among those that give the same bits. The first number of each is what runs by default.
 *
 * The sizes of matrix products' tiles are chosen for each product apart; see `matmul/choice.ts`.
 * @module
 */
import { DeviceError } from "./errors.ts";

/** A number in the text of some kernels that changes how fast they are. */
export interface Alternative {
  /** What may be chosen; the first is the default. */
  values: readonly number[];
  /** Whether every value gives the same bits, so that the autotuner may choose. */
  sameBits: boolean;
  /** What the number counts. */
  counts: string;
}

/** Every alternative by name. To offer another value, add it here. */
export const ALTERNATIVES = {
  "adamw-threads": {
    values: [64, 128, 256],
    sameBits: true,
    counts: "invocations of a workgroup",
  },
  "adamw-vectors": {
    values: [1, 2, 4],
    sameBits: true,
    counts: "vectors of four parameters that an invocation updates",
  },
  "convolution-threads": {
    values: [64, 128, 32],
    sameBits: true,
    counts: "invocations of a workgroup",
  },
  "convolution-rows": {
    values: [16, 8, 32],
    sameBits: true,
    counts: "rows that an invocation of the forward pass walks down",
  },
  "convolution-backward-rows": {
    values: [32, 16, 64],
    sameBits: false,
    counts: "rows, at least, that an invocation of the backward pass walks down",
  },
  "cross-entropy-threads": {
    values: [256, 128, 512],
    sameBits: false,
    counts: "invocations that share a row of logits",
  },
  "embedding-loads": {
    values: [8, 4, 16],
    sameBits: true,
    counts: "gradients of a frequent token that are asked for at once",
  },
  "matvec-rows": {
    values: [32, 16, 8],
    sameBits: true,
    counts: "rows of a weight that a workgroup takes when a token is generated",
  },
  "norm-threads": {
    values: [64, 32, 128],
    sameBits: false,
    counts: "invocations that share a row",
  },
  "scan-block": {
    values: [4, 2, 8],
    sameBits: false,
    counts: "steps whose states the backward scan keeps in registers",
  },
  "scan-shuffles": {
    values: [1, 0],
    sameBits: false,
    counts: "1 where channels are added by subgroup shuffles, 0 where through shared memory alone",
  },
  "scan-stage": {
    values: [16, 8, 32],
    sameBits: false,
    counts: "steps whose inputs a workgroup of the scan stages at a time",
  },
} as const satisfies Record<string, Alternative>;

/** The name of an alternative. */
export type AlternativeName = keyof typeof ALTERNATIVES;

/** All names, in the order of {@linkcode ALTERNATIVES}. */
export const ALTERNATIVE_NAMES = Object.keys(ALTERNATIVES) as AlternativeName[];

/** What was chosen; what is absent has its default. */
export type Chosen = Partial<Record<AlternativeName, number>>;

/** What a choice depends on: a device, or what stands for one when sizes are counted. */
export interface Choosing {
  /** The variant of the kernels. */
  variant: string;
  alternatives?: Chosen;
}

/** What an alternative is said to be, without the exact numbers of its type. */
export const describeAlternative = (name: AlternativeName): Alternative => ALTERNATIVES[name];

/** The value of an alternative; the forms for CPU drivers have none and get the default. */
export function alternative({ variant, alternatives }: Choosing, name: AlternativeName): number {
  const [first] = ALTERNATIVES[name].values;
  return variant === "gpu-tiled" ? alternatives?.[name] ?? first : first;
}

/**
 * Reads choices as they are given on a command line, each NAME=VALUE.
 * @throws {DeviceError} for an unknown name, or a value that is not offered.
 */
export function parseAlternatives(texts: readonly string[]): Chosen {
  const chosen: Chosen = {};
  for (const text of texts) {
    const [name = "", value = ""] = text.split("=");
    if (!isAlternative(name)) {
      throw new DeviceError(
        `There is no alternative "${name}" of the kernels; there are: ` +
          ALTERNATIVE_NAMES.join(", "),
      );
    }
    const { values } = describeAlternative(name);
    const number = Number(value);
    if (value === "" || !values.includes(number)) {
      throw new DeviceError(`"${text}" cannot be chosen: ${name} may be ${values.join(", ")}`);
    }
    chosen[name] = number;
  }
  return chosen;
}

const isAlternative = (name: string): name is AlternativeName => Object.hasOwn(ALTERNATIVES, name);
