/**
 * Writes WGSL programs that a person can read: one statement a line, indented, with constants, structs,
 * bindings and functions declared by calls. Loops, conditions and unrolled steps are calls too, so
 * that a variant of a kernel is an `if` of TypeScript rather than text inside text.
 *
 * ```ts
 * const w = new WgslWriter();
 * w.const("GROUP", 64);
 * w.uniforms("p", PARAMS);
 * w.storage("values", "vec4f", "read_write");
 * w.main("GROUP", { id: "global_invocation_id" }, () => {
 *   w.if("id.x >= p.vectors", () => w.line("return;"));
 *   w.line("values[id.x] *= p.scale;");
 * });
 * plan.dispatch({ code: w.program(), params: PARAMS.pack({ ... }), bindings: { values }, ... });
 * ```
 * @module
 */
import type { Uniforms, UniformType } from "./uniforms.ts";

/** What a program may do with a storage buffer. */
export type Access = "read" | "read_write";

/** One binding of a program, at its index in group 0. */
export interface ProgramBinding {
  /** By which a call names what is bound. */
  name: string;
  /** As declared: "uniform", "storage, read", "storage, read_write" or "texture". */
  kind: string;
  /** The WGSL type. */
  type: string;
}

/** A WGSL program with entry point `main`, and what it binds in group 0. */
export interface Program {
  /** The WGSL. */
  code: string;
  /** The bindings in the order of their numbers. */
  bindings: readonly ProgramBinding[];
}

/** The type of each built-in value that an entry point may take. */
const BUILTINS = {
  global_invocation_id: "vec3u",
  local_invocation_id: "vec3u",
  local_invocation_index: "u32",
  workgroup_id: "vec3u",
  num_workgroups: "vec3u",
  subgroup_id: "u32",
  subgroup_invocation_id: "u32",
  subgroup_size: "u32",
} as const;

/** A built-in value of a compute shader. */
export type Builtin = keyof typeof BUILTINS;

/** Something that writes into the writer at the place where it is called. */
type Body = () => void;

const INDENT = "  ";

/** See the module's text. */
export class WgslWriter {
  readonly #features = new Set<string>();
  readonly #diagnostics = new Set<string>();
  readonly #bindings: ProgramBinding[] = [];
  readonly #lines: string[] = [];
  #depth = 0;

  /**
   * Appends statements at the present depth: texts of one or several lines, whose common indentation
   * is taken off. Lines that are empty at a text's beginning and end are left out.
   */
  line(...texts: string[]): this {
    for (const text of texts) {
      for (const line of dedent(text)) {
        if (isBinding(this.#lines.at(-1)) && !isBinding(line)) this.blank();
        this.#lines.push(line === "" ? "" : INDENT.repeat(this.#depth) + line);
      }
    }
    return this;
  }

  /** Appends an empty line, unless one is there already or a comment begins what follows. */
  blank(): this {
    const last = this.#lines.at(-1);
    if (last && !last.trimStart().startsWith("//")) this.#lines.push("");
    return this;
  }

  /** Appends a comment of one or several lines. */
  comment(text: string): this {
    return this.line(dedent(text).map((line) => `// ${line}`).join("\n"));
  }

  /** Appends `head { body }`; the head may be empty. */
  block(head: string, body: Body): this {
    this.line(head === "" ? "{" : `${head} {`);
    this.#depth++;
    body();
    this.#depth--;
    return this.line("}");
  }

  /** Appends a loop: `for (head) { body }`. */
  for(head: string, body: Body): this {
    return this.block(`for (${head})`, body);
  }

  /**
   * Appends a loop that takes its first round without asking: `{ start; do { body; next } while (more) }`.
   * Mesa's CPU driver ends a loop where it is found to be over, at the end of a round that does nothing:
   * one that asks first takes a round more.
   */
  repeat(start: string, next: string, more: string, body: Body): this {
    return this.block("", () => {
      this.line(start);
      this.block("loop", () => {
        body();
        this.block("continuing", () => this.line(next, `break if !(${more});`));
      });
    });
  }

  /** Appends a condition, and what runs otherwise where that is given. */
  if(condition: string, body: Body, otherwise?: Body): this {
    this.block(`if (${condition})`, body);
    if (otherwise) {
      this.#lines.pop();
      this.block("} else", otherwise);
    }
    return this;
  }

  /** Appends a function: `fn("sigmoid(x: f32) -> f32", ...)`. */
  fn(signature: string, body: Body | string): this {
    this.blank();
    return this.block(`fn ${signature}`, typeof body === "string" ? () => this.line(body) : body);
  }

  /** Calls `body` with 0 to `count` - 1: the steps of an unrolled loop. */
  unroll(count: number, body: (step: number) => void): this {
    for (let step = 0; step < count; step++) body(step);
    return this;
  }

  /** As {@linkcode WgslWriter.unroll}, from the last step to the first. */
  unrollBackward(count: number, body: (step: number) => void): this {
    for (let step = count - 1; step >= 0; step--) body(step);
    return this;
  }

  /** Declares a constant of the module; a float keeps its text where that is given. */
  const(name: string, value: number | string, type: UniformType = "u32"): this {
    return this.line(`const ${name}: ${type} = ${literal(value, type)};`);
  }

  /** Declares a struct by the names and types of its members. */
  struct(name: string, members: Record<string, string>): this {
    this.blank();
    this.block(`struct ${name}`, () => {
      for (const [member, type] of Object.entries(members)) this.line(`${member}: ${type},`);
    });
    return this.blank();
  }

  /** Puts `enable FEATURE;` at the program's head. */
  enable(feature: string): this {
    this.#features.add(feature);
    return this;
  }

  /** Puts `diagnostic(off, RULE);` at the program's head: the compiler does not check that rule. */
  diagnosticOff(rule: string): this {
    this.#diagnostics.add(rule);
    return this;
  }

  /** Declares a struct of uniform values, and binds it next under a name. */
  uniforms(
    name: string,
    values: Pick<Uniforms<Record<string, UniformType>>, "struct">,
    struct: string = name.toUpperCase(),
  ): this {
    this.blank().line(values.struct(struct));
    return this.#bind(name, "uniform", struct, `var<uniform> ${name}: ${struct};`);
  }

  /**
   * Binds a storage buffer next: an array of `element`. Enables f16 where the element is one.
   */
  storage(name: string, element: string, access: Access = "read"): this {
    this.#enableFor(element);
    const type = `array<${element}>`;
    const kind = `storage, ${access}`;
    return this.#bind(name, kind, type, `var<${kind}> ${name}: ${type};`);
  }

  /** Binds a texture next. */
  texture(name: string, type: string): this {
    return this.#bind(name, "texture", type, `var ${name}: ${type};`);
  }

  #bind(name: string, kind: string, type: string, declaration: string): this {
    this.line(`@group(0) @binding(${this.#bindings.length}) ${declaration}`);
    this.#bindings.push({ name, kind, type });
    return this;
  }

  /** Declares memory that a workgroup shares. Enables f16 where the type holds any. */
  workgroup(name: string, type: string): this {
    this.#enableFor(type);
    return this.line(`var<workgroup> ${name}: ${type};`);
  }

  #enableFor(type: string): void {
    if (/\b(f16|vec[234]h)\b/.test(type)) this.enable("f16");
  }

  /**
   * Writes the entry point.
   * @param size invocations of a workgroup: a number, up to three of them, or the name of a constant.
   * @param builtins the built-in values that it takes, by the names that they get.
   * @param attributes what else the entry point is marked with, such as `@subgroup_size(32)`.
   */
  main(
    size: number | string | readonly (number | string)[],
    builtins: Record<string, Builtin>,
    body: Body,
    attributes = "",
  ): this {
    const sizes = typeof size === "object" ? size.join(", ") : String(size);
    const parameters = Object.entries(builtins)
      .map(([name, builtin]) => `@builtin(${builtin}) ${name}: ${BUILTINS[builtin]}`);
    this.blank().line(`@compute @workgroup_size(${sizes}) ${attributes}`.trimEnd());
    if (parameters.length < 2) {
      this.line(`fn main(${parameters.join("")}) {`);
    } else {
      this.line(["fn main(", ...parameters.map((p) => `${INDENT}${p},`), ") {"].join("\n"));
    }
    this.#depth++;
    body();
    this.#depth--;
    return this.line("}");
  }

  /** The program as written so far. */
  program(): Program {
    return { code: this.toString(), bindings: [...this.#bindings] };
  }

  /** The text as written so far. */
  toString(): string {
    const head = [...this.#features].map((feature) => `enable ${feature};`);
    for (const rule of this.#diagnostics) head.push(`diagnostic(off, ${rule});`);
    const body = this.#lines.join("\n").replace(/^\n+/, "");
    return [...head, body].join("\n") + "\n";
  }
}

/** Whether a line declares a binding: what follows the bindings is set apart. */
const isBinding = (line: string | undefined) => line?.startsWith("@group(") ?? false;

/** The lines of a text without what indentation all of them share, and without empty ones around. */
function dedent(text: string): string[] {
  const lines = text.split("\n").map((line) => line.trimEnd());
  while (lines.length > 0 && lines[0] === "") lines.shift();
  while (lines.length > 0 && lines.at(-1) === "") lines.pop();
  const indents = lines.filter((line) => line !== "").map((line) => line.search(/\S/));
  const least = Math.min(...indents);
  return lines.map((line) => line.slice(least));
}

function literal(value: number | string, type: UniformType): string {
  if (typeof value === "string") return value;
  if (type === "u32") return `${value}u`;
  if (type === "i32") return `${value}i`;
  return Number.isInteger(value) ? `${value.toFixed(1)}` : String(value);
}

/** A WGSL sum of terms. */
export const sumOf = (terms: readonly string[]): string => terms.join(" + ");
