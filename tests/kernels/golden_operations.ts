/** Compares the references with golden values. @module */
import { join } from "../../core/std.ts";
import { compare, type GoldenCase, openGoldenOperation } from "../../model/goldens/golden_file.ts";
import { assert, assertEquals } from "../assert.ts";
import { SHARED, sharedTest } from "../shared.ts";

/** Outputs by name; (b l, d) ones already turned to the goldens' (b, d, l). */
export type Results = Record<string, ArrayLike<number>>;

/** The goldens are rounded to float32: half a unit in the last place of the largest value. */
const LIMIT = 2 ** -23;

/** A test of every golden case of an operation; skips without the goldens. */
export function agrees(operation: string, run: (golden: GoldenCase) => Results): void {
  sharedTest(`goldens/op_${operation}.json`, `reference ${operation}: equals the goldens`, () => {
    const goldens = openGoldenOperation(join(SHARED, "goldens", `op_${operation}.json`));
    try {
      for (const golden of goldens.cases) {
        const results = run(golden);
        assertEquals(Object.keys(results).sort(), Object.keys(golden.outputs).sort(), golden.name);
        for (const name of Object.keys(golden.outputs)) {
          const { ok, error } = compare(results[name]!, golden.output(name), LIMIT);
          assert(ok, `${golden.name} ${name}: ${error}`);
        }
      }
    } finally {
      goldens.close();
    }
  });
}
