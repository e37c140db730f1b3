/** Starting programs as ranks of a real MPI, for tests. @module */

/** The launchers that may be installed, each with its own library. */
const CANDIDATES = [
  { name: "Open MPI", programs: ["mpirun.openmpi", "mpirun"], says: /open mpi|openrte/i },
  { name: "MPICH", programs: ["mpirun.mpich", "mpirun"], says: /hydra/i },
];

function found(programs: string[], says: RegExp): string | undefined {
  for (const program of programs) {
    try {
      const { stdout, stderr } = new Deno.Command(program, { args: ["--version"] }).outputSync();
      const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
      if (says.test(text)) return program;
    } catch { /* it is not installed */ }
  }
  return undefined;
}

/** Each MPI with the program that starts its ranks, where it is installed. */
export const MPI_PROGRAMS: { name: string; mpirun: string | undefined }[] = CANDIDATES.map(
  ({ name, programs, says }) => ({ name, mpirun: found(programs, says) }),
);

/** Open MPI refuses root and more ranks than cores unless told; both are what a test machine has. */
const OPEN_MPI_FLAGS = ["--allow-run-as-root", "--oversubscribe"];

/** Starts `size` ranks of `deno ARGS`. */
export function startRanks(
  mpirun: string,
  size: number,
  args: string[],
  options: { env?: Record<string, string>; cwd?: string } = {},
): Deno.ChildProcess {
  const openMpi = MPI_PROGRAMS[0]?.mpirun === mpirun;
  return new Deno.Command(mpirun, {
    args: [...(openMpi ? OPEN_MPI_FLAGS : []), "-n", String(size), Deno.execPath(), ...args],
    stdout: "piped",
    stderr: "piped",
    ...options,
    env: { NO_COLOR: "1", ...options.env },
  }).spawn();
}

/**
 * The process ids of ranks, by rank, that compute on a run folder: those whose own words name it, and
 * not the launcher's that started them.
 */
export function rankProcesses(run: string): Map<number, number> {
  const found = new Map<number, number>();
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const words = Deno.readTextFileSync(`/proc/${name}/cmdline`).split("\0");
      if (!words.includes(run) || !words.some((word) => word.endsWith("main.ts"))) continue;
      const environment = Deno.readTextFileSync(`/proc/${name}/environ`);
      const rank = /(?:^|\0)(?:OMPI_COMM_WORLD_RANK|PMI_RANK)=(\d+)/.exec(environment)?.[1];
      if (rank !== undefined) found.set(Number(rank), Number(name));
    } catch { /* it has ended */ }
  }
  return found;
}

/** Starts `size` ranks of `deno ARGS` and waits for them. */
export async function runRanks(
  ...given: Parameters<typeof startRanks>
): Promise<{ code: number; stdout: string; stderr: string }> {
  const output = await startRanks(...given).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code: output.code, stdout: text(output.stdout), stderr: text(output.stderr) };
}
