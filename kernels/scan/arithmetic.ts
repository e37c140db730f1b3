/** The arithmetic that both forms of the scan and its single step share, as WGSL. @module */
import { range } from "../range.ts";
import { LOG2E, type WgslWriter } from "../wgsl/mod.ts";

/** What takes delta's place in the decay where a document starts: exp2(A * 1e30) is 0. */
const RESET = "1e30";

/** Declares LOG2E, for exp by exp2, and RESET. */
export function writeConstants(w: WgslWriter): void {
  w.const("LOG2E", LOG2E, "f32");
  w.const("RESET", RESET, "f32");
}

/**
 * Writes `exp_of_minus_abs(x)`, and from its value e: `softplus(x, e)`, `softplus_slope(x, e)`; and
 * `sigmoid(x)`. They need LOG2E. log1p comes by its atanh series, because the built-in log is poor
 * near 1: log1p(e) = 2 atanh(e / (e + 2)), |argument| <= 1/3, 8 terms, 3e-9 relative.
 */
export function writeActivations(w: WgslWriter, V: "f32" | "vec4f"): void {
  w.fn(`exp_of_minus_abs(x: ${V}) -> ${V}`, "return exp2(abs(x) * -LOG2E);");
  w.fn(
    `softplus(x: ${V}, e: ${V}) -> ${V}`,
    `
      let r = e / (e + 2.0);
      let q = r * r;
      let tail = 0.11111111 + q * (0.09090909 + q * (0.07692308 + q * 0.06666667));
      let series = 1.0 + q * (0.33333334 + q * (0.2 + q * (0.14285715 + q * tail)));
      return max(x, ${V}(0.0)) + 2.0 * r * series;
    `,
  );
  w.fn(
    `softplus_slope(x: ${V}, e: ${V}) -> ${V}`,
    `return select(e, ${V}(1.0), x >= ${V}(0.0)) / (1.0 + e);`,
  );
  w.fn(`sigmoid(x: ${V}) -> ${V}`, "return 1.0 / (1.0 + exp2(x * -LOG2E));");
}

/** Declares `bit0` to `bit2`, the bits of the lane's number, for {@linkcode writeTransposeAdd}. */
export function writeLaneBits(w: WgslWriter): void {
  w.unroll(3, (m) => w.line(`let bit${m} = (lane & ${1 << m}u) != 0u;`));
}

/**
 * Adds eight values (or vectors) over eight lanes so that lane i ends with the sum of value i: three
 * rounds of shuffles, seven in all, rather than eight reductions. Names begin with `name`.
 * @returns the name of the result.
 */
export function writeTransposeAdd(w: WgslWriter, name: string, values: readonly string[]): string {
  let now = [...values];
  for (const round of range(3)) {
    now = range(now.length / 2).map((pair) => {
      const sum = `${name}_${round}_${pair}`;
      const bit = `bit${round}`;
      // A lane keeps one of the two and gives the other to its partner, which keeps that one.
      w.line(
        `let ${sum}a = ${now[2 * pair]};`,
        `let ${sum}b = ${now[2 * pair + 1]};`,
        `let ${sum}_kept = select(${sum}a, ${sum}b, ${bit});`,
        `let ${sum}_given = select(${sum}b, ${sum}a, ${bit});`,
        `let ${sum} = ${sum}_kept + subgroupShuffleXor(${sum}_given, ${1 << round}u);`,
      );
      return sum;
    });
  }
  return now[0] ?? "";
}
