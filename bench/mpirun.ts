/** Starting a program of this project as ranks of the machine's MPI. @module */
import { UserError } from "../core/errors.ts";
import { fromFileUrl } from "../core/std.ts";

/** Open MPI refuses root and more ranks than cores unless told, and binds two ranks to a core each. */
const OPEN_MPI_FLAGS = ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"];

/** What `mpirun --version` says; undefined where there is no such program. */
function versionOf(mpirun: string): string | undefined {
  try {
    const { stdout, stderr } = new Deno.Command(mpirun, { args: ["--version"] }).outputSync();
    return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/**
 * Runs a program as `size` ranks and returns the last line that it printed, read as JSON. One rank
 * is a process by itself: `mpirun` is not asked for.
 * @throws {UserError} where there is no `mpirun`, or a rank failed
 */
export async function runAsRanks(
  mpirun: string,
  size: number,
  program: URL,
  words: string[],
): Promise<unknown> {
  const deno = ["run", "--no-check", "--quiet", "-A", fromFileUrl(program), ...words];
  let command = new Deno.Command(Deno.execPath(), { args: deno });
  if (size > 1) {
    const version = versionOf(mpirun);
    if (version === undefined) {
      throw new UserError(
        `Cannot measure ranks: there is no program "${mpirun}"; install Open MPI or MPICH, or name ` +
          "another with --mpirun",
      );
    }
    const flags = /open mpi|openrte|open-mpi/i.test(version) ? OPEN_MPI_FLAGS : [];
    command = new Deno.Command(mpirun, {
      args: [...flags, "-n", String(size), Deno.execPath(), ...deno],
    });
  }
  const { success, stdout, stderr } = await command.output();
  const text = new TextDecoder().decode(stdout).trim().split("\n").at(-1) ?? "";
  if (!success || !text.startsWith("{")) {
    throw new UserError(
      `Cannot measure ${size} ranks: ${new TextDecoder().decode(stderr).trim() || text}`,
    );
  }
  return JSON.parse(text);
}
