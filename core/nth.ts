/**
 * Elements of lists that have to be there: a place outside is a fault of the program's, and is told
 * as one, instead of going on as `undefined` or NaN.
 * @module
 */
import { fail } from "./errors.ts";

/** Anything with elements by number. */
interface List<T> {
  readonly length: number;
  readonly [i: number]: T;
}

/**
 * Element `i` of any list. Loops over millions of numbers use {@linkcode uint32At} and its
 * like, each for one kind of list: a function that sees every kind takes 20 ns per call, they take 1.
 * @throws {Error} where the list has no such element
 */
export function nth<T>(list: List<T>, i: number): Exclude<T, undefined> {
  const element = list[i];
  if (element === undefined) fail(`there is no element ${i} among ${list.length}`);
  return element as Exclude<T, undefined>;
}

/** Number `i` of a list. @throws {Error} where there is none */
export function uint32At(numbers: Uint32Array, i: number): number {
  return numbers[i] ?? outside(numbers, i);
}

/** Number `i` of a list. @throws {Error} where there is none */
export function int32At(numbers: Int32Array, i: number): number {
  return numbers[i] ?? outside(numbers, i);
}

/** Number `i` of a list. @throws {Error} where there is none */
export function uint16At(numbers: Uint16Array, i: number): number {
  return numbers[i] ?? outside(numbers, i);
}

/** Number `i` of a list. @throws {Error} where there is none */
export function float64At(numbers: Float64Array, i: number): number {
  return numbers[i] ?? outside(numbers, i);
}

/** Number `i` of a list. @throws {Error} where there is none */
export function float32At(numbers: Float32Array, i: number): number {
  return numbers[i] ?? outside(numbers, i);
}

/** Byte `i`. @throws {Error} where there is none */
export function byteAt(bytes: Uint8Array, i: number): number {
  return bytes[i] ?? outside(bytes, i);
}

const outside = ({ length }: List<number>, i: number): never =>
  fail(`there is no element ${i} among ${length}`);
