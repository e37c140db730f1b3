/**
 * Whether this process is one of several that `mpirun`, `srun` or an MPI operator started, and which MPI
 * library they speak with. Only environment variables are read; nothing is loaded.
 * @module
 */

import { join } from "../std.ts";
import { UserError } from "../errors.ts";

/** Reads a variable of the environment. */
type Environment = (name: string) => string | undefined;

/** What the launcher says of this process. */
export interface Launch {
  rank: number;
  size: number;
  /** Which of the ranks on its machine it is, where the launcher says. */
  localRank: number | undefined;
  /** Who started it, for messages. */
  launcher: string;
  /** The libraries to try, in order. */
  libraries: string[];
}

/** A way to start ranks, and how it shows. */
interface Launcher {
  launcher: string;
  rank: string;
  size: string;
  local: string;
  libraries: string[];
}

/** The libraries of Open MPI and of MPICH, and behind each the standard ABI of MPI 5. */
const STANDARD_ABI = "libmpi_abi.so.1";
const OPEN_MPI = ["libmpi.so.40", "libmpi.so.80", "libmpi.so", "libmpi.dylib", STANDARD_ABI];
const MPICH = ["libmpich.so.12", "libmpi.so.12", "libmpich.so", "libmpi.dylib", STANDARD_ABI];

/**
 * The variables by which a launcher tells rank and size, and the libraries that go with it. Slurm's own
 * SLURM_PROCID is not among them: a batch script has it, too, and is no rank.
 */
const LAUNCHERS: Launcher[] = [
  {
    launcher: "Open MPI's mpirun",
    rank: "OMPI_COMM_WORLD_RANK",
    size: "OMPI_COMM_WORLD_SIZE",
    local: "OMPI_COMM_WORLD_LOCAL_RANK",
    libraries: OPEN_MPI,
  },
  {
    // MPICH's mpirun, and srun --mpi=pmi2.
    launcher: "MPICH's mpirun",
    rank: "PMI_RANK",
    size: "PMI_SIZE",
    local: "MPI_LOCALRANKID",
    libraries: MPICH,
  },
  {
    // srun --mpi=pmix sets the rank of PMIx and Slurm's own count of the step's tasks.
    launcher: "srun",
    rank: "PMIX_RANK",
    size: "SLURM_STEP_NUM_TASKS",
    local: "SLURM_LOCALID",
    libraries: OPEN_MPI,
  },
  {
    launcher: "srun",
    rank: "PMIX_RANK",
    size: "SLURM_NTASKS",
    local: "SLURM_LOCALID",
    libraries: OPEN_MPI,
  },
];

/** Names the library where the usual names do not find it. */
export const LIBRARY_VARIABLE = "PUBMAMBA_MPI_LIBRARY";
/** By which srun numbers the tasks of a step, with MPI or without. */
const SLURM_TASK = "SLURM_PROCID";
const SLURM_STEP_TASKS = "SLURM_STEP_NUM_TASKS";

/** Every variable that {@linkcode detectLaunch} reads. */
export const LAUNCH_VARIABLES: readonly string[] = [
  ...new Set([
    ...LAUNCHERS.flatMap(({ rank, size, local }) => [rank, size, local]),
    LIBRARY_VARIABLE,
    SLURM_TASK,
  ]),
];

/**
 * What the environment says of this process: undefined where it was started alone, that is without a
 * launcher or as the only rank.
 * @throws {UserError} where srun started several processes that cannot find each other.
 */
export function detectLaunch(
  get: Environment = (name) => Deno.env.get(name),
): Launch | undefined {
  const count = counts(get);
  for (const { launcher, rank, size, local, libraries } of LAUNCHERS) {
    const ownRank = count(rank);
    const ranks = count(size);
    if (ownRank === undefined || ranks === undefined) continue;
    if (ranks < 2) return undefined;
    const named = get(LIBRARY_VARIABLE);
    return {
      rank: ownRank,
      size: ranks,
      localRank: count(local),
      launcher,
      libraries: named ? [named] : libraries,
    };
  }
  const step = slurmStep(get);
  if (step) {
    throw new UserError(
      `Cannot share the work among the ${step.size} tasks of this srun: they were started without MPI and ` +
        `know nothing of each other; start them with srun --mpi=pmix (Open MPI) or --mpi=pmi2 (MPICH)`,
    );
  }
  return undefined;
}

/** Reads whole numbers of the environment. */
function counts(get: Environment): (name: string) => number | undefined {
  return (name) => {
    const text = get(name);
    return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
  };
}

/** Which of a Slurm step's several tasks this process is, started with MPI or without. */
function slurmStep(get: Environment): { rank: number; size: number } | undefined {
  const count = counts(get);
  const rank = count(SLURM_TASK);
  const size = count(SLURM_STEP_TASKS) ?? 1;
  return rank !== undefined && size > 1 ? { rank, size } : undefined;
}

/**
 * Which of several processes this one is that were started at once, whether they can find each other or
 * not; undefined where it was started alone.
 */
export function startedTasks(
  get: Environment = (name) => Deno.env.get(name),
): Pick<Launch, "rank" | "size" | "launcher"> | undefined {
  const step = slurmStep(get);
  return step ? { ...step, launcher: "srun" } : detectLaunch(get);
}

/** Folders in which systems and modules keep MPI libraries, besides those that the environment names. */
const LIBRARY_FOLDERS = [
  ...["x86_64", "aarch64"].map((machine) => `/usr/lib/${machine}-linux-gnu`),
  "/usr/local/lib",
  "/usr/lib64/openmpi/lib",
  "/usr/lib64/mpich/lib",
  "/usr/lib64",
  "/usr/lib",
  "/opt/homebrew/lib",
];

/**
 * The file of the library that goes with a launcher: as a path, since rights to load a library are given
 * by path. Looked for in the folders of LD_LIBRARY_PATH, beside the programs of PATH, and where systems
 * keep them. Undefined where there is none.
 */
export function findLibrary(
  launch: Launch,
  get: Environment = (name) => Deno.env.get(name),
  isFile: (path: string) => boolean = isThere,
): string | undefined {
  const named = get(LIBRARY_VARIABLE);
  if (named) return named;
  const entries = (name: string) => (get(name) ?? "").split(":").filter(Boolean);
  const programs = entries("PATH").filter((folder) => isFile(join(folder, "mpirun")));
  const folders = [
    ...entries("LD_LIBRARY_PATH"),
    ...programs.map((folder) => join(folder, "..", "lib")),
    ...LIBRARY_FOLDERS,
  ];
  for (const name of launch.libraries) {
    const folder = folders.find((place) => isFile(join(place, name)));
    if (folder !== undefined) return join(folder, name);
  }
  return undefined;
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
