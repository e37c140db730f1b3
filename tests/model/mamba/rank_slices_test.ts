/** Which rank owns what of a model, and that nothing but memory depends on it. */
import { fromFileUrl } from "../../../core/std.ts";
import { VARIANTS } from "../../../kernels/device.ts";
import { runsOf } from "../../../kernels/reduce/reduce.ts";
import { cutBuckets, type SlicedRange } from "../../../model/mamba/gpu/rank_slices.ts";
import { assert, assertEquals } from "../../assert.ts";
import { MPI_PROGRAMS, runRanks } from "../../ranks.ts";

/** Ranges of arenas as a store has them; no device is needed to cut them. */
function ranges(sizes: [arena: number, start: number, size: number, rate: number][]) {
  const buffer = {} as GPUBuffer;
  return sizes.map(([arena, start, size, rate]): SlicedRange => ({
    arena,
    start,
    rate,
    decay: true,
    gradient: { buffer, offset: start, size },
  }));
}

Deno.test("ranks own parts that leave nothing out, overlap nowhere and end where sums of squares do", () => {
  const all = ranges([
    [0, 0, 1 << 27, 1],
    [0, 1 << 27, 90_112, 0],
    [0, (1 << 27) + 90_112, 51_200, 0.5],
    [1, 0, 4096, 1],
    [1, 4096, 512, 1],
  ]);
  for (const variant of VARIANTS) {
    for (const bindingLimit of [1 << 27, 1_150_000]) {
      for (const size of [1, 2, 3, 8, 64]) {
        const buckets = cutBuckets({ variant, bindingLimit }, all, size, 3 << 20);
        const owned = Array.from({ length: size }, () => 0);
        for (const range of all) {
          // Bucket after bucket, and in each of them part after part.
          let at = range.start;
          for (const bucket of buckets.filter((one) => one.range === range)) {
            assertEquals(bucket.inArena, at);
            assert(bucket.size <= Math.max(3 << 20, bucket.stretch.run));
            let within = 0;
            bucket.offsets.forEach((offset, rank) => {
              const length = bucket.lengths[rank] ?? NaN;
              assertEquals(offset, within);
              if (length) assertEquals((bucket.inStretch + offset) % bucket.stretch.run, 0);
              within += length;
              owned[rank] = (owned[rank] ?? NaN) + length;
            });
            assertEquals(within, bucket.size);
            at += bucket.size;
          }
          assertEquals(at, range.start + range.gradient.size);
        }
        // What a rank keeps lies one after another, each where a binding may begin.
        for (const arena of [0, 1]) {
          const kept = Array.from({ length: size }, () => 0);
          for (const bucket of buckets.filter(({ range }) => range.arena === arena)) {
            bucket.kept.forEach((place, rank) => {
              assertEquals(place, kept[rank]);
              kept[rank] = place + Math.ceil((bucket.lengths[rank] ?? NaN) / 256) * 256;
            });
          }
        }
        // No rank has much more than its share: some runs, and what the last run of a bucket is short of.
        const whole = all.reduce((sum, { gradient }) => sum + gradient.size, 0);
        const run = Math.max(...buckets.map(({ stretch }) => stretch.run));
        const most = 1.05 * whole / size + (2 + all.length) * run;
        for (const bytes of owned) assert(bytes <= most, `${bytes} of at most ${most}`);
        // Partial sums of what trains come one after another, as of the whole.
        let first = 0;
        for (const { range, stretch, inStretch } of buckets) {
          if (range.rate === 0 || inStretch) continue;
          assertEquals(stretch.first, first);
          first += runsOf(stretch, stretch.region.size) * stretch.perRun;
        }
      }
    }
  }
});

/** What rank_program.ts tells of a model. */
interface Told {
  name: string;
  rank: number;
  /** Bytes: as planned and as allocated, of moments alone, and left when the model was destroyed. */
  planned: number;
  exchange: number;
  allocated: number;
  moments: number;
  plannedMoments: number;
  left: number;
  reports: unknown[];
  averaged: number;
  loaded?: string;
  trained?: string;
  snapshot?: string;
}

const PROGRAM = ["run", "-A", "--no-check"].concat(
  fromFileUrl(new URL("./rank_program.ts", import.meta.url)),
);
const linesOf = (stdout: string): Told[] =>
  stdout.trim().split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));

/** What training determines. */
const determined = ({ name, reports, averaged, loaded, trained, snapshot }: Told) =>
  JSON.stringify({ name, reports, averaged, loaded, trained, snapshot });

const { name, mpirun } = MPI_PROGRAMS.find((one) => one.mpirun) ?? { name: "MPI" };
Deno.test({
  name: `${name}: memory of moments falls with the ranks, bytes stay, in every precision and kind` +
    (mpirun ? "" : " (skipped: not installed)"),
  ignore: !mpirun,
  async fn() {
    const output = await new Deno.Command(Deno.execPath(), { args: PROGRAM }).output();
    const alone = linesOf(new TextDecoder().decode(output.stdout));
    assertEquals(output.code, 0, new TextDecoder().decode(output.stderr));
    assertEquals(alone.map((one) => one.name), ["f32", "tiled, by layers", "mixed", "adapters"]);
    // Each on one number of ranks, as their programs take long to compile on a processor.
    for (
      const [size, kinds] of [[2, ["tiled, by layers", "mixed"]], [4, ["f32", "adapters"]]] as const
    ) {
      const { code, stdout, stderr } = await runRanks(mpirun ?? "", size, [...PROGRAM, ...kinds]);
      assertEquals(code, 0, stderr);
      const told = linesOf(stdout);
      assertEquals(told.length, size * kinds.length);
      for (const kind of kinds) {
        const whole = alone.find((one) => one.name === kind);
        if (!whole) throw new Error(`${kind} was not computed by one process`);
        const ranks = told.filter((one) => one.name === whole.name);
        const lead = ranks.find(({ rank }) => rank === 0);
        assertEquals(lead && determined(lead), determined(whole));
        // Together they keep what one process keeps, but for what lies between parameters.
        const moments = ranks.reduce((sum, one) => sum + one.moments, 0);
        assert(Math.abs(moments - whole.moments) < 0.01 * whole.moments, `${moments}`);
        for (const one of ranks) {
          assertEquals(JSON.stringify(one.reports), JSON.stringify(whole.reports));
          assertEquals(one.averaged, whole.averaged);
          // Within the few runs of one bucket.
          const share = one.moments * size / whole.moments;
          assert(share < 1.3, `rank ${one.rank} of ${size} keeps ${share} of its share`);
          assertEquals(one.plannedMoments, one.moments);
          assert(one.exchange > 0);
          // What is planned is allocated: what the plan leaves out, or counts for more than there is
          // (parameters of kernels, textures), one process has as well.
          const beyond = one.allocated - one.planned - (whole.allocated - whole.planned);
          assert(Math.abs(beyond) < 8192, `${beyond} bytes beyond the plan`);
          assertEquals(one.left, whole.left);
        }
      }
    }
  },
});
