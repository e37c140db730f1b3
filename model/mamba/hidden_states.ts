/**
 * Hidden states through the logits of a model: whatever computes it, its head is a product with the
 * embedding, so that rows of the unit matrix below the embedding's own give the state itself.
 * @module
 */
import type { MambaConfig } from "./config.ts";
import { EMBEDDING } from "./parameters.ts";
import type { ReadParameter } from "./types.ts";

/** A model whose logits from `first` on are the components of its hidden state. */
interface StateModel {
  config: MambaConfig;
  read: ReadParameter;
  first: number;
}

/** Rows of the embedding come in multiples of this. */
const ROW_MULTIPLE = 8;

/**
 * The first `layers` layers of a model, as one whose logits `first` to `first + hiddenSize` at a
 * position are the residual stream after them, divided by its root mean square: as the next layer
 * reads it, but for that layer's weights.
 */
export function stateModel(
  config: MambaConfig,
  read: ReadParameter,
  layers: number,
): StateModel {
  const { hiddenSize: width, paddedVocabSize: first } = config;
  const rows = Math.ceil((first + width) / ROW_MULTIPLE) * ROW_MULTIPLE;
  return {
    first,
    config: { ...config, layers, vocabSize: first + width, paddedVocabSize: rows },
    read(name) {
      // Its weights belong to what the last layer leaves.
      if (name === "backbone.norm_f.weight") return new Float32Array(width).fill(1);
      if (name !== EMBEDDING) return read(name);
      const values = new Float32Array(rows * width);
      values.set(read(name));
      for (let c = 0; c < width; c++) values[(first + c) * width + c] = 1;
      return values;
    },
  };
}
