/**
 * The golden cases of whole models: `NAME.json` says what was computed, `NAME_golden.safetensors`
 * holds it, `NAME_config.json` and `NAME_weights.safetensors` the model. Groups: batch (logits, loss,
 * gradients, some activations), packed (documents in one row), train (AdamW steps), gen0 and gen1
 * (greedy generation and the states after the prompt).
 * @module
 */
import { UserError } from "../../core/errors.ts";
import { readJson } from "../../core/files.ts";
import { float32At, nth } from "../../core/nth.ts";
import { openSafetensors, type SafetensorsFile } from "../../core/safetensors.ts";
import { kindOf } from "../mamba/kinds.ts";
import {
  type Batch,
  canonicalName,
  EMBEDDING,
  IGNORED_TARGET,
  type MambaConfig,
  parameterList,
  parseConfig,
  type RecurrentModel,
  type TrainableModel,
} from "../mamba/mod.ts";
import { checkShape, startsOf } from "./golden_file.ts";
import type { GoldenResults } from "./operations.ts";

/** A trainable model that lets goldens look inside. */
interface GoldenModel extends TrainableModel {
  /** (b l, padded vocabulary) */
  logits(batch: Batch): Promise<ArrayLike<number>>;
  /** By Hugging Face name. */
  readGradients(): Promise<Map<string, ArrayLike<number>>>;
  /** Activations of the last forward by the goldens' names, such as layer0.scan_u. */
  readActivations(): Promise<GoldenResults>;
}

/** The state of one layer, of a batch of 1. */
interface GoldenState {
  /** (channels, convKernel - 1) the last inputs of the convolution, oldest first. */
  conv: ArrayLike<number>;
  /** (e, n), or (heads, head size, n) */
  scan: ArrayLike<number>;
}

/** A generator that lets goldens look inside. */
interface GoldenGenerator extends RecurrentModel {
  readStates(): Promise<GoldenState[]>;
}

/** Makes the models that goldens try. */
export interface GoldenModels {
  model(config: MambaConfig, batch: number, length: number): Promise<GoldenModel>;
  generator(
    config: MambaConfig,
    read: (name: string) => Float32Array,
  ): Promise<GoldenGenerator>;
}

/** An open model golden. */
export interface GoldenModelFile {
  readonly name: string;
  readonly architecture: string;
  readonly config: MambaConfig;
  /** Tensors to compare, by group; "exact" is a limit of 0. */
  readonly groups: ReadonlyMap<string, { tensor: string; limit: number }[]>;
  readonly golden: SafetensorsFile;
  readonly train: TrainSettings;
  /** One weight as float32, by Hugging Face name. */
  read(name: string): Float32Array;
  close(): void;
}

interface TrainSettings {
  steps: number;
  weight_decay: number;
  no_decay: string[];
  clip_grad_norm: number;
  betas: [number, number];
  eps: number;
}

/** Reads a model golden's description; returns its architecture and groups without its tensors. */
function describe(path: string) {
  const json = readJson<Record<string, unknown>>(path, "golden description");
  const broken = (what: string) => new UserError(`Cannot read the golden model ${path}: ${what}`);
  const { model, arch, tol, train } = json;
  if (typeof model !== "string" || typeof arch !== "string") {
    throw broken("it has no model or arch");
  }
  if (typeof tol !== "object" || tol === null || Object.keys(tol).length === 0) {
    throw broken("it has no tolerances");
  }
  const groups = new Map<string, { tensor: string; limit: number }[]>();
  for (const [tensor, value] of Object.entries(tol)) {
    const limit = value === "exact" ? 0 : (value as { f32_rel?: number })?.f32_rel;
    if (typeof limit !== "number" || !(limit >= 0)) throw broken(`no tolerance for ${tensor}`);
    const group = nth(tensor.split("/"), 0);
    groups.set(group, [...groups.get(group) ?? [], { tensor, limit }]);
  }
  const settings = train as TrainSettings;
  if (!(settings?.steps > 0) || !Array.isArray(settings.no_decay)) {
    throw broken("no train settings");
  }
  return { name: model, architecture: arch, groups, train: settings, broken };
}

/**
 * Opens the model golden described by `path` (a .json) and checks that every tensor it names is
 * there.
 * @throws {UserError} when anything is missing or malformed.
 */
export function openGoldenModel(path: string): GoldenModelFile {
  const { name, architecture, groups, train, broken } = describe(path);
  const base = path.replace(/\.json$/, "");
  const golden = openSafetensors(`${base}_golden.safetensors`);
  try {
    for (const list of groups.values()) for (const { tensor } of list) golden.info(tensor);
    const weights = openSafetensors(`${base}_weights.safetensors`);
    const stored = new Map([...weights.tensors.keys()].map((n) => [canonicalName(n), n]));
    const read = (parameter: string) => weights.floats(stored.get(parameter) ?? parameter);
    const close = () => {
      weights.close();
      golden.close();
    };
    const configFile = `${base}_config.json`;
    const json = readJson(configFile, "golden configuration");
    const common = { name, architecture, groups, golden, train, read, close };
    const config = parseConfig(json, configFile);
    for (const parameter of parameterList(config)) {
      for (const kind of ["batch/grad", "packed/grad", "train/final"]) {
        const tensor = `${kind}.${goldenName(parameter.name)}`;
        if (golden.tensors.has(tensor)) checkShape(golden, tensor, parameter.shape);
      }
      checkShape(weights, stored.get(parameter.name) ?? parameter.name, parameter.shape);
      if (parameter.decayed === train.no_decay.includes(parameter.name)) {
        throw broken(`it does not decay as this project does: ${parameter.name}`);
      }
    }
    return { ...common, config };
  } catch (error) {
    golden.close();
    throw error;
  }
}

/** The goldens' name of a parameter: theirs is the state-spaces layout. */
const goldenName = (name: string) => name === EMBEDDING ? "backbone.embedding.weight" : name;

/** Reads tokens and targets of a group: (b, l), or one step's of (steps, b, l). */
function batchOf(file: GoldenModelFile, group: string, step?: number) {
  const { golden } = file;
  const shape = golden.info(`${group}/input_ids`).shape;
  const [b, l] = shape.slice(-2) as [number, number];
  const size = b * l;
  checkShape(golden, `${group}/targets`, shape);
  const part = (name: string) => {
    const all = golden.integers(`${group}/${name}`);
    return step === undefined ? all : all.subarray(step * size, (step + 1) * size);
  };
  const ends = golden.tensors.has(`${group}/cu_seqlens`)
    ? golden.integers(`${group}/cu_seqlens`)
    : [0, l];
  const targets = part("targets");
  const batch: Batch = {
    tokens: Uint32Array.from(part("input_ids")),
    starts: startsOf(ends, b, l),
    targets,
  };
  const scored = targets.reduce((n, t) => n + Number(t !== IGNORED_TARGET), 0);
  return { b, l, batch, scale: 1 / scored };
}

const stepOptions = (file: GoldenModelFile, step: number, learningRate: number) => ({
  step,
  learningRate,
  beta1: file.train.betas[0],
  beta2: file.train.betas[1],
  epsilon: file.train.eps,
  weightDecay: file.train.weight_decay,
  maxGradNorm: file.train.clip_grad_norm,
});

/** Groups batch and packed: one forward and backward. */
export async function runBatch(
  file: GoldenModelFile,
  models: GoldenModels,
  group: string,
): Promise<GoldenResults> {
  const { b, l, batch, scale } = batchOf(file, group);
  const { paddedVocabSize } = file.config;
  checkShape(file.golden, `${group}/logits`, [b, l, paddedVocabSize]);
  const model = await models.model(file.config, b, l);
  try {
    model.writeParameters(file.read);
    const results: GoldenResults = { [`${group}/logits`]: await model.logits(batch) };
    model.accumulate(batch, scale);
    for (const [name, values] of await model.readGradients()) {
      results[`${group}/grad.${goldenName(name)}`] = values;
    }
    for (const [name, values] of Object.entries(await model.readActivations())) {
      results[`${group}/act.${name}`] = values;
    }
    model.update({ ...stepOptions(file, 1, 0), weightDecay: 0 });
    results[`${group}/loss`] = [(await model.report()).loss];
    return results;
  } finally {
    model.destroy();
  }
}

/** Group train: AdamW steps at the given learning rates. */
export async function runTrain(
  file: GoldenModelFile,
  models: GoldenModels,
): Promise<GoldenResults> {
  const { golden, train: { steps } } = file;
  const losses: number[] = [];
  const norms: number[] = [];
  const { b, l } = batchOf(file, "train", 0);
  const rates = golden.floats("train/lrs");
  checkShape(golden, "train/lrs", [steps]);
  checkShape(golden, "train/input_ids", [steps, b, l]);
  const model = await models.model(file.config, b, l);
  try {
    model.writeParameters(file.read);
    for (let step = 0; step < steps; step++) {
      const { batch, scale } = batchOf(file, "train", step);
      model.accumulate(batch, scale);
      model.update(stepOptions(file, step + 1, float32At(rates, step)));
      const { loss, gradNorm } = await model.report();
      losses.push(loss);
      norms.push(gradNorm);
    }
    const results: GoldenResults = { "train/losses": losses, "train/grad_norms": norms };
    for (const [name, values] of await model.readParameters()) {
      results[`train/final.${goldenName(name)}`] = values;
    }
    return results;
  } finally {
    model.destroy();
  }
}

/** Groups gen0 and gen1: greedy generation after a prompt, one sequence after another. */
export async function runGenerate(
  file: GoldenModelFile,
  models: GoldenModels,
  group: string,
): Promise<GoldenResults> {
  const { golden, config } = file;
  const prompt = golden.integers(`${group}/prompt`);
  const [b, length] = golden.info(`${group}/prompt`).shape as [number, number];
  const steps = nth(golden.info(`${group}/step_logits`).shape, 1);
  checkShape(golden, `${group}/step_logits`, [b, steps, config.vocabSize]);
  checkShape(golden, `${group}/tokens`, [b, length + steps]);
  const tokens: number[] = [];
  const stepLogits: number[] = [];
  const states: Record<string, number[]> = {};
  const generator = await models.generator(config, file.read);
  try {
    for (let s = 0; s < b; s++) {
      generator.reset();
      const window = newWindow(config);
      let logits = new Float32Array();
      for (const token of prompt.subarray(s * length, (s + 1) * length)) {
        tokens.push(token);
        logits = Float32Array.from(await generator.step(token));
        slide(config, window, await generator.readStates());
      }
      (await generator.readStates()).forEach(({ scan }, i) => {
        (states[`${group}/prefill.layer${i}.conv_state`] ??= []).push(...nth(window, i));
        (states[`${group}/prefill.layer${i}.ssm_state`] ??= []).push(...Array.from(scan));
      });
      for (let i = 0; i < steps; i++) {
        const real = logits.subarray(0, config.vocabSize);
        stepLogits.push(...real);
        const next = real.reduce((best, v, id) => v > float32At(real, best) ? id : best, 0);
        tokens.push(next);
        logits = Float32Array.from(await generator.step(next));
      }
    }
    return { [`${group}/tokens`]: tokens, [`${group}/step_logits`]: stepLogits, ...states };
  } finally {
    generator.destroy();
  }
}

const channelsOf = (config: MambaConfig) => kindOf(config).parameters.channels(config);

/**
 * The goldens keep the last convKernel inputs of each layer's convolution, one more than a state
 * does: (channels, convKernel) a layer, gathered while the prompt is fed.
 */
const newWindow = (config: MambaConfig) =>
  Array.from(
    { length: config.layers },
    () => new Float64Array(channelsOf(config) * config.convKernel),
  );

function slide(config: MambaConfig, window: Float64Array[], states: GoldenState[]): void {
  const { convKernel: k } = config;
  const e = channelsOf(config);
  states.forEach(({ conv }, i) => {
    const rows = nth(window, i);
    rows.copyWithin(0, 1);
    for (let c = 0; c < e; c++) rows[c * k + k - 1] = nth(conv, c * (k - 1) + k - 2);
  });
}
