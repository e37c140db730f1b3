import { findDuplicates } from "../../pipeline/overlap/duplicates.ts";
import { jaccard, MinHash } from "../../pipeline/overlap/minhash.ts";
import { assert, assertEquals } from "../assert.ts";
import { integers } from "../random.ts";

const random = integers(5);
const words = (count: number) => Array.from({ length: count }, () => `w${random(5000)}`);

Deno.test("duplicates: near copies are found, others are not", async () => {
  const documents = Array.from({ length: 600 }, (_, i) => ({ pmid: i + 1, words: words(200) }));
  // 700 repeats 7 with two words changed; 701 the first half of 8; 702 is 9 in capitals.
  const changed = [...documents[6]!.words];
  changed[50] = "other";
  changed[120] = "another";
  const all = [
    ...documents.map((d) => ({ pmid: d.pmid, text: d.words.join(" ") })),
    { pmid: 700, text: changed.join(" ") },
    { pmid: 701, text: [...documents[7]!.words.slice(0, 100), ...words(100)].join(" ") },
    { pmid: 702, text: documents[8]!.words.join(", ").toUpperCase() },
    { pmid: 703, text: "four words only here" },
  ];
  const report = await findDuplicates(() => all, 0.7);
  assertEquals(report.documents, 604);
  assertEquals(report.pairs.map((p) => [p.pmid, p.other]), [[9, 702], [7, 700]]);
  assertEquals(report.pairs[0]!.similarity, 1);
  // 10 of 196 runs are new on either side.
  assert(Math.abs(report.pairs[1]!.similarity - 186 / 206) < 1e-9);
  assertEquals((await findDuplicates(() => [], 0.7)).pairs, []);
});

Deno.test("duplicates: bands agree as often as their theory says", () => {
  const minhash = new MinHash();
  const one = new Uint32Array(14);
  const two = new Uint32Array(14);
  let agreed = 0;
  for (let trial = 0; trial < 300; trial++) {
    const a = words(150);
    const b = [...a];
    b[random(150)] = "x";
    assert(minhash.bands(a.join(" "), one) && minhash.bands(b.join(" "), two));
    const share = jaccard(minhash.shingles(a.join(" ")), minhash.shingles(b.join(" ")));
    assert(share > 0.9);
    agreed += one.filter((hash, band) => hash === two[band]).length;
  }
  // A band of 8 agrees with probability s^8, here about 0.934^8 = 0.58.
  const rate = agreed / 300 / 14;
  assert(rate > 0.5 && rate < 0.68, `${rate}`);
});
