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

/** An error of another class is thrown on, as the cause says more than its class's name. */
function checkClass(error: unknown, errorClass?: new (...args: never[]) => Error): unknown {
  if (!errorClass || error instanceof errorClass) return error;
  throw new Error(`Not a ${errorClass.name}: ${error}`, { cause: error });
}

export const assertThrows: Assertions["assertThrows"] = (fn, errorClass, includes) =>
  assertions.assertThrows(
    () => {
      try {
        return fn();
      } catch (error) {
        throw checkClass(error, errorClass);
      }
    },
    errorClass,
    includes,
  );

export const assertRejects: Assertions["assertRejects"] = async (fn, errorClass, includes) => {
  let outcome: { error: unknown } | undefined;
  try {
    await fn();
  } catch (error) {
    outcome = { error: checkClass(error, errorClass) };
  }
  const settled = () => outcome ? Promise.reject(outcome.error) : Promise.resolve();
  return await assertions.assertRejects(settled, errorClass, includes);
};
