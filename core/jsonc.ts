/** JSON with comments and trailing commas, as configuration files have it. @module */
import { UserError } from "./errors.ts";
import * as untyped from "@std/jsonc";

const { parse } = untyped as unknown as { parse(text: string): unknown };

/**
 * Reads and parses a JSON file with comments.
 * @throws {UserError} naming the file, where it is missing or not valid.
 */
export function readJsonc(path: string, what = "file"): unknown {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    const missing = error instanceof Deno.errors.NotFound;
    throw new UserError(
      `Cannot read the ${what} ${path}: ${
        missing ? "there is no such file" : (error as Error).message
      }`,
    );
  }
  try {
    return parse(text);
  } catch (error) {
    throw new UserError(`Cannot parse the ${what} ${path}: ${(error as Error).message}`);
  }
}
