/**
 * Names of sparse features as numbers: hashed into a table of fixed size, so that no list of names has to
 * be kept with a model (Weinberger et al. 2009, "Feature hashing for large scale multitask learning").
 * Two names may share a number, which costs little where the table is larger than what occurs.
 *
 * What a name hashes to is a part of every model that was taught with it: it must stay as it is.
 * @module
 */

/** FNV-1a over the UTF-16 units of a text, from a hash of what the text is told to be. */
export function textHash(text: string, of: number): number {
  let hash = (of ^ 0x811c9dc5) >>> 0;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return mixed(hash);
}

/** A hash of a hash and a number, such as what it is told of, or where it stands. */
export const hashWith = (hash: number, number: number): number =>
  mixed(hash ^ Math.imul(number + 1, 0x9e3779b1));

/** The number of a feature in a table of so many. */
export const featureOf = (hash: number, features: number): number => hash % features;

/** Every bit of the result depends on every bit of the value (MurmurHash3's last step, by Appleby). */
function mixed(value: number): number {
  let hash = value >>> 0;
  hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
  hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
  return (hash ^ hash >>> 16) >>> 0;
}
