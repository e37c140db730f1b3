/** Ways to damage an input, or to make an odd one of it. @module */
import type { Chance } from "./chance.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

/** One array of several. */
function concat(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

type Mutation = (bytes: Uint8Array, chance: Chance, words: readonly string[]) => Uint8Array;

/** Numbers at which arithmetic goes wrong. */
const EDGES = [0, 1, 2, 7, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];

/** A stretch of at most `longest` bytes. */
function stretch(bytes: Uint8Array, chance: Chance, longest: number): [number, number] {
  const from = chance.below(bytes.length + 1);
  return [from, Math.min(bytes.length, from + chance.below(longest))];
}

const MUTATIONS: Mutation[] = [
  function flipBits(bytes, chance) {
    const copy = bytes.slice();
    for (let i = chance.between(1, 4); i > 0 && copy.length > 0; i--) {
      const at = chance.below(copy.length);
      copy[at] = (copy[at] ?? 0) ^ 1 << chance.below(8);
    }
    return copy;
  },
  function cutOff(bytes, chance) {
    return bytes.slice(0, chance.below(bytes.length + 1));
  },
  function leaveOut(bytes, chance) {
    const [from, to] = stretch(bytes, chance, 200);
    return concat(bytes.subarray(0, from), bytes.subarray(to));
  },
  function repeat(bytes, chance) {
    const [from, to] = stretch(bytes, chance, 60);
    const times = chance.happens(0.02) ? chance.below(20_000) : chance.between(1, 20);
    const again = Array.from({ length: times }, () => bytes.subarray(from, to));
    return concat(bytes.subarray(0, to), ...again, bytes.subarray(to));
  },
  function moveStretch(bytes, chance) {
    const [from, to] = stretch(bytes, chance, 200);
    const at = chance.below(bytes.length + 1);
    return concat(bytes.subarray(0, at), bytes.subarray(from, to), bytes.subarray(at));
  },
  function randomBytes(bytes, chance) {
    const at = chance.below(bytes.length + 1);
    const random = Uint8Array.from({ length: chance.between(1, 12) }, () => chance.below(256));
    return concat(
      bytes.subarray(0, at),
      random,
      bytes.subarray(at + chance.below(2) * random.length),
    );
  },
  function edgeNumber(bytes, chance) {
    const copy = bytes.slice();
    const width = chance.of([1, 2, 4, 8]);
    const edge = BigInt(chance.of(EDGES));
    if (copy.length < 8) return copy;
    const view = new DataView(copy.buffer);
    const at = chance.below(copy.length - 7);
    const little = chance.happens(0.5);
    const value = chance.happens(0.2) ? -edge : edge;
    if (width === 1) view.setInt8(at, Number(BigInt.asIntN(8, value)));
    else if (width === 2) view.setInt16(at, Number(BigInt.asIntN(16, value)), little);
    else if (width === 4) view.setInt32(at, Number(BigInt.asIntN(32, value)), little);
    else view.setBigInt64(at, value, little);
    return copy;
  },
  function wordOfTheFormat(bytes, chance, words) {
    const at = chance.below(bytes.length + 1);
    const word = encode(chance.of(words));
    return concat(bytes.subarray(0, at), word, bytes.subarray(at + chance.below(2) * word.length));
  },
  function otherNumber(bytes, chance) {
    const text = new TextDecoder().decode(bytes);
    const numbers = [...text.matchAll(/-?\d+(\.\d+)?/g)];
    if (numbers.length === 0) return bytes.slice();
    const match = chance.of(numbers);
    const found = match[0];
    const values = [
      "0",
      "-1",
      "1e9",
      "4294967296",
      "4294967301",
      "9007199254740993",
      "1e308",
      "0.5",
    ];
    values.push("99999999999999999999", `${found}0`, `-${found}`, "2147483648", "NaN", "");
    const rest = text.slice(match.index + found.length);
    return encode(text.slice(0, match.index) + chance.of(values) + rest);
  },
  function deep(bytes, chance, words) {
    const at = chance.below(bytes.length + 1);
    const depth = chance.below(5000);
    const [open, close] = chance.of([["[", "]"], ["{", "}"], ["(", ")"], ["<d>", "</d>"], [
      chance.of(words),
      "",
    ]]);
    const inner = encode((open ?? "").repeat(depth) + (close ?? "").repeat(depth));
    return concat(bytes.subarray(0, at), inner, bytes.subarray(at));
  },
];

/** A mutant of `bytes`: one to three changes; `words` are of its format. */
export function mutate(bytes: Uint8Array, chance: Chance, words: readonly string[]): Uint8Array {
  let mutant = bytes;
  for (let i = chance.of([1, 1, 1, 2, 3]); i > 0; i--) {
    mutant = chance.of(MUTATIONS)(mutant, chance, words);
  }
  return mutant;
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

function oddValue(chance: Chance): Json {
  const values: Json[] = [null, true, false, "", " ", -1, 0, 0.5, 1, 1e9, 1e308, -1e308, 2 ** 31];
  values.push(2 ** 32, 2 ** 53, [], {}, [null], [[]], { a: null }, "x".repeat(chance.below(3000)));
  values.push("__proto__", "constructor", "..", "../..", "\u0000", "\ud800", "1", [1, "a", {}]);
  return chance.of(values);
}

const KEYS = ["__proto__", "constructor", "toString", "type", "length", "0", "", "a.b", "id"];

/** A mutant of JSON that is JSON again: one value or key of it is another. */
export function mutateJson(text: string, chance: Chance): string {
  const root: { value: Json } = { value: JSON.parse(text) };
  for (let i = chance.of([1, 1, 1, 2, 4]); i > 0; i--) {
    let holder = root as unknown as Record<string, Json>;
    let key = "value";
    // Down a random way, which ends earlier or later.
    for (;;) {
      const value = holder[key];
      if (typeof value !== "object" || value === null || chance.happens(0.15)) break;
      const keys = Object.keys(value);
      if (keys.length === 0) break;
      holder = value as unknown as Record<string, Json>;
      key = chance.of(keys);
    }
    const own = holder[key];
    const kind = chance.below(6);
    if (kind === 0 && Array.isArray(own)) own.push(...own.slice(0, 50));
    else if (kind === 1 && holder !== root as unknown) delete holder[key];
    else if (kind === 2 && typeof own === "object" && own !== null && !Array.isArray(own)) {
      Object.defineProperty(own, chance.of(KEYS), {
        value: oddValue(chance),
        enumerable: true,
        configurable: true,
        writable: true,
      });
    } else if (kind === 3 && typeof own === "number") holder[key] = own * -1;
    else if (kind === 3 && typeof own === "string") holder[key] = own + own;
    else holder[key] = oddValue(chance);
  }
  return JSON.stringify(root.value) ?? "null";
}
