import { detectLaunch } from "../../core/mpi/launch.ts";
import { fromFileUrl } from "../../core/std.ts";
import { assertEquals, assertStringIncludes } from "../assert.ts";
import { MPI_PROGRAMS, runRanks } from "../ranks.ts";

const PROGRAM = fromFileUrl(new URL("./mpi_program.ts", import.meta.url));

Deno.test("without a launcher, and as the only rank, nothing is joined", () => {
  assertEquals(detectLaunch(() => undefined), undefined);
  const alone: Record<string, string> = { OMPI_COMM_WORLD_RANK: "0", OMPI_COMM_WORLD_SIZE: "1" };
  assertEquals(detectLaunch((name) => alone[name]), undefined);
});

Deno.test("each launcher's variables are known", () => {
  const slurm: Record<string, string> = { PMIX_RANK: "3", SLURM_NTASKS: "8" };
  assertEquals(detectLaunch((name) => slurm[name])?.rank, 3);
  const mpich: Record<string, string> = {
    PMI_RANK: "1",
    PMI_SIZE: "2",
    PUBMAMBA_MPI_LIBRARY: "/opt/mpi/lib/libmpi.so",
  };
  const launch = detectLaunch((name) => mpich[name]);
  assertEquals([launch?.size, launch?.libraries], [2, ["/opt/mpi/lib/libmpi.so"]]);
});

for (const { name, mpirun } of MPI_PROGRAMS) {
  for (const size of [2, 4]) {
    Deno.test({
      name: mpirun ? `${name}: ${size} ranks exchange` : `${name} (skipped: not installed)`,
      ignore: !mpirun,
      async fn() {
        const { code, stdout, stderr } = await runRanks(mpirun ?? "", size, [
          "run",
          "-A",
          "--no-check",
          PROGRAM,
        ]);
        assertEquals(code, 0, stderr);
        const told = stdout.trim().split("\n").map((line) => JSON.parse(line))
          .sort((a, b) => a.rank - b.rank);
        const all = Array.from({ length: size }, (_, r) => r);
        assertEquals(told.map((t) => t.rank), all);
        for (const { rank, shared, received, whole, values, library } of told) {
          assertStringIncludes(library, name === "MPICH" ? "MPICH" : "Open MPI");
          assertEquals(shared, [77]);
          assertEquals(received, all.map((from) => [3 + 5 * from + rank, 10 * from + rank]));
          assertEquals(whole, all.flatMap((r) => Array(r + 1).fill(r)));
          assertEquals(values, all.map((r) => ({ rank: r, text: "é".repeat(r) })));
        }
      },
    });
  }
}
