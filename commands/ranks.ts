/**
 * Commands that run as one of several ranks, which `mpirun` or `srun` started: joining the others,
 * rank 0's voice, and how a job ends where a rank fails. A process that was started alone loads nothing.
 * @module
 */
import type { Invocation } from "../core/cli.ts";
import { EXIT, Interrupted, messageOf, UsageError, UserError } from "../core/errors.ts";
import { detectLaunch } from "../core/mpi/launch.ts";
import { joinRanks, type Ranks } from "../core/mpi/ranks.ts";
import { consoleReporter, type Reporter } from "../core/reporter.ts";
import {
  ALONE,
  isAgreed,
  type Job,
  jobOf,
  requireSame,
  tellFailure,
} from "../model/training/mod.ts";

/** Says nothing: rank 0 speaks for all. */
const SILENT: Reporter = {
  line() {},
  write() {},
  log() {},
  progress: () => ({ update() {}, finish() {} }),
};

/**
 * Runs a command, as a rank where this process is one. Rank 0 prints; the others are silent, unless one
 * fails where the others do not: it says so and ends the whole job, as the others would wait for it
 * forever.
 */
export async function asRank(
  invocation: Invocation,
  run: (job: Job, invocation: Invocation) => Promise<number | void>,
): Promise<number | void> {
  const launch = detectLaunch();
  if (!launch) return await run(ALONE, invocation);
  const ranks = joinRanks(launch);
  const job = jobOf(ranks);
  if (job.leads) invocation.reporter.log(`Rank 0 of ${ranks.size}, by ${ranks.library}`);
  const own = job.leads ? invocation : { ...invocation, reporter: SILENT };
  let code: number | void;
  try {
    code = await run(job, own);
    if (!job.begun) await requireSame(job, {});
    await job.barrier();
  } catch (error) {
    return await endFailed(job, ranks, error);
  }
  ranks.close();
  return code;
}

/** Ends a rank on an error. @throws on rank 0 what is to be told. */
async function endFailed(job: Job, ranks: Ranks, error: unknown): Promise<number> {
  if (isAgreed(error)) {
    await job.barrier();
    ranks.close();
    if (job.leads) throw error;
    return error instanceof Interrupted ? EXIT.interrupted : EXIT.failed;
  }
  if (!job.begun) {
    const told = await tellFailure(ranks, messageOf(error));
    await job.barrier();
    ranks.close();
    // The same on all: in the command's own words, as of one process.
    const same = told.length === 1 && told[0] === messageOf(error);
    if (job.leads) throw same ? error : new UserError(told.join("\n"));
    return error instanceof UsageError ? EXIT.usage : EXIT.failed;
  }
  consoleReporter().log(
    `Rank ${ranks.rank} of ${ranks.size} on ${ranks.host} failed, which ends the job: ${
      messageOf(error)
    }`,
  );
  ranks.abort(EXIT.failed);
  return EXIT.failed;
}
