/** From a run's configuration to how its model trains. @module */
import { UserError } from "../../core/errors.ts";
import {
  EMBEDDING,
  HEAD_SPARSE,
  isHeadParameter,
  type MambaConfig,
  type Parameter,
  parameterList,
  type TrainingTerms,
} from "../mamba/mod.ts";
import type { TrainConfig } from "./configuration.ts";

/**
 * The least peak of the table of sparse features, whatever the model's width: a feature is met rarely, and
 * begins at zero.
 */
const SPARSE_RATE = 3e-3;

/**
 * The terms of a configuration; those at their defaults are left out.
 * @throws {UserError} where a pattern of `optimizer.freeze` fits no parameter, or all are frozen.
 */
export function trainingTerms(config: TrainConfig, model: MambaConfig): TrainingTerms {
  const { label_smoothing: labelSmoothing, z_loss: zLoss } = config.objective;
  const { layer_decay: layerDecay, freeze, embedding_full_rate: full } = config.optimizer;
  const terms: TrainingTerms = {};
  if (labelSmoothing || zLoss) terms.objective = { labelSmoothing, zLoss };
  const { dropout, token_dropout: tokenDropout, state_dropout: stateDropout } = config.objective;
  if (dropout) terms.dropout = dropout;
  if (tokenDropout) terms.tokenDropout = tokenDropout;
  if (stateDropout) terms.stateDropout = stateDropout;
  if (config.precision !== "f32") terms.precision = config.precision;
  if (config.optimizer.decay_all) terms.decayAll = true;
  if (config.average.decay) terms.averageDecay = config.average.decay;
  const { head_learning_rate: head, learning_rate: peak } = config.optimizer;
  const headRate = head ? head / peak : 1;
  const sparseRate = Math.max(headRate, SPARSE_RATE / peak);
  const hasSparse = model.head?.sparse !== undefined;
  if (layerDecay !== 1 || headRate !== 1 || freeze.trim() || hasSparse && sparseRate !== 1) {
    const frozen = frozenNames(freeze, parameterList(model));
    terms.rate = (parameter) => {
      if (frozen.has(parameter.name)) return 0;
      if (parameter.name === HEAD_SPARSE) return sparseRate;
      if (isHeadParameter(parameter.name)) return headRate;
      return layerDecay ** layersAbove(parameter, model, full);
    };
  }
  return terms;
}

/**
 * How many layers lie between a parameter and the head. The embedding lies under all of them, and counts
 * as the head that it is tied to where it learns at the full rate.
 */
function layersAbove(
  { name, layer }: Parameter,
  { layers }: MambaConfig,
  embeddingAtFullRate: boolean,
): number {
  if (name === EMBEDDING) return embeddingAtFullRate ? 0 : layers;
  return Math.max(0, layers - 1 - layer);
}

function frozenNames(freeze: string, parameters: readonly Parameter[]): Set<string> {
  const frozen = new Set<string>();
  for (const pattern of freeze.split(",").map((p) => p.trim()).filter(Boolean)) {
    const parts = pattern.split("*").map((p) => p.replace(/[.[\]()+?^$|{}\\]/g, "\\$&"));
    const expression = new RegExp(`^${parts.join(".*")}$`);
    const found = parameters.filter(({ name }) => expression.test(name));
    if (!found.length) {
      throw new UserError(
        `Cannot freeze "${pattern}" (optimizer.freeze): no parameter has such a name; there are ` +
          `${parameters.slice(0, 3).map((p) => p.name).join(", ")}, ...`,
      );
    }
    for (const { name } of found) frozen.add(name);
  }
  if (frozen.size === parameters.length) {
    throw new UserError(`Cannot train: optimizer.freeze "${freeze}" freezes every parameter`);
  }
  return frozen;
}
