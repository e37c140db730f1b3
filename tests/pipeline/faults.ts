/**
 * How much of the fault tests to run: a little in `deno task test`, some more by .ci/run
 * (PUBMAMBA_FAULTS=ci), all of it in `deno task test:faults` (PUBMAMBA_FAULTS=full).
 * @module
 */

const LEVEL = Deno.env.get("PUBMAMBA_FAULTS") ?? "";

/** True in `deno task test:faults`. */
export const ALL_FAULTS: boolean = LEVEL === "full";

/** The number for this level. */
export const faults = (little: number, ci: number, full: number): number =>
  ALL_FAULTS ? full : LEVEL === "ci" ? ci : little;

/** A small generator of numbers from 0 to 1 with a seed (mulberry32), so that a failure can be repeated. */
export function random(seed: number): () => number {
  return () => {
    seed = seed + 0x6d2b79f5 | 0;
    let t = Math.imul(seed ^ seed >>> 15, 1 | seed);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) / 4294967296;
  };
}
