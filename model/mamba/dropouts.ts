/** What training drops, and the seeds that it is drawn by. @module */
import type { TrainingTerms } from "./types.ts";

/** The shares that training drops. */
export type Dropouts = Pick<TrainingTerms, "dropout" | "tokenDropout" | "stateDropout">;

/** The seed of what is dropped of hidden states, by that of the embeddings. */
export const stateSeed = (seed: number): number => (seed ^ 0x5bd1e995) >>> 0;
