/**
 * The training rows of some of a corpus's documents: filtered, repeated, in an order of difficulty.
 * The documents are packed anew in memory and put together from the shards as they are read. All of
 * it follows from the corpus, the selection and the seed, so that every rank and every resumed run
 * has the same rows without asking another.
 * @module
 */
import { meantOr } from "../../core/distance.ts";
import { UserError } from "../../core/errors.ts";
import { breathe } from "../../core/breathe.ts";
import { nth, uint32At } from "../../core/nth.ts";
import { DocumentTable } from "./document_table.ts";
import { type Condition, parseConditions, parseUpsampling } from "./conditions.ts";
import { knownColumns } from "./known_columns.ts";
import { openShards, orderKey, pack, readManifest } from "../shards/mod.ts";
import { sampleRow } from "./sampler.ts";

/** Which documents are read, how often, and in which order; "" where nothing is asked for. */
export interface SelectionSpec {
  /** Conditions that documents have to fulfil, separated by ";". */
  filter: string;
  /** CONDITION:FACTOR, separated by ";". */
  upsample: string;
  /** A column, from its lowest values to its highest; with ":desc" behind it, the other way. */
  curriculum: string;
  /** A file of further columns by PMID. */
  scores: string;
}

/** Rows of selected documents. */
export interface SelectedRows {
  readonly rows: number;
  /** Distinct documents, documents with repetitions, and their tokens, of one pass. */
  readonly documents: number;
  readonly drawn: number;
  readonly tokens: number;
  /** Row `index`, in the order of the curriculum where there is one. */
  row(index: number): Uint16Array;
  /** The row at a place in the training order. */
  draw(seed: number, index: number): Uint16Array;
  close(): void;
}

/** Documents packed together: as the shards are. */
const WINDOW = 65_536;
/** A curriculum has about so many steps; within one, rows are shuffled. */
const STAGES = 100;
const SMALLEST_STAGE = 256;

/** True where a selection asks for anything. */
export function selects({ filter, upsample, curriculum }: SelectionSpec): boolean {
  return filter !== "" || upsample !== "" || curriculum !== "";
}

/**
 * Selects documents of the training split.
 * @throws {UserError} where a condition cannot be read, names a column that is not known, or leaves
 *   no document.
 */
export async function selectRows(corpus: string, spec: SelectionSpec): Promise<SelectedRows> {
  const filter = parseConditions(spec.filter);
  const upsampling = parseUpsampling(spec.upsample);
  const descending = spec.curriculum.endsWith(":desc");
  const order = spec.curriculum.replace(/:(asc|desc)$/, "").trim();
  const conditions = [...filter, ...upsampling.map((u) => u.condition)];
  await checkColumns(corpus, spec, conditions, order);

  const table = await DocumentTable.open(corpus);
  await refuseIdle(table, conditions, spec.scores);
  const kept = await table.marks(filter, spec.scores);
  const factors = new Float32Array(table.count).fill(1);
  for (const { condition, factor } of upsampling) {
    const marks = await table.marks([condition], spec.scores);
    for (let d = 0; d < table.count; d++) if (marks[d]) factors[d] = nth(factors, d) * factor;
  }
  const values = order === "" ? undefined : await table.values(order, spec.scores);
  if (values?.every(Number.isNaN)) {
    throw new UserError(
      `Cannot order the documents of ${corpus} by "${order}": it is a number in none of them`,
    );
  }
  const { packing, sequence_length: length, end_of_text: endOfText } = readManifest(corpus);

  // What is drawn in a pass: a document's whole copies, and one more for its share of the rest.
  const documents: number[] = [];
  const keys: number[] = [];
  let distinct = 0;
  let tokens = 0;
  for (let d = 0; d < table.count; d++) {
    if (!kept[d]) continue;
    const pmid = uint32At(table.pmids, d);
    const rest = orderKey(packing.seed + 1, pmid) / 2 ** 32;
    const copies = Math.floor(nth(factors, d) + rest);
    distinct += Number(copies > 0);
    for (let copy = 0; copy < copies; copy++) {
      documents.push(d);
      keys.push(orderKey(packing.seed + 2 ** 32 * copy, pmid));
      tokens += uint32At(table.lengths, d);
    }
  }
  if (documents.length === 0) {
    throw new UserError(
      `Cannot train on ${corpus}: none of its ${table.count} training documents fulfils ` +
        `"${spec.filter || spec.upsample}"`,
    );
  }
  const sign = descending ? -1 : 1;
  const places = Uint32Array.from(documents.keys()).sort((a, b) => {
    if (values) {
      const [x, y] = [nth(values, nth(documents, a)), nth(values, nth(documents, b))];
      // Documents without a value come last.
      if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
      if (x !== y && !Number.isNaN(x)) return sign * (x - y);
    }
    return nth(keys, a) - nth(keys, b) || nth(documents, a) - nth(documents, b);
  });
  const stage = values
    ? Math.min(WINDOW, Math.max(SMALLEST_STAGE, Math.ceil(places.length / STAGES)))
    : WINDOW;
  const rows = new PackedRows();
  const stages = [0];
  for (let from = 0; from < places.length; from += stage) {
    await breathe();
    const window = places.subarray(from, from + stage);
    const lengths = Uint32Array.from(window, (p) => uint32At(table.lengths, nth(documents, p)));
    for (const row of pack(lengths, length)) {
      rows.add(row.map((p) => ({ ...p, document: nth(documents, uint32At(window, p.document)) })));
    }
    stages.push(rows.count);
  }

  const shards = openShards(corpus, "train");
  const row = (index: number) => {
    const out = new Uint16Array(length).fill(endOfText);
    rows.each(index, (document, from, start, size) => {
      table.copy(shards, document, from, out.subarray(start, start + size));
    });
    return out;
  };
  return {
    rows: rows.count,
    documents: distinct,
    drawn: documents.length,
    tokens,
    row,
    draw(seed, index) {
      if (!values) return row(sampleRow(rows.count, seed, index));
      const epoch = Math.floor(index / rows.count);
      const place = index % rows.count;
      const at = stageOf(stages, place);
      const first = nth(stages, at);
      const size = nth(stages, at + 1) - first;
      return row(first + sampleRow(size, seed + at * 2 ** 32, epoch * size + place - first));
    },
    close: () => shards.close(),
  };
}

/** @throws {UserError} where no document fulfils one of the conditions, with what is nearest. */
async function refuseIdle(
  table: DocumentTable,
  conditions: readonly Condition[],
  scores: string,
): Promise<void> {
  for (const condition of conditions) {
    const marks = await table.marks([condition], scores);
    if (marks.includes(1)) continue;
    const { column, operator, values } = condition;
    throw new UserError(
      `Cannot select documents of ${table.corpus} by "${column}${operator}${
        values.join("|")
      }": none of ` +
        `its ${table.count} training documents fulfils it; ` +
        await table.describeNear(condition, scores),
    );
  }
}

function stageOf(stages: number[], place: number): number {
  let low = 0;
  let high = stages.length - 1;
  while (high - low > 1) {
    const middle = low + high >> 1;
    if (nth(stages, middle) <= place) low = middle;
    else high = middle;
  }
  return low;
}

/** Rows as pieces of documents, in arrays that grow. */
class PackedRows {
  #pieces = new Uint32Array(1024);
  #starts = new Uint32Array(256);
  #used = 0;
  count = 0;

  add(row: { document: number; from: number; start: number; length: number }[]): void {
    this.#pieces = grown(this.#pieces, this.#used + 4 * row.length);
    for (const { document, from, start, length } of row) {
      this.#pieces.set([document, from, start, length], this.#used);
      this.#used += 4;
    }
    this.#starts = grown(this.#starts, this.count + 2);
    this.#starts[++this.count] = this.#used / 4;
  }

  each(
    row: number,
    use: (document: number, from: number, start: number, length: number) => void,
  ): void {
    if (!(row >= 0 && row < this.count)) throw new RangeError(`There is no row ${row}`);
    for (let p = uint32At(this.#starts, row); p < uint32At(this.#starts, row + 1); p++) {
      use(
        uint32At(this.#pieces, 4 * p),
        uint32At(this.#pieces, 4 * p + 1),
        uint32At(this.#pieces, 4 * p + 2),
        uint32At(this.#pieces, 4 * p + 3),
      );
    }
  }
}

function grown(array: Uint32Array<ArrayBuffer>, needed: number): Uint32Array<ArrayBuffer> {
  if (needed <= array.length) return array;
  const larger = new Uint32Array(Math.max(needed, array.length * 2));
  larger.set(array);
  return larger;
}

async function checkColumns(
  corpus: string,
  spec: SelectionSpec,
  conditions: Condition[],
  order: string,
): Promise<void> {
  const known = await knownColumns(corpus, spec.scores);
  for (const name of [...conditions.map((c) => c.column), order]) {
    if (name === "" || known.has(name)) continue;
    throw new UserError(
      `Cannot select documents of ${corpus} by "${name}": there is no such column` +
        meantOr(
          name,
          known.names,
          `; there are ${known.names.join(", ")}` +
            (spec.scores === "" ? "; give further ones with --scores FILE" : ""),
        ),
    );
  }
  conditions.forEach(known.check);
  if (order !== "") known.checkOrder(order);
}
