/**
 * A short stretch of `deno task test:chaos`: histories, mutants and a killed training of fixed seeds.
 * A minute of it where .ci/run asks for it.
 * @module
 */
import { join } from "../../core/std.ts";
import { assert, assertEquals } from "../assert.ts";
import { faults } from "../pipeline/faults.ts";
import { withFolder } from "../pipeline/support.ts";
import { Chance } from "./chance.ts";
import { mountable, playHistory } from "./history.ts";
import { noFigures, readMutants } from "./inputs.ts";
import { mutateJson } from "./mutations.ts";
import { TrainingRoom } from "./training.ts";

const HISTORIES = faults(1, 2, 20);
const MUTANTS = faults(1000, 4000, 100_000);

/** Groups of processes are killed as Unix does it. */
const ignore = Deno.build.os === "windows";

Deno.test({
  name: "random histories end in the corpus of an undisturbed run and of the model",
  ignore,
  fn: () =>
    withFolder(async (folder) => {
      const mounts = mountable(folder);
      for (let seed = 1; seed <= HISTORIES; seed++) {
        const own = join(folder, String(seed));
        const steps: string[] = [];
        Deno.mkdirSync(own);
        try {
          const onStep = (line: string) => steps.push(line);
          const figures = await playHistory(seed, { folder: own, mounts, onStep });
          assert(figures.commands > 5, `${figures.commands} commands were run`);
        } catch (error) {
          const replay = `deno task test:chaos --replay ${seed}`;
          throw new Error(`${replay}\n${steps.join("\n")}`, { cause: error });
        }
      }
    }),
});

Deno.test("mutated inputs are read or refused in words", () =>
  withFolder(async (folder) => {
    const figures = noFigures();
    const until = Infinity;
    assertEquals(await readMutants(1, 0, MUTANTS, { folder, until, figures }), MUTANTS);
    const counts = Object.values(figures.counts);
    assertEquals(counts.reduce((sum, { read }) => sum + read, 0), MUTANTS);
    assert(counts.some(({ read, refused }) => refused > 0 && refused < read));
    const { wrong, hangs, aborts, greedy } = figures;
    assertEquals({ wrong, hangs, aborts, greedy }, {
      wrong: [],
      hangs: [],
      aborts: [],
      greedy: [],
    });
  }));

Deno.test({
  name: "an export that is killed leaves all of a model folder or none of it",
  ignore,
  fn: () =>
    withFolder(async (folder) => {
      const room = new TrainingRoom(folder);
      await room.prepare(["export"]);
      for (let seed = 1; seed <= faults(1, 2, 10); seed++) {
        await room.killUntilDone("export", new Chance(seed), 5);
      }
    }),
});

Deno.test("the same seed makes the same choices, and its mutants are JSON", () => {
  const text = JSON.stringify({ a: [1, 2, { b: "c" }], d: null });
  const make = (seed: number) => {
    const chance = new Chance(seed);
    return Array.from({ length: 50 }, () => mutateJson(text, chance));
  };
  assertEquals(make(5), make(5));
  assert(make(5).join() !== make(6).join());
  for (const mutant of make(7)) JSON.parse(mutant);
});
