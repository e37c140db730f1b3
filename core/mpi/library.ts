/**
 * The machine's own MPI library, called through Deno's foreign function interface. One table of symbols
 * serves Open MPI, MPICH and its kin, and the standard ABI of MPI 5: every handle is declared as 64
 * bits wide, which holds Open MPI's pointers as well as MPICH's integers.
 *
 * Sources: the MPI standard, chapters 6 (collectives) and 20 (the ABI of version 5); the handles' values
 * from the implementations' own `mpi.h`.
 * @module
 */
import { UserError } from "../errors.ts";

/** How an implementation writes its handles. */
export type MpiAbi = "Open MPI" | "MPICH" | "MPI 5";

/** The handles that collectives on bytes need. */
export interface MpiHandles {
  world: bigint;
  byte: bigint;
  errorsReturn: bigint;
}

const SYMBOLS = {
  MPI_Get_library_version: { parameters: ["buffer", "buffer"], result: "i32" },
  MPI_Init_thread: { parameters: ["pointer", "pointer", "i32", "buffer"], result: "i32" },
  MPI_Comm_set_errhandler: { parameters: ["u64", "u64"], result: "i32" },
  MPI_Get_processor_name: { parameters: ["buffer", "buffer"], result: "i32" },
  MPI_Comm_rank: { parameters: ["u64", "buffer"], result: "i32" },
  MPI_Comm_size: { parameters: ["u64", "buffer"], result: "i32" },
  MPI_Error_string: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  MPI_Abort: { parameters: ["u64", "i32"], result: "i32" },
  MPI_Finalize: { parameters: [], result: "i32" },
  // What may take long runs beside the event loop.
  MPI_Barrier: { parameters: ["u64"], result: "i32", nonblocking: true },
  MPI_Bcast: {
    parameters: ["buffer", "i32", "u64", "i32", "u64"],
    result: "i32",
    nonblocking: true,
  },
  MPI_Alltoallv: {
    parameters: [
      "buffer",
      "buffer",
      "buffer",
      "u64",
      "buffer",
      "buffer",
      "buffer",
      "u64",
      "u64",
    ],
    result: "i32",
    nonblocking: true,
  },
  MPI_Allgatherv: {
    parameters: ["buffer", "i32", "u64", "buffer", "buffer", "buffer", "u64", "u64"],
    result: "i32",
    nonblocking: true,
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** The functions of the library that are called. */
export type MpiFunctions = Deno.StaticForeignLibraryInterface<typeof SYMBOLS>;

/** Open MPI's handles are addresses, which its conversions from Fortran's numbers tell. */
const OPEN_MPI_CONVERSIONS = {
  MPI_Comm_f2c: { parameters: ["i32"], result: "u64" },
  MPI_Type_f2c: { parameters: ["i32"], result: "u64" },
  MPI_Errhandler_f2c: { parameters: ["i32"], result: "u64" },
} as const satisfies Deno.ForeignLibraryInterface;

/** Fortran's numbers of MPI_COMM_WORLD, MPI_BYTE and MPI_ERRORS_RETURN in Open MPI. */
const OPEN_MPI_FORTRAN = { world: 0, byte: 1, errorsReturn: 2 };

const MPICH_HANDLES: MpiHandles = {
  world: 0x44000000n,
  byte: 0x4c00010dn,
  errorsReturn: 0x54000001n,
};

const MPI_5_HANDLES: MpiHandles = { world: 0x101n, byte: 0x247n, errorsReturn: 0x142n };

/** An MPI library that is loaded, and not initialized yet. */
export interface MpiLibrary {
  path: string;
  /** What it says of itself: "Open MPI v4.1.4". */
  version: string;
  abi: MpiAbi;
  /** To be asked after MPI_Init_thread: Open MPI ends a process that asks before. */
  handles(): MpiHandles;
  functions: MpiFunctions;
}

/** Room for what MPI writes as text: MPI_MAX_LIBRARY_VERSION_STRING of the largest implementation. */
const TEXT_BYTES = 8192;

/** The text that an MPI function writes into a buffer with its length beside it. */
export function mpiText(
  write: (text: Uint8Array<ArrayBuffer>, length: Int32Array<ArrayBuffer>) => void,
): string {
  const text = new Uint8Array(TEXT_BYTES);
  const length = new Int32Array(1);
  write(text, length);
  return new TextDecoder().decode(text.subarray(0, length[0])).replace(/\0.*$/s, "").trim();
}

/**
 * Loads an MPI library.
 * @param path a file, or a name that the system's loader finds
 * @throws {UserError} where it cannot be loaded, or is no MPI.
 */
export function loadMpi(path: string): MpiLibrary {
  let functions: MpiFunctions;
  try {
    functions = Deno.dlopen(path, SYMBOLS).symbols;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new UserError(
      `Cannot load the MPI library ${path}: ${why}; name the library that mpirun belongs to with ` +
        `PUBMAMBA_MPI_LIBRARY`,
    );
  }
  const version = mpiText((text, length) => functions.MPI_Get_library_version(text, length))
    .split("\n")[0]?.replace(/,.*$/, "").replace(/\s+/g, " ").trim() ?? "";
  const abi: MpiAbi = /libmpi_abi/.test(path)
    ? "MPI 5"
    : /open mpi/i.test(version)
    ? "Open MPI"
    : "MPICH";
  return { path, version, abi, handles: () => handlesOf(path, abi), functions };
}

function handlesOf(path: string, abi: MpiAbi): MpiHandles {
  if (abi === "MPICH") return MPICH_HANDLES;
  if (abi === "MPI 5") return MPI_5_HANDLES;
  const { symbols } = Deno.dlopen(path, OPEN_MPI_CONVERSIONS);
  return {
    world: symbols.MPI_Comm_f2c(OPEN_MPI_FORTRAN.world),
    byte: symbols.MPI_Type_f2c(OPEN_MPI_FORTRAN.byte),
    errorsReturn: symbols.MPI_Errhandler_f2c(OPEN_MPI_FORTRAN.errorsReturn),
  };
}
