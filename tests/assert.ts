/** The assertions of `@std/assert` that the tests use, typed. @module */
import * as untyped from "@std/assert";

interface Assertions {
  assert(expression: unknown, message?: string): asserts expression;
  assertEquals<T>(actual: T, expected: T, message?: string): void;
  assertAlmostEquals(actual: number, expected: number, tolerance?: number, message?: string): void;
  assertMatch(actual: string, expected: RegExp, message?: string): void;
  assertStringIncludes(actual: string, expected: string, message?: string): void;
  assertThrows(
    fn: () => unknown,
    errorClass?: new (...args: never[]) => Error,
    includes?: string,
  ): Error;
  assertRejects(
    fn: () => Promise<unknown>,
    errorClass?: new (...args: never[]) => Error,
    includes?: string,
  ): Promise<Error>;
}
const assertions = untyped as unknown as Assertions;
export const assert: Assertions["assert"] = assertions.assert;
export const assertEquals: Assertions["assertEquals"] = assertions.assertEquals;
export const assertAlmostEquals: Assertions["assertAlmostEquals"] = assertions.assertAlmostEquals;
export const assertMatch: Assertions["assertMatch"] = assertions.assertMatch;
export const assertStringIncludes: Assertions["assertStringIncludes"] =
  assertions.assertStringIncludes;
export const assertThrows: Assertions["assertThrows"] = assertions.assertThrows;
export const assertRejects: Assertions["assertRejects"] = assertions.assertRejects;
