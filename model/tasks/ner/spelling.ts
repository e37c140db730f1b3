/**
 * What a word looks like, as sparse features for a head: the word itself, its ends and its shape, and
 * those of its neighbours. These are the features that taggers without a neural network live on (Tjong
 * Kim Sang and De Meulder 2003; Ratinov and Roth 2009): names that no training text holds still end in
 * "-oma" or stand before "syndrome".
 * @module
 */
import { featureOf, hashWith, textHash } from "../core/feature_hash.ts";

/** What a text is told to be. The order is a part of taught models. */
const KINDS = { word: 1, lower: 2, prefix: 3, suffix: 4, shape: 5, shapeBegin: 6 };

/** Lengths of the ends that are looked at. */
const ENDS = [2, 3, 4];

/** Letters that the beginning of a shape has. */
const SHAPE_BEGIN = 6;

/** Words to either side that a word's features tell of. */
const NEIGHBOURS = 1;

/** The shape of a word: capitals, small letters and digits by their kind, all else as it is. */
export const shapeOf = (word: string): string =>
  word.replace(/\p{Lu}/gu, "X").replace(/\p{Ll}/gu, "x").replace(/\p{N}/gu, "d");

/** Hashes of what a word looks like. */
function spellingOf(word: string): number[] {
  const lower = word.toLowerCase();
  const shape = shapeOf(word);
  const hashes = [
    textHash(word, KINDS.word),
    textHash(lower, KINDS.lower),
    textHash(shape.replace(/(.)\1+/gu, "$1"), KINDS.shape),
    textHash(shape.slice(0, SHAPE_BEGIN), KINDS.shapeBegin),
  ];
  for (const length of ENDS) {
    hashes.push(textHash(lower.slice(0, length), KINDS.prefix + 16 * length));
    hashes.push(textHash(lower.slice(-length), KINDS.suffix + 16 * length));
  }
  return hashes;
}

/** The sparse features of each word of a sentence, of `features` that there may be. */
export function spellingFeatures(words: readonly string[], features: number): Uint32Array[] {
  const hashes = words.map(spellingOf);
  return words.map((_, i) => {
    const found: number[] = [];
    for (let away = -NEIGHBOURS; away <= NEIGHBOURS; away++) {
      for (const hash of hashes[i + away] ?? []) {
        found.push(featureOf(hashWith(hash, away + NEIGHBOURS), features));
      }
    }
    return Uint32Array.from(found);
  });
}
