/** Collecting garbage on demand. @module */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

let collect: (() => void) | undefined;

/**
 * Collects garbage now. JavaScript's own heap needs no such call, but what WebGPU's small objects
 * hold outside of it (command buffers, passes) is not seen there: it waits for a collection that
 * may be long in coming. Does nothing where the engine does not let itself be asked.
 */
export function collectGarbage(): void {
  if (!collect) {
    try {
      setFlagsFromString("--expose-gc");
      collect = runInNewContext("gc") as () => void;
    } catch {
      collect = () => {};
    }
  }
  collect();
}
