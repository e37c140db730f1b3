/** What each rank of mpi_test.ts does: every collective once, on values that each rank can check. @module */
import { consoleReporter } from "../../core/reporter.ts";
import { detectLaunch } from "../../core/mpi/launch.ts";
import { joinRanks } from "../../core/mpi/ranks.ts";

const launch = detectLaunch();
if (!launch) throw new Error("started without ranks");
const ranks = joinRanks(launch);
const { rank, size } = ranks;
await ranks.barrier();
const shared = new Uint8Array(1000).fill(rank === 1 ? 77 : 0);
await ranks.broadcast(shared, 1);
// Rank r sends rank s so many bytes of one value, so that places and lengths can be told apart.
const length = (from: number, to: number) => 3 + 5 * from + to;
const others = Array.from({ length: size }, (_, r) => r);
const received = await ranks.exchange(
  others.map((to) => new Uint8Array(length(rank, to)).fill(10 * rank + to)),
  others.map((from) => length(from, rank)),
);
const lengths = others.map((r) => r + 1);
const offsets = others.map((r) => r * (r + 1) / 2);
const whole = new Uint8Array(size * (size + 1) / 2);
await ranks.gather(new Uint8Array(rank + 1).fill(rank), whole, offsets, lengths);
const values = await ranks.gatherValues({ rank, text: "é".repeat(rank) });
consoleReporter().line(JSON.stringify({
  rank,
  size,
  library: ranks.library,
  shared: [...new Set(shared)],
  received: received.map((bytes) => [bytes.length, ...new Set(bytes)]),
  whole: [...whole],
  values,
  sent: ranks.bytesSent > 0,
}));
ranks.close();
