/** What a WGSL program binds and how large its workgroups are, read from its text. @module */
import type { ProgramBinding } from "./writer.ts";

/** What the text of a program says of itself. */
export interface ProgramDescription {
  /** Bindings of group 0, by ascending number. */
  bindings: (ProgramBinding & { binding: number })[];
  /** Invocations of a workgroup in each dimension. */
  workgroupSize: [number, number, number];
}

const BINDING = /@group\(0\)\s*@binding\((\d+)\)\s*var(?:<([^>]*)>)?\s+(\w+)\s*:\s*([^;]+);/g;
const CONSTANT = /\bconst\s+(\w+)\s*(?::\s*u32)?\s*=\s*(\d+)u?\s*;/g;
const WORKGROUP = /@workgroup_size\(([^)]*)\)/;

/**
 * Reads a program's text.
 * @throws {RangeError} where its workgroup size is neither numbers nor names of constants.
 */
export function describeProgram(code: string): ProgramDescription {
  const bindings = [...code.matchAll(BINDING)].map(([, binding, kind, name, type]) => ({
    binding: Number(binding),
    name: name ?? "",
    kind: kind ?? "texture",
    type: type ?? "",
  }));
  const constants = new Map<string, number>();
  for (const [, name, value] of code.matchAll(CONSTANT)) constants.set(name ?? "", Number(value));
  const sizes = (WORKGROUP.exec(code)?.[1] ?? "").split(",").map((text) => text.trim())
    .filter((text) => text !== "");
  const [x = 1, y = 1, z = 1] = sizes.map((text) => {
    const size = constants.get(text) ?? Number(text.replace(/u$/, ""));
    if (!Number.isInteger(size)) throw new RangeError(`The workgroup size ${text} is no constant`);
    return size;
  });
  return {
    bindings: bindings.sort((a, b) => a.binding - b.binding),
    workgroupSize: [x, y, z],
  };
}
