/** What training drops, and the seeds that it is drawn by. @module */

/** The shares that training drops; 0 by default. */
export interface Dropouts {
  /** Of the embeddings' values. */
  dropout?: number;
  /** Of the tokens, whose whole embedding is dropped. */
  tokenDropout?: number;
  /** Of the last hidden states' values. */
  stateDropout?: number;
}

/** The seed of what is dropped of hidden states, by that of the embeddings. */
export const stateSeed = (seed: number): number => (seed ^ 0x5bd1e995) >>> 0;
