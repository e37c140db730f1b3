import { crf, viterbi } from "../../../kernels/reference/mod.ts";
import { FieldDecoder } from "../../../model/tasks/ner/field.ts";
import { assert, assertEquals } from "../../assert.ts";
import { randoms } from "../../kernels/randoms.ts";

Deno.test("a field's decoder gives the reference's sequences and probabilities", () => {
  for (const [labels, scale] of [[1, 1], [3, 2], [5, 4], [9, 30]] as const) {
    const field = {
      begin: randoms(labels, 1),
      end: randoms(labels, 2),
      transition: randoms(labels * labels, 3).map((x) => scale * x),
    };
    // No tag may follow the one with the number after its own, and the last one begins no sentence.
    const follows = (to: number, from: number | undefined) =>
      from === undefined ? to < Math.max(1, labels - 1) : to + 1 !== from;
    const bounded = {
      begin: field.begin.map((x, k) => follows(k, undefined) ? x : -Infinity),
      end: field.end,
      transition: field.transition.map((x, at) =>
        follows(at % labels, Math.floor(at / labels)) ? x : -Infinity
      ),
    };
    const decoder = new FieldDecoder(field, follows);
    for (const length of [40, 1, 2, 17, 257]) {
      const at = `${labels} labels, ${length} words`;
      const emissions = randoms(length * labels, length).map((x) => scale * x);
      const { path, marginals } = decoder.decode(Float32Array.from(emissions));
      const rounded = Float64Array.from(Float32Array.from(emissions));
      assertEquals(path.join(), viterbi(rounded, bounded).join(), at);
      // The gradient is each tag's probability less 1 for the target, which here is tag 0 throughout.
      const { demissions } = crf(rounded, new Uint8Array(length), field);
      demissions.forEach((x, i) => {
        const want = x + Number(i % labels === 0);
        const off = Math.abs((marginals[i] ?? NaN) - want);
        assert(off < 1e-10, `${at}, ${i}: ${marginals[i]}, not ${want}`);
      });
    }
  }
});
