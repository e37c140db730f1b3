/**
 * Which share of the work a process has: "2/8" is the second of eight parts. Slurm's job arrays and
 * Kubernetes' Indexed Jobs say it in the environment.
 * @module
 */
import { UsageError } from "../../core/errors.ts";
import type { Environment } from "../../core/locations.ts";

/** One of n parts. */
export interface Part {
  /** From 1 to `parts`. */
  part: number;
  parts: number;
}

/** More parts than PubMed has files bring nothing. */
const MOST_PARTS = 100_000;

/** The variables that {@linkcode partOf} looks at. */
export const PART_VARIABLES: readonly string[] = [
  "JOB_COMPLETION_INDEX",
  "PUBMAMBA_PARTS",
  "SLURM_ARRAY_TASK_COUNT",
  "SLURM_ARRAY_TASK_ID",
  "SLURM_ARRAY_TASK_MIN",
  "SLURM_ARRAY_TASK_STEP",
];

/** As the option says it. */
export const partName = ({ part, parts }: Part): string => `${part}/${parts}`;

/**
 * The part of a command line: what `--part` says, or else the environment; undefined where the
 * command is to do all of the work.
 * @param given "2/8", or "off" to leave the environment aside; "0/8" is the same part as "8/8", so
 *   that those who count from 0 have n parts too
 * @throws {UsageError} where it makes no sense
 */
export function partOf(given: string | undefined, get: Environment): Part | undefined {
  if (given === "off") return undefined;
  if (given === undefined) return partOfSlurm(get) ?? partOfIndexedJob(get);
  const match = /^(\d+)\/(\d+)$/.exec(given);
  const part = Number(match?.[1]);
  const parts = Number(match?.[2]);
  if (!match || parts < 1 || parts > MOST_PARTS || part > parts) {
    throw new UsageError(
      `Option --part is "${given}": two numbers such as 2/8 are needed, the part and how many there ` +
        'are, or "off"',
    );
  }
  return { part: part === 0 ? parts : part, parts };
}

function partOfSlurm(get: Environment): Part | undefined {
  const id = get("SLURM_ARRAY_TASK_ID");
  const count = get("SLURM_ARRAY_TASK_COUNT");
  if (!id || !count) return undefined;
  const first = Number(get("SLURM_ARRAY_TASK_MIN") || 0);
  const step = Number(get("SLURM_ARRAY_TASK_STEP") || 1);
  const index = (Number(id) - first) / step;
  const parts = Number(count);
  if (!(Number.isInteger(index) && index >= 0 && index < parts)) {
    throw new UsageError(
      `Cannot tell which part this is: Slurm's array task ${id} (the first is ${first}, there are ` +
        `${count}) is not one of a range; give the array as 1-${count}, or say --part`,
    );
  }
  return { part: index + 1, parts };
}

function partOfIndexedJob(get: Environment): Part | undefined {
  const index = get("JOB_COMPLETION_INDEX");
  if (!index) return undefined;
  const parts = get("PUBMAMBA_PARTS");
  const known = /^\d+$/.test(index) && /^\d+$/.test(parts ?? "") && Number(index) < Number(parts);
  if (!known) {
    throw new UsageError(
      `Cannot tell which part this is: JOB_COMPLETION_INDEX is "${index}" and PUBMAMBA_PARTS is ` +
        `"${parts ?? ""}"; set PUBMAMBA_PARTS to the Job's completions, or say --part`,
    );
  }
  return { part: Number(index) + 1, parts: Number(parts) };
}

/** True where a thing with this number is of the part's share: the same for whoever lists the things. */
export const isOwn = ({ part, parts }: Part, number: number): boolean =>
  number % parts === part % parts;

/** The part that a number belongs to. */
export const ownerOf = (number: number, parts: number): number => number % parts || parts;
