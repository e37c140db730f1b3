/**
 * Whether this process is one of several that `mpirun`, `srun` or an MPI operator started, and which MPI
 * library they speak with. Only environment variables are read; nothing is loaded.
 * @module
 */

/** What the launcher says of this process. */
export interface Launch {
  rank: number;
  size: number;
  /** Who started it, for messages. */
  launcher: string;
  /** The libraries to try, in order. */
  libraries: string[];
}

/** The variables by which a launcher tells rank and size, and the libraries that go with it. */
const LAUNCHERS: { launcher: string; rank: string; size: string; libraries: string[] }[] = [
  {
    launcher: "Open MPI's mpirun",
    rank: "OMPI_COMM_WORLD_RANK",
    size: "OMPI_COMM_WORLD_SIZE",
    libraries: ["libmpi.so.40", "libmpi.so.80", "libmpi.so", "libmpi.dylib"],
  },
  {
    launcher: "MPICH's mpirun",
    rank: "PMI_RANK",
    size: "PMI_SIZE",
    libraries: ["libmpich.so.12", "libmpi.so.12", "libmpich.so", "libmpi.dylib"],
  },
  {
    // srun --mpi=pmix sets the rank of PMIx and Slurm's own count of tasks.
    launcher: "srun",
    rank: "PMIX_RANK",
    size: "SLURM_NTASKS",
    libraries: ["libmpi.so.40", "libmpi.so.80", "libmpi.so"],
  },
];

/** Names the library where the usual names do not find it. */
const LIBRARY_VARIABLE = "PUBMAMBA_MPI_LIBRARY";

/**
 * What the environment says of this process: undefined where it was started alone, that is without a
 * launcher or as the only rank.
 */
export function detectLaunch(
  get: (name: string) => string | undefined = (name) => Deno.env.get(name),
): Launch | undefined {
  for (const { launcher, rank, size, libraries } of LAUNCHERS) {
    const ownRank = Number(get(rank) ?? NaN);
    const ranks = Number(get(size) ?? NaN);
    if (!Number.isInteger(ownRank) || !Number.isInteger(ranks) || ranks < 2) continue;
    const named = get(LIBRARY_VARIABLE);
    return {
      rank: ownRank,
      size: ranks,
      launcher,
      libraries: named ? [named] : ["libmpi_abi.so.1", ...libraries],
    };
  }
  return undefined;
}
