/** The one spelling of the JSON that commands print. @module */

/**
 * A result as one line of JSON whose keys are in snake_case, however the program spells them. Numbers
 * stay numbers; those that JSON does not know (NaN, infinities) are null.
 */
export function jsonLine(value: unknown): string {
  return JSON.stringify(snakeCased(value));
}

/** A key such as "tokensPerSecond"; other keys, such as names of parameters or files, stay. */
const CAMEL = /^[a-z][a-z0-9]*([A-Z][a-z0-9]*)+$/;

function snakeCased(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeCased);
  if (ArrayBuffer.isView(value)) return [...value as unknown as Iterable<number>];
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      CAMEL.test(key) ? key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`) : key,
      snakeCased(inner),
    ]),
  );
}
