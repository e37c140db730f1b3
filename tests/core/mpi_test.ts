import { detectLaunch, findLibrary } from "../../core/mpi/launch.ts";
import { fromFileUrl } from "../../core/std.ts";
import { assertEquals, assertStringIncludes, assertThrows } from "../assert.ts";
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

Deno.test("a batch script of Slurm is no rank, and a step without MPI is refused", () => {
  const script: Record<string, string> = { SLURM_PROCID: "0", SLURM_NTASKS: "4" };
  assertEquals(detectLaunch((name) => script[name]), undefined);
  const step: Record<string, string> = { ...script, SLURM_STEP_NUM_TASKS: "4" };
  assertThrows(() => detectLaunch((name) => step[name]), Error, "srun --mpi=pmix");
  const ranks: Record<string, string> = { ...step, PMIX_RANK: "3", SLURM_LOCALID: "1" };
  const launch = detectLaunch((name) => ranks[name]);
  assertEquals([launch?.rank, launch?.size, launch?.localRank], [3, 4, 1]);
});

Deno.test("the library is the file that goes with the launcher, by its whole path", () => {
  const there = [
    "/opt/mpi/bin/mpirun",
    "/opt/mpi/bin/../lib/libmpi.so.40",
    "/usr/lib64/libmpi.so.40",
    "/usr/lib64/libmpich.so.12",
  ].map((path) => path.replace("/bin/..", ""));
  const isFile = (path: string) => there.includes(path);
  const variables: Record<string, string> = {
    OMPI_COMM_WORLD_RANK: "0",
    OMPI_COMM_WORLD_SIZE: "2",
    PATH: "/usr/bin:/opt/mpi/bin",
  };
  const get = (name: string) => variables[name];
  const launch = detectLaunch(get);
  if (!launch) throw new Error("not seen as a rank");
  assertEquals(findLibrary(launch, get, isFile), "/opt/mpi/lib/libmpi.so.40");
  delete variables.PATH;
  assertEquals(findLibrary(launch, get, isFile), "/usr/lib64/libmpi.so.40");
  const mpich = detectLaunch((name) =>
    ({ PMI_RANK: "0", PMI_SIZE: "2" } as typeof variables)[name]
  );
  if (!mpich) throw new Error("not seen as a rank");
  assertEquals(findLibrary(mpich, get, isFile), "/usr/lib64/libmpich.so.12");
  assertEquals(findLibrary(mpich, get, () => false), undefined);
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
