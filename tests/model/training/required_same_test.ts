/** Ranks that are about to do different things, over a real MPI. */
import { fromFileUrl } from "../../../core/std.ts";
import { assertEquals } from "../../assert.ts";
import { MPI_PROGRAMS, runRanks } from "../../ranks.ts";

const PROGRAM = fromFileUrl(new URL("./ranks_program.ts", import.meta.url));
/** What trainRun compares; trials of some with real commands are in train_ranks_test.ts. */
const COMPARED = [
  "program version",
  "command or configuration",
  "corpus",
  "start of the model",
  "checkpoint",
  "device",
];

for (const { name, mpirun } of MPI_PROGRAMS) {
  Deno.test({
    name: `${name}: whatever differs between ranks is named, on all of them` +
      (mpirun ? "" : " (skipped: not installed)"),
    ignore: !mpirun,
    async fn() {
      const words = ["run", "-A", "--no-check", PROGRAM, ...COMPARED];
      const { code, stdout, stderr } = await runRanks(mpirun ?? "", 3, words);
      assertEquals(code, 0, stderr);
      const told = JSON.parse(stdout.trim());
      for (const what of COMPARED) {
        const message =
          `Cannot share the work among 3 ranks: rank 1 has another ${what} than rank 0 ` +
          "(theirs, rank 0 ours); start every rank with the same command, program and kind of device";
        assertEquals(told[what], [message, message, message]);
      }
    },
  });
}
