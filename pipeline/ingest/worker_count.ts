/** How many workers fit into a machine. @module */
import process from "node:process";

const MIB = 2 ** 20;
/** What the program needs besides its workers: the catalogue's cache, listings, a shard being packed. */
const BASE_BYTES = 512 * MIB;
/** What a worker needs with room to spare; 250 to 370 MB were measured (docs/pipeline.md). */
const WORKER_BYTES = 512 * MIB;

/** The workers that fit into `memory` bytes beside the program itself, at most one per core. */
export function workersFor(cores: number, memory: number): number {
  const fitting = Math.floor((memory - BASE_BYTES) / WORKER_BYTES);
  return Math.max(1, Math.min(cores, fitting));
}

/**
 * One worker per core, or as many as the memory bears that is free or that the container may have.
 * Where the program may not ask for the memory, the cores alone count.
 */
export function defaultWorkers(): number {
  return workersFor(navigator.hardwareConcurrency, availableMemory());
}

/** Bytes of memory to be had, after the limit of a container or service (cgroup) too. */
function availableMemory(): number {
  const limits: number[] = [];
  for (
    const ask of [() => Deno.systemMemoryInfo().available, () => process.constrainedMemory()]
  ) {
    try {
      const bytes = ask();
      if (bytes > 0) limits.push(bytes);
    } catch { /* it may not be asked, or the system does not say */ }
  }
  return limits.length === 0 ? Infinity : Math.min(...limits);
}
