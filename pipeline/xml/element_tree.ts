// deno-lint-ignore-file pubmamba/no-non-null-assertion -- every byte of PubMed passes here: looking twice costs 15 %
/**
 * Which elements matter: a tree of paths compiled into a table, so that the scanner follows a
 * document with one look-up per element and ignores every subtree that no rule names.
 * @module
 */
import { bytesOf } from "./bytes.ts";

/** Call the handler when the element opens (its attributes are readable then). */
export const ON_OPEN = 1;
/** Call the handler when the element closes (its text is readable then). */
export const ON_CLOSE = 2;

/** One element to report, by its path below the root's children: `"PubmedArticle/PubmedData"`. */
export interface ElementRule {
  path: string;
  /** What the handler is told, 1 to 255. */
  code: number;
  /** {@linkcode ON_OPEN}, {@linkcode ON_CLOSE} or both. */
  when: number;
}

/** Rules compiled: node 0 is "of no interest", node 1 the root. */
export class ElementTree {
  /** `transitions[node * width + nameId]` is the child's node. */
  readonly transitions: Int16Array;
  readonly width: number;
  readonly when: Uint8Array;
  readonly codes: Uint8Array;
  readonly #slots: Int16Array;
  readonly #names: Uint8Array[] = [new Uint8Array()];
  static readonly #SLOTS = 1024;

  /** `loops` lists paths whose element may hold itself: `"A/List/List"` goes on as `"A/List"`. */
  constructor(rules: ElementRule[], loops: string[] = []) {
    const ids = new Map<string, number>();
    const children: Map<number, number>[] = [];
    const when: number[] = [];
    const codes: number[] = [];
    const addNode = () => {
      children.push(new Map());
      when.push(0);
      return codes.push(0) - 1;
    };
    const idOf = (name: string) => {
      let id = ids.get(name);
      if (id === undefined) {
        ids.set(name, id = this.#names.length);
        this.#names.push(bytesOf(name));
      }
      return id;
    };
    const walk = (path: string[]) => {
      let node = 1;
      for (const name of path) {
        const id = idOf(name);
        const next = children[node]!.get(id) ?? addNode();
        children[node]!.set(id, next);
        node = next;
      }
      return node;
    };
    addNode();
    addNode();
    for (const rule of rules) {
      const node = walk(rule.path.split("/"));
      when[node] = rule.when;
      codes[node] = rule.code;
    }
    for (const loop of loops) {
      const path = loop.split("/");
      const node = walk(path);
      children[node]!.set(idOf(path.at(-1) ?? ""), node);
    }
    this.width = this.#names.length;
    this.transitions = new Int16Array(children.length * this.width);
    children.forEach((map, node) =>
      map.forEach((child, id) => this.transitions[node * this.width + id] = child)
    );
    this.when = Uint8Array.from(when);
    this.codes = Uint8Array.from(codes);
    this.#slots = new Int16Array(ElementTree.#SLOTS);
    for (let id = 1; id < this.#names.length; id++) {
      let slot = hashName(this.#names[id]!, 0, this.#names[id]!.length);
      while (this.#slots[slot & (ElementTree.#SLOTS - 1)]) slot++;
      this.#slots[slot & (ElementTree.#SLOTS - 1)] = id;
    }
  }

  /** True where the root may have a child of the name `bytes[from, to)`. */
  names(bytes: Uint8Array, from: number, to: number): boolean {
    return this.transitions[this.width + this.find(bytes, from, to, hashName(bytes, from, to))] !==
      0;
  }

  /** The id of the name `bytes[from, to)` whose {@linkcode hashName} is `hash`; 0 where no rule has it. */
  find(bytes: Uint8Array, from: number, to: number, hash: number): number {
    const slots = this.#slots;
    const mask = ElementTree.#SLOTS - 1;
    const length = to - from;
    for (let slot = hash & mask;; slot = slot + 1 & mask) {
      const id = slots[slot]!;
      if (id === 0) return 0;
      const name = this.#names[id]!;
      if (name.length !== length) continue;
      let i = 0;
      while (i < length && name[i] === bytes[from + i]) i++;
      if (i === length) return id;
    }
  }
}

/** The rolling hash of a name, as the scanner computes it while it looks for the name's end. */
function hashName(bytes: Uint8Array, from: number, to: number): number {
  let hash = 0;
  for (let i = from; i < to; i++) hash = Math.imul(hash, 31) + bytes[i]! | 0;
  return hash;
}
