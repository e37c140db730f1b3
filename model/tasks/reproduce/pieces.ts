/**
 * The pieces of a reproduction: each is a file that appears when its work is done, with what it was
 * made from. What is there is not made again, so that a run can be killed anywhere and gone on with.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { exists, readJson, writeAtomic } from "../../../core/files.ts";
import { dirname } from "../../../core/std.ts";

/** What decides a piece's content, by name. */
export type Inputs = Readonly<Record<string, unknown>>;

/** A piece's file. */
interface PieceFile {
  inputs: Inputs;
  result: unknown;
}

/** Arrays of numbers as JSON has them; numbers that are none become null, as everywhere in JSON. */
function plain(_key: string, value: unknown): unknown {
  return ArrayBuffer.isView(value) && !(value instanceof DataView)
    ? Array.from(value as unknown as ArrayLike<number>)
    : value;
}

/**
 * The result of a piece: as its file has it, or made now.
 * @throws {UserError} where the piece was made from something else.
 */
export async function piece<T>(path: string, inputs: Inputs, make: () => Promise<T>): Promise<T> {
  const known = readPiece<T>(path, inputs);
  if (known) return known.result;
  const result = await make();
  Deno.mkdirSync(dirname(path), { recursive: true });
  const file: PieceFile = { inputs, result };
  const text = JSON.stringify(file, plain);
  writeAtomic(path, text + "\n");
  // As it is read the next time: what JSON cannot hold is gone at once, and not from then on.
  return (JSON.parse(text) as { result: T }).result;
}

/** The result of a piece that is done; undefined for one that is not. */
export function readPiece<T>(path: string, inputs: Inputs): { result: T } | undefined {
  if (!exists(path)) return undefined;
  const file = readJson<PieceFile>(path, "finished piece");
  const was = JSON.parse(JSON.stringify(file.inputs ?? {})) as Record<string, unknown>;
  const is = JSON.parse(JSON.stringify(inputs)) as Record<string, unknown>;
  const names = [...new Set([...Object.keys(was), ...Object.keys(is)])];
  const changed = names.filter((name) => JSON.stringify(was[name]) !== JSON.stringify(is[name]));
  if (!changed.length) return { result: file.result as T };
  const told = changed.map((name) => `${name}: ${shown(was[name])} then, ${shown(is[name])} now`);
  throw new UserError(
    `Cannot go on with ${path}: it was made from something else (${told.join("; ")}); give the ` +
      `same models, data and options, name another folder with --out, or remove ${dirname(path)}`,
  );
}

const shown = (value: unknown): string => {
  const text = value === undefined ? "nothing" : JSON.stringify(value);
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
};
