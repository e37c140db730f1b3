import { benchRanks } from "../../bench/ranks.ts";
import { type ClusterAssumptions, clusterStep, exchangeSeconds } from "../../bench/ranks_model.ts";
import { command } from "../../commands/bench.ts";
import { parseInvocation } from "../../core/cli.ts";
import { UserError } from "../../core/errors.ts";
import { assert, assertAlmostEquals, assertEquals, assertRejects } from "../assert.ts";
import { silentReporter } from "../model/helpers.ts";
import { MPI_PROGRAMS } from "../ranks.ts";

const mpirun = MPI_PROGRAMS.find((one) => one.mpirun)?.mpirun;
const invocation = (...words: string[]) =>
  parseInvocation(command, ["ranks", ...words], silentReporter(), new AbortController().signal);

Deno.test({
  name: "bench ranks measures real ranks and reckons from them" +
    (mpirun ? "" : " (skipped: no MPI is installed)"),
  ignore: !mpirun,
  async fn() {
    const words = ["--model", "tiny", "--steps", "1", "--compute", "0.01"];
    const given = invocation(...words, "--mpirun", mpirun ?? "");
    // deno-lint-ignore no-explicit-any
    const figures: any = await benchRanks(given);
    // deno-lint-ignore no-explicit-any
    assertEquals(figures.train.map((one: any) => one.steps.length), [1, 2, 4]);
    const bytes: number = figures.gradient_bytes;
    for (const { ranks, sent, exchanging, calling, efficiency, formula } of figures.exchange) {
      // Every rank gives away what it does not own, and its own part to every other rank, with the
      // partial sums of its squares: on a processor one for each 32 values, or fewer.
      const beyond = sent - 2 * bytes * (ranks - 1) / ranks;
      assert(Math.abs(beyond) < bytes / 32 + 4096 * ranks, `${sent} ${bytes}`);
      assert(calling > 0 && exchanging >= calling && efficiency < 1 && formula > 0);
    }
    assertEquals(figures.reckoned.length, 12);
    assert(
      figures.reckoned.every((one: { overlapped: number; efficiency: number }) =>
        one.overlapped >= one.efficiency && one.efficiency > 0
      ),
    );
  },
});

Deno.test("bench ranks says where there is no mpirun", async () => {
  const words = ["--model", "tiny", "--steps", "1", "--mpirun", "no-such-mpirun"];
  await assertRejects(() => benchRanks(invocation(...words)), UserError, '"no-such-mpirun"');
});

Deno.test("the formula of an exchange adds what it says", () => {
  const rates = { read: 2, write: 4, deal: 4, sum: 2, gather: 1 };
  // Summing takes 1/4 + 1/4 + 1/2 per byte, gathering 1/1 + 1/4; reading is hidden by them.
  assertAlmostEquals(exchangeSeconds(8, 2, rates), 8 * (1 + 1.25));
  // Where reading is the slowest, it counts: 2 per byte, and for the own half of it 1.25 of the rest.
  assertAlmostEquals(exchangeSeconds(8, 2, { ...rates, read: 0.5 }), 8 * (2 + 1.25));
});

Deno.test("a cluster's step: on one node nothing leaves it, and overlap hides summing alone", () => {
  const bytes = 1e9;
  const one: ClusterAssumptions = {
    nodes: 1,
    gpusPerNode: 8,
    bus: 1e10,
    readCopy: 1e10,
    writeCopy: 1e10,
    local: 1e10,
    network: 1,
    memory: Infinity,
    latency: 0,
    bucket: bytes,
  };
  const step = clusterStep(bytes, 8e6, 1e6, one);
  assertAlmostEquals(step.computing, 1);
  assertAlmostEquals(step.summing, 0.2 + 0.0875);
  assertAlmostEquals(step.gathering, 0.2 + 0.0875);
  assertAlmostEquals(step.efficiency, 1 / (1 + 2 * 0.2875));
  assertAlmostEquals(step.overlapped, 1 / (1 + 0.2875));
  // Of 16 ranks on two nodes, 8 send half of all to the other node.
  const two = clusterStep(bytes, 16e6, 1e6, { ...one, nodes: 2, network: 4e10 });
  assertAlmostEquals(two.summing, 0.2 + 7 / 160 + 8 * 0.5 / 40);
});
