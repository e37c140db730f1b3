/**
 * Tiles of matrix products over chunks: one description of a product gives a program for each of the
 * device's variants. A program is a sequence of steps on a tile of sums: terms are added, sums are
 * looked at, heads are walked one after another.
 *
 * - cpu-subgroup: a subgroup of 8 computes 32 x 32 values, four columns a lane; rows reach the lanes by
 *   broadcast. Few, long iterations, as its driver likes.
 * - cpu-plain: an invocation computes 8 x 16 values in registers.
 * - gpu-tiled: a workgroup computes up to 64 x 64 values, 4 x 4 an invocation, from slabs of 32 in
 *   workgroup memory.
 * @module
 */
import type { Variant } from "../device.ts";
import { range } from "../range.ts";
import { type Program, WgslWriter } from "../wgsl/mod.ts";

/** One side of a product. */
export interface Operand {
  /** Whether neighbours in memory run along the summed axis or along the output's. */
  along: "k" | "out";
  /** WGSL: a vector's place is the sum of what out says, which is found once, and of what k says. */
  outAt(out: string): string;
  kAt(k: string): string;
  /**
   * WGSL of four neighbouring values from (out, k), which lie at `at`: of k to k + 3, or of out to
   * out + 3. `near` and `own` are what the term's preloads are called here; `j` is k's place in its four.
   */
  load(place: Place): string;
}

/** What an operand is told of a place; see there. */
export interface Place {
  at: string;
  out: string;
  k: string;
  near: string;
  own: string;
  j: number;
}

/**
 * A product that is added to the tile's sums: over k from `begin` to `end`, whole multiples of K_STEP. A
 * round is taken even where there is none: what it adds must be zero, or must not matter.
 */
export interface Term {
  left: Operand;
  right: Operand;
  /** WGSL; `m0` and `n0` are the first row and column of the tile, which is TILE_ROWS high. */
  begin: string;
  end: string;
  /** Statements that load what four values of k have in common, under names that start with `id`. */
  near?(k: string, id: string): string[];
  /** Statements that load what belongs to a row of the left side (to four, where it runs along out). */
  own?(out: string, id: string): string[];
}

/** A row of the tile and four of its columns, as a look at the sums sees them. */
export interface Element {
  /** WGSL of the row, and its place in four rows. */
  row: string;
  j: number;
  /** WGSL of the first of four columns. */
  column: string;
  /** Names of the preloads of these four rows and these four columns. */
  rows: string;
  columns: string;
  /** A `var` of vec4f: the sums. What is assigned to it counts on. */
  value: string;
  /** A `var` of vec4f: the totals, where the product keeps any. */
  total: string;
  /** `var`s to add to: a float of the row, a vec4f of the columns. */
  rowSum: string;
  columnSum: string;
}

/** A look at all sums of the tile. */
export interface Look {
  /** Statements that come first. */
  prepare?: string[];
  /** Statements that load what belongs to four rows, or four columns, under names that start with id. */
  rows?(row: string, id: string): string[];
  columns?(column: string, id: string): string[];
  /** Statements for each element. */
  element(e: Element): string[];
  /** WGSL that stores the sum over the tile's columns of a row; without it there is none. */
  storeRow?(row: string, value: string): string;
  /** WGSL that stores the sums (vec4f) over the tile's rows of four columns. */
  storeColumns?(column: string, value: string): string;
}

/** What a program does with its sums, in order. */
export type Step =
  | { kind: "add"; term: Term }
  | { kind: "look"; look: Look }
  /** Sums begin at zero again. */
  | { kind: "clear" }
  /** `for (head ...) { steps }` over the heads of the group, where `when` (WGSL) is so. */
  | { kind: "heads"; when?: string; steps: Step[] }
  /** `for (chunk ...) { steps }` over the chunks of the sequence, from the last where `backward`. */
  | { kind: "chunks"; backward: boolean; steps: Step[] };

/**
 * Tiles of a square output by where they lie: all of their columns before all of their rows (below), some
 * (diagonal), or either (lower). Products whose tiles do unlike work are queued apart, because a CPU
 * driver runs both sides of a condition.
 */
export type Part = "diagonal" | "below" | "lower";

/** A product over chunks. */
export interface TileProduct {
  /** Extents of a chunk's output: multiples of 32. */
  rows: number;
  columns: number;
  /** Declares bindings, constants and functions. */
  declare(w: WgslWriter): void;
  /** Statements that say which chunk and head a workgroup (`w.y`, `w.z`) has. */
  place: string[];
  /** Only these tiles of a square output are computed; all by default. */
  part?: Part;
  /** WGSL: whether a tile, of TILE_ROWS x TILE_COLUMNS values, has nothing to compute. */
  idle?: string;
  steps: Step[];
  /** Whether elements have totals. */
  totals?: boolean;
}

/** The rows and columns of a variant's tile. */
export function tileSize(
  variant: Variant,
  { rows, columns }: Pick<TileProduct, "rows" | "columns">,
): { rows: number; columns: number } {
  if (variant === "cpu-subgroup") return { rows: 32, columns: 32 };
  if (variant === "cpu-plain") return { rows: 8, columns: 16 };
  return { rows: rows % 64 ? 32 : 64, columns: columns % 64 ? 32 : 64 };
}

/** Values of k that a round of a variant's product takes. */
const K_STEPS: Record<Variant, number> = { "cpu-subgroup": 8, "cpu-plain": 4, "gpu-tiled": 32 };

/** Tiles that a workgroup of the plain form takes, an invocation each. */
const PLAIN_TILES = 8;

/** Workgroups along x of a product; 0 where it has no such tiles. */
export function tileGroups(variant: Variant, product: TileProduct): number {
  const { rows, columns } = tileSize(variant, product);
  const down = product.rows / rows;
  const tiles = down * (product.columns / columns);
  if (variant === "cpu-plain") return Math.ceil(tiles / PLAIN_TILES);
  if (product.part === "diagonal") return down;
  if (product.part === "below") return down * (down - 1) / 2;
  if (product.part === "lower") return down * (down + 1) / 2;
  return tiles;
}

/** The program of a product in a variant. */
export function tileProgram(variant: Variant, product: TileProduct): Program {
  const w = new WgslWriter();
  const { rows, columns } = tileSize(variant, product);
  w.const("TILE_ROWS", rows).const("TILE_COLUMNS", columns);
  w.const("K_STEP", K_STEPS[variant]);
  product.declare(w);
  const form = variant === "cpu-subgroup"
    ? new Broadcast(w, product)
    : variant === "cpu-plain"
    ? new Plain(w, product)
    : new Shared(w, product);
  form.write();
  return w.program();
}

const XYZW = ["x", "y", "z", "w"] as const;
const FOUR = [0, 1, 2, 3] as const;

/** Four vectors of four, the other way round. */
const transposed = (name: (j: number) => string, i: number) =>
  `vec4f(${FOUR.map((j) => `${name(j)}.${XYZW[i]}`).join(", ")})`;

/** What belongs to values along out, by the names that programs give it: see {@linkcode Form.lines}. */
interface Line {
  out: string;
  at: string;
  own: string;
}

/** What the forms share. */
abstract class Form {
  /** Numbers preloads. */
  #ids = 0;

  constructor(readonly w: WgslWriter, readonly product: TileProduct) {}

  abstract write(): void;
  abstract add(term: Term): void;
  abstract look(look: Look): void;
  abstract clear(): void;

  protected id(name: string): string {
    return `${name}${this.#ids++}`;
  }

  /** Statements that say where a tile is: m0 and n0, from its number. */
  protected placeTile(tile: string, rows: number, columns: number): void {
    const { part, place } = this.product;
    const across = this.product.columns / columns;
    this.w.line(`let tile = ${tile};`);
    if (!part || rows !== columns) {
      this.w.line(
        `let m0 = tile / ${across}u * ${rows}u;`,
        `let n0 = tile % ${across}u * ${columns}u;`,
      );
    } else if (part === "diagonal") {
      this.w.line(`let m0 = tile * ${rows}u;`, "let n0 = m0;");
    } else {
      // Row r of a triangle begins at tile r (r + 1) / 2; below the diagonal, it is row r + 1 of tiles.
      this.w.line(
        "let row_of_tiles = u32((sqrt(f32(8u * tile + 1u)) - 1.0) * 0.5 + 0.001);",
        `let m0 = (row_of_tiles + ${part === "below" ? 1 : 0}u) * ${rows}u;`,
        `let n0 = (tile - row_of_tiles * (row_of_tiles + 1u) / 2u) * ${columns}u;`,
      );
    }
    this.w.line(...place);
    if (part && rows !== columns) {
      const below = "n0 + TILE_COLUMNS <= m0";
      const lower = "n0 < m0 + TILE_ROWS";
      const wanted = { below, lower, diagonal: `${lower} && !(${below})` }[part];
      this.w.if(`!(${wanted})`, () => this.w.line("return;"));
    }
    if (this.product.idle) {
      this.w.if(this.alike(this.product.idle), () => this.w.line("return;"));
    }
  }

  /**
   * A condition that is the same for all invocations of a workgroup. Where these wait for each other,
   * the compiler must be able to see that it is.
   */
  protected alike(condition: string): string {
    return condition;
  }

  /** Statements that make `begin` and `end` of a term's values of k, likewise. */
  protected bounds({ begin, end }: Term): void {
    this.w.line(`let k_begin = ${begin};`, `let k_end = ${end};`);
  }

  protected steps(steps: Step[]): void {
    for (const step of steps) {
      if (step.kind === "add") this.add(step.term);
      else if (step.kind === "look") this.look(step.look);
      else if (step.kind === "clear") this.clear();
      else if (step.kind === "chunks") {
        const number = step.backward ? "p.chunks - 1u - i" : "i";
        this.w.for("var i = 0u; i < p.chunks; i++", () => {
          this.w.line(`enter_chunk(sequence * p.chunks + ${number});`);
          this.steps(step.steps);
        });
      } else {
        const head = "var head = group * p.per_group; head < (group + 1u) * p.per_group; head++";
        const each = () => this.w.for(head, () => this.steps(step.steps));
        if (step.when) this.w.if(this.alike(step.when), each);
        else each();
      }
    }
  }

  /** Finds, once for all k, what belongs to values of a side from `out` on: to one, or to `count`. */
  protected lines(term: Term, side: "left" | "right", out: string, count: number): Line[] {
    return range(count).map((i) => {
      const line = {
        out: i ? `(${out} + ${i}u)` : `(${out})`,
        at: this.id("line"),
        own: this.id("own"),
      };
      this.w.line(`let ${line.at} = ${term[side].outAt(line.out)};`);
      if (side === "left") this.w.line(...term.own?.(line.out, line.own) ?? []);
      return line;
    });
  }

  /** The same for the four values of a block: one line of four where they are neighbours in memory. */
  protected blockLines(term: Term, side: "left" | "right", out: string): Line[] {
    return this.lines(term, side, out, term[side].along === "out" ? 1 : 4);
  }

  /** WGSL of the four values of a line at k. */
  protected value(
    operand: Operand,
    { out, at, own }: Line,
    k: string,
    near: string,
    j = 0,
  ): string {
    return operand.load({ at: `${at} + ${operand.kAt(k)}`, out, k, near, own, j });
  }

  /** Writes four vec4fs NAME_0 to NAME_3: an operand's values of k to k + 3, each over a block's lines. */
  protected block(name: string, operand: Operand, lines: Line[], k: string, near: string): void {
    const { w } = this;
    const [line] = lines;
    if (operand.along === "out" && line) {
      for (const j of FOUR) {
        w.line(`let ${name}_${j} = ${this.value(operand, line, `(${k} + ${j}u)`, near, j)};`);
      }
      return;
    }
    lines.forEach((line, i) => {
      w.line(`let ${name}l${i} = ${this.value(operand, line, k, near)};`);
    });
    for (const j of FOUR) {
      w.line(`let ${name}_${j} = ${transposed((i) => `${name}l${i}`, j)};`);
    }
  }
}

/** One subgroup a tile of 32 x 32; c{r}_{q} is row r, column q of the lane's four. */
class Broadcast extends Form {
  write(): void {
    const { w, product } = this;
    w.main(8, { w: "workgroup_id", l: "local_invocation_index" }, () => {
      this.placeTile("w.x", 32, 32);
      for (const bit of range(3)) w.line(`let bit${bit} = (l & ${1 << bit}u) != 0u;`);
      for (const r of range(32)) {
        for (const q of FOUR) w.line(`var c${r}_${q} = 0.0;`);
        if (product.totals) w.line(`var total${r} = vec4f();`);
      }
      this.steps(product.steps);
    });
  }

  clear(): void {
    for (const r of range(32)) for (const q of FOUR) this.w.line(`c${r}_${q} = 0.0;`);
  }

  /** Two fours of k an iteration; a lane brings rows l, 8 + l ... or, along out, rows 4 l to 4 l + 3. */
  add(term: Term): void {
    const { w } = this;
    const along = term.left.along === "out";
    const groups = along ? 1 : 4;
    w.block("", () => {
      const rows = range(groups).flatMap((g) =>
        this.lines(term, "left", along ? "m0 + 4u * l" : `m0 + ${8 * g}u + l`, 1)
      );
      const columns = this.blockLines(term, "right", "n0 + 4u * l");
      this.bounds(term);
      w.repeat("var k = k_begin;", "k += K_STEP;", "k < k_end", () => {
        for (const u of range(2)) this.#loadStep(term, u, rows, columns);
        for (const r of range(32)) {
          const [lane, name] = along
            ? [r >> 2, (u: number) => `x0_${u}_${r & 3}`]
            : [r & 7, (u: number) => `x${r >> 3}_${u}_0`];
          for (const u of range(2)) {
            w.line(`let z${r}_${u} = subgroupBroadcast(${name(u)}, ${lane}u);`);
          }
          for (const q of FOUR) {
            w.line(`c${r}_${q} += dot(z${r}_0, y0_${q}) + dot(z${r}_1, y1_${q});`);
          }
        }
      });
    });
  }

  /** Loads four of k: x{g}_{u}_{i}, rows along k, and y{u}_{q}, columns along k. */
  #loadStep(term: Term, u: number, rows: Line[], columns: Line[]): void {
    const { w } = this;
    const near = this.id("near");
    w.line(`let k${u} = k + ${4 * u}u;`);
    w.line(...term.near?.(`k${u}`, near) ?? []);
    rows.forEach((row, g) => {
      const { left } = term;
      if (left.along === "k") {
        w.line(`let x${g}_${u}_0 = ${this.value(left, row, `k${u}`, near)};`);
        return;
      }
      this.block(`a${u}`, left, [row], `k${u}`, near);
      for (const i of FOUR) w.line(`let x${g}_${u}_${i} = ${transposed((j) => `a${u}_${j}`, i)};`);
    });
    this.block(`b${u}`, term.right, columns, `k${u}`, near);
    for (const q of FOUR) w.line(`let y${u}_${q} = ${transposed((j) => `b${u}_${j}`, q)};`);
  }

  look(look: Look): void {
    const { w } = this;
    const columns = this.id("columns");
    w.block("", () => {
      w.line(...look.prepare ?? []);
      w.line("let column = n0 + 4u * l;");
      w.line(...look.columns?.("column", columns) ?? []);
      if (look.storeColumns) w.line("var column_sum = vec4f();");
      for (const g of range(8)) {
        const rows = this.id("rows");
        w.line(...look.rows?.(`m0 + ${4 * g}u`, rows) ?? []);
        for (const j of FOUR) {
          const r = 4 * g + j;
          if (look.storeRow) w.line(`var row_sum${r} = 0.0;`);
          w.block("", () => {
            w.line(`var value = vec4f(${FOUR.map((q) => `c${r}_${q}`).join(", ")});`);
            w.line(...look.element({
              row: `m0 + ${r}u`,
              j,
              column: "column",
              rows,
              columns,
              value: "value",
              total: `total${r}`,
              rowSum: `row_sum${r}`,
              columnSum: "column_sum",
            }));
            for (const q of FOUR) w.line(`c${r}_${q} = value.${XYZW[q]};`);
          });
        }
      }
      if (look.storeColumns) w.line(look.storeColumns("column", "column_sum"));
      if (look.storeRow) this.#storeRows(look.storeRow.bind(look));
    });
  }

  /** Eight rows at a time: lane i ends with the sum of row i, after seven shuffles. */
  #storeRows(store: (row: string, value: string) => string): void {
    const { w } = this;
    for (const g of range(4)) {
      let now = range(8).map((i) => `row_sum${8 * g + i}`);
      for (const m of range(3)) {
        now = range(now.length / 2).map((i) => {
          const name = `pair${g}_${m}_${i}`;
          const [one, other] = [now[2 * i], now[2 * i + 1]];
          // A lane keeps one of the two and gives the other to its partner, which keeps that one.
          w.line(`let ${name}_given = select(${other}, ${one}, bit${m});`);
          w.line(
            `let ${name} = select(${one}, ${other}, bit${m}) + subgroupShuffleXor(${name}_given, ${
              1 << m
            }u);`,
          );
          return name;
        });
      }
      w.line(store(`(m0 + ${8 * g}u + l)`, now[0] ?? "0.0"));
    }
  }
}

/** One invocation a tile of 8 x 16; c{r}_{q} is row r, columns 4 q to 4 q + 3. */
class Plain extends Form {
  write(): void {
    const { w, product } = this;
    const tiles = product.rows / 8 * (product.columns / 16);
    w.main(PLAIN_TILES, { w: "workgroup_id", l: "local_invocation_index" }, () => {
      w.line(`let number = w.x * ${PLAIN_TILES}u + l;`);
      w.if(`number >= ${tiles}u`, () => w.line("return;"));
      this.placeTile("number", 8, 16);
      for (const r of range(8)) {
        for (const q of FOUR) {
          w.line(`var c${r}_${q} = vec4f();`);
          if (product.totals) w.line(`var total${r}_${q} = vec4f();`);
        }
      }
      this.steps(product.steps);
    });
  }

  clear(): void {
    for (const r of range(8)) for (const q of FOUR) this.w.line(`c${r}_${q} = vec4f();`);
  }

  add(term: Term): void {
    const { w } = this;
    w.block("", () => {
      const rows = range(2).map((i) => this.blockLines(term, "left", `m0 + ${4 * i}u`));
      const columns = FOUR.map((q) => this.blockLines(term, "right", `n0 + ${4 * q}u`));
      this.bounds(term);
      w.for("var k = k_begin; k < k_end; k += K_STEP", () => {
        const near = this.id("near");
        w.line(...term.near?.("k", near) ?? []);
        rows.forEach((lines, i) => this.block(`a${i}`, term.left, lines, "k", near));
        for (const q of FOUR) {
          this.block(`b${q}`, term.right, columns[q] ?? [], "k", near);
          for (const r of range(8)) {
            const terms = FOUR.map((j) => `a${r >> 2}_${j}.${XYZW[r & 3]} * b${q}_${j}`);
            w.line(`c${r}_${q} += ${terms.join(" + ")};`);
          }
        }
      });
    });
  }

  look(look: Look): void {
    const { w } = this;
    w.block("", () => {
      w.line(...look.prepare ?? []);
      if (look.storeRow) { for (const r of range(8)) w.line(`var row_sum${r} = 0.0;`); }
      const rows = range(2).map(() => this.id("rows"));
      rows.forEach((id, g) => w.line(...look.rows?.(`m0 + ${4 * g}u`, id) ?? []));
      for (const q of FOUR) {
        const columns = this.id("columns");
        const column = `n0 + ${4 * q}u`;
        w.line(...look.columns?.(column, columns) ?? []);
        if (look.storeColumns) w.line(`var column_sum${q} = vec4f();`);
        for (const r of range(8)) {
          const element = {
            row: `m0 + ${r}u`,
            j: r & 3,
            column: `(${column})`,
            rows: rows[r >> 2] ?? "",
            columns,
            value: `c${r}_${q}`,
            total: `total${r}_${q}`,
            rowSum: `row_sum${r}`,
            columnSum: `column_sum${q}`,
          };
          w.block("", () => w.line(...look.element(element)));
        }
        const { storeColumns } = look;
        if (storeColumns) {
          w.block("", () => w.line(storeColumns(`(${column})`, `column_sum${q}`)));
        }
      }
      if (look.storeRow) {
        for (const r of range(8)) w.line(look.storeRow(`(m0 + ${r}u)`, `row_sum${r}`));
      }
    });
  }
}

/** Values of k in a slab of workgroup memory. */
const SLAB = K_STEPS["gpu-tiled"];

/** A workgroup a tile; thread (tx, ty) has rows 4 ty to 4 ty + 3, columns 4 tx to 4 tx + 3. */
class Shared extends Form {
  readonly #rows: number;
  readonly #columns: number;

  constructor(w: WgslWriter, product: TileProduct) {
    super(w, product);
    const { rows, columns } = tileSize("gpu-tiled", product);
    this.#rows = rows / 4;
    this.#columns = columns / 4;
  }

  write(): void {
    const { w, product } = this;
    const across = this.#columns;
    w.workgroup("left_slab", `array<array<vec4f, ${this.#rows}>, ${SLAB}>`);
    w.workgroup("right_slab", `array<array<vec4f, ${across}>, ${SLAB}>`);
    w.workgroup("alike", "u32").workgroup("bounds", "vec2u");
    w.workgroup("scratch", `array<array<vec4f, ${across}>, ${this.#rows}>`);
    const builtins = { w: "workgroup_id", t: "local_invocation_index" } as const;
    w.main(this.#rows * across, builtins, () => {
      this.placeTile("w.x", 4 * this.#rows, 4 * across);
      w.line(`let ty = t / ${across}u;`);
      w.line(`let tx = t % ${across}u;`);
      for (const r of FOUR) {
        w.line(`var c${r} = vec4f();`);
        if (product.totals) w.line(`var total${r} = vec4f();`);
      }
      this.steps(product.steps);
    });
  }

  clear(): void {
    for (const r of FOUR) this.w.line(`c${r} = vec4f();`);
  }

  /** Written by one invocation and read by all at once. */
  protected override alike(condition: string): string {
    const { w } = this;
    const name = this.id("alike");
    w.if("t == 0u", () => w.line(`alike = select(0u, 1u, ${condition});`));
    w.line(`let ${name} = workgroupUniformLoad(&alike);`);
    return `${name} != 0u`;
  }

  protected override bounds({ begin, end }: Term): void {
    const { w } = this;
    w.if("t == 0u", () => w.line(`bounds = vec2u(${begin}, ${end});`));
    w.line("let both = workgroupUniformLoad(&bounds);");
    w.line("let k_begin = both.x;", "let k_end = both.y;");
  }

  add(term: Term): void {
    const { w } = this;
    w.block("", () => {
      this.bounds(term);
      w.for("var k0 = k_begin; k0 < k_end; k0 += K_STEP", () => {
        this.#fill(term, "left", this.#rows, "m0");
        this.#fill(term, "right", this.#columns, "n0");
        w.line("workgroupBarrier();");
        // Eight a round: lavapipe ends a program's loops after 65,535 rounds in all, and a long
        // sequence has many chunks.
        w.for(`var k = 0u; k < ${SLAB}u; k += 8u`, () => {
          w.unroll(8, (i) => {
            w.line(`let a${i} = left_slab[k + ${i}u][ty];`);
            w.line(`let b${i} = right_slab[k + ${i}u][tx];`);
            for (const r of FOUR) w.line(`c${r} = fma(vec4f(a${i}.${XYZW[r]}), b${i}, c${r});`);
          });
        });
        w.line("workgroupBarrier();");
      });
    });
  }

  /** Fills a slab with blocks of 4 x 4; neighbouring threads read along the operand's lines. */
  #fill(term: Term, side: "left" | "right", quads: number, origin: string): void {
    const { w } = this;
    const blocks = quads * SLAB / 4;
    const threads = this.#rows * this.#columns;
    w.for(`var i = t; i < ${blocks}u; i += ${threads}u`, () => {
      const [quad, four] = term[side].along === "k"
        ? [`i / ${SLAB / 4}u`, `i % ${SLAB / 4}u`]
        : [`i % ${quads}u`, `i / ${quads}u`];
      w.line(`let quad = ${quad};`);
      w.line(`let kq = ${four} * 4u;`);
      w.line("let k = k0 + kq;");
      w.line(`let out = ${origin} + 4u * quad;`);
      const near = this.id("near");
      if (side === "left") w.line(...term.near?.("k", near) ?? []);
      this.block("v", term[side], this.blockLines(term, side, "out"), "k", near);
      for (const j of FOUR) w.line(`${side}_slab[kq + ${j}u][quad] = v_${j};`);
    });
  }

  look(look: Look): void {
    const { w } = this;
    const rows = this.id("rows");
    const columns = this.id("columns");
    w.block("", () => {
      w.line(...look.prepare ?? []);
      w.line("let row = m0 + 4u * ty;");
      w.line("let column = n0 + 4u * tx;");
      w.line(...look.rows?.("row", rows) ?? []);
      w.line(...look.columns?.("column", columns) ?? []);
      if (look.storeColumns) w.line("var column_sum = vec4f();");
      if (look.storeRow) w.line("var row_sum = vec4f();");
      for (const j of FOUR) {
        const element = {
          row: `row + ${j}u`,
          j,
          column: "column",
          rows,
          columns,
          value: `c${j}`,
          total: `total${j}`,
          rowSum: `row_sum.${XYZW[j]}`,
          columnSum: "column_sum",
        };
        w.block("", () => w.line(...look.element(element)));
      }
      if (look.storeRow) {
        const store = look.storeRow("(m0 + t)", "sum");
        w.line("scratch[ty][tx] = row_sum;", "workgroupBarrier();");
        w.if(`t < ${4 * this.#rows}u`, () => {
          w.line("var sum = 0.0;");
          w.for(`var i = 0u; i < ${this.#columns}u; i++`, () => {
            w.line("sum += scratch[t / 4u][i][t % 4u];");
          });
          w.line(store);
        });
        w.line("workgroupBarrier();");
      }
      if (look.storeColumns) {
        const store = look.storeColumns("(n0 + 4u * t)", "sum");
        w.line("scratch[ty][tx] = column_sum;", "workgroupBarrier();");
        w.if(`t < ${this.#columns}u`, () => {
          w.line("var sum = vec4f();");
          w.for(`var i = 0u; i < ${this.#rows}u; i++`, () => w.line("sum += scratch[i][t];"));
          w.line(store);
        });
        w.line("workgroupBarrier();");
      }
    });
  }
}
