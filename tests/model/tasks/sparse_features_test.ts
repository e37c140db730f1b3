import { featureOf, hashWith, textHash } from "../../../model/tasks/core/feature_hash.ts";
import { shapeOf, spellingFeatures } from "../../../model/tasks/ner/spelling.ts";
import { relationFeatures, type SentencePart } from "../../../model/tasks/relations/words.ts";
import { assert, assertEquals } from "../../assert.ts";

const MANY = 2 ** 30;

/** How many features two lists share. */
const shared = (a: Uint32Array | undefined, b: Uint32Array | undefined): number =>
  [...a ?? []].filter((feature) => b?.includes(feature)).length;

Deno.test("names of features hash to what they always did: taught models hold to it", () => {
  assertEquals([textHash("", 1), textHash("ataxia", 1), textHash("ataxia", 2)], [
    3_770_482_475,
    3_177_563_736,
    1_144_509_477,
  ]);
  assertEquals(hashWith(textHash("ataxia", 1), 0), 1_706_285_102);
  assertEquals(featureOf(0xffffffff, 1000), 0xffffffff % 1000);
  // Spread over the table: of 4,096 names in as many places, about 63 in a hundred places are taken.
  const taken = new Set(
    Array.from({ length: 4096 }, (_, i) => featureOf(textHash(`w${i}`, 1), 4096)),
  );
  assert(Math.abs(taken.size / 4096 - (1 - 1 / Math.E)) < 0.03, `${taken.size} places`);
});

Deno.test("a word's features are its own spelling and its neighbours'", () => {
  assertEquals(["Ataxia", "A-T", "p53", "β2"].map(shapeOf), ["Xxxxxx", "X-X", "xdd", "xd"]);
  const of = (...words: string[]) => spellingFeatures(words, MANY);
  const [alone] = of("lymphoma");
  assertEquals(alone?.length, 10);
  const [left, middle, right] = of("the", "lymphoma", "gene");
  assertEquals([left?.length, middle?.length, right?.length], [20, 30, 20]);
  // The word itself is what it was alone; the same word as a neighbour is something else.
  assertEquals(shared(alone, middle), 10);
  // All that it shares with another word beside it is that both are of small letters.
  assertEquals(shared(alone, left), 1);
  // A word that was never seen shares its shape, the beginning of it, and its ends of two and three letters.
  const [unseen] = of("melanoma");
  assertEquals(shared(alone, unseen), 4);
  // A capital changes the word and its shapes, and nothing else.
  assertEquals(shared(alone, of("Lymphoma")[0]), 7);
  assert(spellingFeatures(["lymphoma"], 7)[0]?.every((feature) => feature < 7));
});

Deno.test("features of a relation tell what stands where, and the words of the entities", () => {
  const sentence = (between: string, first: 1 | 2 = 1): SentencePart[] => [
    { text: "We show that" },
    { text: "aspirin", entity: first },
    { text: between },
    { text: "COX-2 kinase", entity: first === 1 ? 2 : 1 },
    { text: "in cells." },
  ];
  const of = (parts: readonly SentencePart[], most = 1000) => relationFeatures(parts, MANY, most);
  const inhibits = of(sentence("inhibits"));
  assertEquals(new Set(inhibits).size, inhibits.length);
  assertEquals(of(sentence("inhibits")), inhibits);
  // Another form of the word has the same stems, in its place and anywhere.
  const inhibited = of(sentence("inhibited"));
  assertEquals(inhibits.length - shared(inhibits, inhibited), 3);
  // The other order: what depends on it differs, what stands around is the same.
  const turned = of(sentence("inhibits", 2));
  assert(shared(inhibits, turned) >= 12 && shared(inhibits, turned) < inhibits.length);
  // The words themselves count, not the text around spaces and capitals.
  assertEquals(of(sentence("  INHIBITS ")), inhibits);
  assertEquals(of(sentence("inhibits"), 4), inhibits.slice(0, 4));
});
