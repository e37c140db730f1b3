/**
 * The processes that share a run. One process alone is a job too, so that the training loop reads the
 * same for one as for many.
 * @module
 */
import {
  deviceChoiceOf,
  type RankDevice,
  SHARED_DEVICE_REMEDY,
  sharedDevices,
} from "../../core/mpi/devices.ts";
import type { Ranks } from "../../core/mpi/ranks.ts";
import type { Reporter } from "../../core/reporter.ts";
import { UserError } from "../../core/errors.ts";

/** What a process knows of those that it shares a run with. */
export interface Job {
  /** This process, from 0. */
  readonly rank: number;
  /** How many there are. */
  readonly size: number;
  /** Whether this is the process that prints, logs and writes: rank 0. */
  readonly leads: boolean;
  /** Whether the ranks have said what they are about to do; see {@linkcode requireSame}. */
  begun: boolean;
  /** How they speak with each other; undefined for one process alone. */
  readonly ranks: Ranks | undefined;
  /** A plain value of every rank, by rank. Every rank has to call it. */
  gather<T>(value: T): Promise<T[]>;
  /** Returns once every rank has called it. */
  barrier(): Promise<void>;
  /** Marks an error that every rank comes to at the same place, so that one of them tells it. */
  agreed<E extends Error>(error: E): E;
}

/** One process alone. */
export const ALONE: Job = {
  rank: 0,
  size: 1,
  leads: true,
  begun: true,
  ranks: undefined,
  gather: (value) => Promise.resolve([value]),
  barrier: () => Promise.resolve(),
  agreed: (error) => error,
};

const agreedErrors = new WeakSet<Error>();

/** Whether every rank has come to this error. */
export function isAgreed(error: unknown): boolean {
  return error instanceof Error && agreedErrors.has(error);
}

/** The job that ranks make. */
export function jobOf(ranks: Ranks): Job {
  return {
    rank: ranks.rank,
    size: ranks.size,
    leads: ranks.rank === 0,
    begun: false,
    ranks,
    gather: (value) => ranks.gatherValues(value),
    barrier: () => ranks.barrier(),
    agreed(error) {
      agreedErrors.add(error);
      return error;
    },
  };
}

/** What one rank says before a job begins: what it is about to do, or why it cannot. */
export type Readiness = { ready: Record<string, string> } | { failed: string };

/**
 * Has every rank say what it is about to do, and compares. The first thing that ranks say to each
 * other, so that a rank that failed before can say that instead (see {@linkcode tellFailure}).
 * @param own what has to be the same on every rank, by what it is called
 * @throws {UserError} on every rank: naming the ranks that failed, or what differs and where.
 */
export async function requireSame(job: Job, own: Record<string, string>): Promise<void> {
  if (job.size === 1) return;
  const all = await job.gather<Readiness>({ ready: own });
  job.begun = true;
  const failures = failuresOf(all);
  if (failures.length) throw job.agreed(new UserError(failures.join("\n")));
  const [first] = all;
  if (!first || !("ready" in first)) return;
  for (const [name, value] of Object.entries(first.ready)) {
    const other = all.findIndex((one) => "ready" in one && one.ready[name] !== value);
    const said = all[other];
    if (!said || !("ready" in said)) continue;
    throw job.agreed(
      new UserError(
        `Cannot share the work among ${job.size} ranks: rank ${other} has another ${name} than rank 0 ` +
          `(${
            said.ready[name]
          }, rank 0 ${value}); start every rank with the same command, program ` +
          `and kind of device`,
      ),
    );
  }
}

/**
 * Says to the others that this rank cannot begin, where they are at {@linkcode requireSame} or here.
 * @returns what the ranks failed with, for rank 0 to tell
 */
export async function tellFailure(ranks: Ranks, message: string): Promise<string[]> {
  return failuresOf(await ranks.gatherValues<Readiness>({ failed: message }));
}

/** What ranks failed with; the same message once. */
function failuresOf(all: readonly Readiness[]): string[] {
  const told = new Map<string, number[]>();
  all.forEach((one, rank) => {
    if ("failed" in one) told.set(one.failed, [...told.get(one.failed) ?? [], rank]);
  });
  return [...told].map(([message, ranks]) =>
    ranks.length === all.length
      ? message
      : `Rank${ranks.length > 1 ? "s" : ""} ${ranks.join(", ")} of ${all.length}: ${message}`
  );
}

/**
 * The device of every rank, by rank; nothing for one process alone.
 * @param own of this rank: its name where one opened, and whether it is the processor
 */
export async function rankDevices(
  job: Job,
  own: { device: string | undefined; cpu: boolean },
): Promise<RankDevice[]> {
  const { ranks, rank } = job;
  if (!ranks) return [];
  const { device = null, cpu } = own; // JSON has no undefined
  const all = await job.gather({
    rank,
    host: ranks.host,
    device,
    cpu,
    choice: deviceChoiceOf(rank),
  });
  return all.map((one) => ({ ...one, device: one.device ?? undefined }));
}

/** Jobs whose devices were looked at, so that a second model brings no second warning. */
const lookedAt = new WeakSet<Job>();

/** Warns once in a job where ranks share a GPU. Every rank has to call it. */
export async function warnOfSharedDevices(
  job: Job,
  own: { device: string; cpu?: boolean },
  reporter: Reporter,
): Promise<void> {
  if (job.size === 1 || lookedAt.has(job)) return;
  lookedAt.add(job);
  const all = await rankDevices(job, { device: own.device, cpu: own.cpu ?? false });
  for (const message of sharedDevices(all)) {
    reporter.log(`Warning: ${message}; ${SHARED_DEVICE_REMEDY}`);
  }
}

/** What a rank asks for at the beginning of a step. */
export interface StepWishes {
  /** It was told to save and stop. */
  stop: boolean;
  /** The time that the run may take is over. */
  timeUp: boolean;
  /** A checkpoint is due by the clock. */
  late: boolean;
}

/**
 * What all do: stop where any rank was told to, and go by rank 0's clock.
 */
export async function agreeOn(job: Job, own: StepWishes): Promise<StepWishes> {
  if (job.size === 1) return own;
  const all = await job.gather(own);
  return {
    stop: all.some((one) => one.stop),
    timeUp: all[0]?.timeUp ?? false,
    late: all[0]?.late ?? false,
  };
}

/** How a rank spent the loop's time. */
export interface RankTimes {
  /** Which, from 0. */
  rank: number;
  /** Where it ran. */
  host: string;
  /** Seconds. */
  seconds: number;
  /** Seconds in which gradients and weights were exchanged. */
  exchanging: number;
  /** Seconds in which it waited for the slowest rank. */
  waiting: number;
  /** Bytes that it sent. */
  sent: number;
}

/** How every rank spent its time; undefined for one process. */
export async function rankTimes(job: Job, seconds: number): Promise<RankTimes[] | undefined> {
  const { ranks } = job;
  if (!ranks) return undefined;
  return await job.gather({
    rank: job.rank,
    host: ranks.host,
    seconds,
    exchanging: ranks.seconds,
    waiting: ranks.waitingSeconds,
    sent: ranks.bytesSent,
  });
}
