/**
 * Learning rates of heads and of the models below them, where none are given: found by the development
 * splits of NCBI-disease and ChemProt for models of width 64, and lowered with the width so that those
 * of width 768 learn at about the rates that BERT's kin are fine-tuned with (5e-5).
 * @module
 */
import { type PartialConfig } from "../../training/mod.ts";

/** The peak at width 64, where a task has no other. */
const RATE = 2e-3;
const WIDTH = 64;
/** 64 to 768 is twelve times the width, and a forty-second part of the rate. */
const EXPONENT = 1.5;

/**
 * The peak learning rate of a model of this width that is taught by a head; two digits.
 * @param atWidth64 that of a model of width 64
 */
export const rateOfWidth = (hiddenSize: number, atWidth64 = RATE): number =>
  Number((atWidth64 * (WIDTH / hiddenSize) ** EXPONENT).toPrecision(2));

/** A configuration with the learning rates that it leaves open, for a model that is taught by a head. */
export function withHeadRates(
  config: PartialConfig,
  hiddenSize: number,
  { learningRate: least, rateAtWidth64, mostRate = Infinity }: {
    learningRate: number;
    rateAtWidth64?: number;
    mostRate?: number;
  },
): PartialConfig {
  const optimizer = (config.optimizer ?? {}) as PartialConfig;
  const own = optimizer.learning_rate ??
    Math.min(mostRate, rateOfWidth(hiddenSize, rateAtWidth64));
  // A head begins anew: it never learns slower than what is below it.
  const ofHead = optimizer.head_learning_rate ?? Math.max(Number(own), least);
  return { ...config, optimizer: { ...optimizer, learning_rate: own, head_learning_rate: ofHead } };
}
