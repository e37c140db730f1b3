/** Which part of a step's work a process does. @module */
import { UserError } from "../../core/errors.ts";
import type { TrainConfig } from "./configuration.ts";

/** A process's part of every step. */
export interface StepShare {
  /** Rows of a micro-batch. */
  rows: number;
  /** Micro-batches of the whole step. */
  all: number;
  /** The first of this process's. */
  first: number;
  /** How many it has. */
  count: number;
  /** Lanes that these are dealt to, one after the other, equally many each; see gpu/lanes.ts. */
  lanes: number;
}

/**
 * Deals the micro-batches of a step to ranks, in order. Lanes stay whole, and a rank's lanes are a whole
 * branch of the tree in which they are added. Without lanes each rank is one; where there are not enough
 * micro-batches for all, these are cut into smaller ones.
 * @throws {UserError} where they cannot be dealt.
 */
export function shareOf(
  { rows, accumulate, lanes }: TrainConfig["batch"],
  { rank, size }: { rank: number; size: number },
): StepShare {
  if (size === 1) return { rows, all: accumulate, first: 0, count: accumulate, lanes };
  if (lanes > 1) {
    if (lanes % size !== 0) {
      throw new UserError(
        `Cannot share steps of ${lanes} lanes (batch.lanes) among ${size} ranks: each rank takes as ` +
          `many lanes; start 2, 4, ... up to ${lanes} ranks, or start anew with more lanes`,
      );
    }
    const count = accumulate / size;
    return { rows, all: accumulate, first: rank * count, count, lanes: lanes / size };
  }
  const whole = rows * accumulate;
  if (whole % size !== 0) {
    throw new UserError(
      `Cannot share steps of ${whole} rows (batch.rows ${rows} x batch.accumulate ${accumulate}) ` +
        `among ${size} ranks: set batch.accumulate to a multiple of ${size}`,
    );
  }
  const own = whole / size;
  const each = commonDivisor(rows, own);
  const count = own / each;
  return { rows: each, all: whole / each, first: rank * count, count, lanes: 1 };
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}
