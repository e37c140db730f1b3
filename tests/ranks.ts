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

/** Starts `size` ranks of `deno ARGS` and waits for them. */
export async function runRanks(
  mpirun: string,
  size: number,
  args: string[],
  options: { env?: Record<string, string>; cwd?: string } = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const openMpi = MPI_PROGRAMS[0]?.mpirun === mpirun;
  // Open MPI refuses root and more ranks than cores unless told; both are what a test machine has.
  const flags = openMpi ? ["--allow-run-as-root", "--oversubscribe"] : [];
  const output = await new Deno.Command(mpirun, {
    args: [...flags, "-n", String(size), Deno.execPath(), ...args],
    ...options,
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code: output.code, stdout: text(output.stdout), stderr: text(output.stderr) };
}
