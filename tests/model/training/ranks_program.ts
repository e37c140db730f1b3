/**
 * What each rank of required_same_test.ts does: it says what it is about to do, and rank 1 says one thing
 * otherwise, one after another. Rank 0 prints what all are told.
 * @module
 */
import { messageOf } from "../../../core/errors.ts";
import { detectLaunch } from "../../../core/mpi/launch.ts";
import { joinRanks } from "../../../core/mpi/ranks.ts";
import { consoleReporter } from "../../../core/reporter.ts";
import { isAgreed, jobOf, requireSame } from "../../../model/training/job.ts";

const launch = detectLaunch();
if (!launch) throw new Error("started without ranks");
const ranks = joinRanks(launch);
const told: Record<string, string[]> = {};
for (const other of Deno.args) {
  const own = Object.fromEntries(
    Deno.args.map((name) => [name, name === other && ranks.rank === 1 ? "theirs" : "ours"]),
  );
  let message = "nothing";
  try {
    await requireSame(jobOf(ranks), own);
  } catch (error) {
    message = isAgreed(error) ? messageOf(error) : "not agreed on";
  }
  told[other] = await ranks.gatherValues(message);
}
if (ranks.rank === 0) consoleReporter().line(JSON.stringify(told));
ranks.close();
