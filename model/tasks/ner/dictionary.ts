/** Named entities without a model: the baseline that any model has to beat. @module */
import { nth } from "../../../core/nth.ts";
import { entitiesOf, type Entity, type TaggedSentence } from "./ner.ts";

/** The trivial system: entities of the training split, found again by longest match. */
export class Dictionary {
  #entities = new Map<string, string>();
  #longest = 0;

  constructor(sentences: TaggedSentence[]) {
    const counts = new Map<string, Map<string, number>>();
    for (const { tokens, tags } of sentences) {
      for (const { type, start, end } of entitiesOf(tags)) {
        const key = tokens.slice(start, end).join(" ").toLowerCase();
        const own = counts.get(key) ?? new Map<string, number>();
        own.set(type, (own.get(type) ?? 0) + 1);
        counts.set(key, own);
        this.#longest = Math.max(this.#longest, end - start);
      }
    }
    for (const [key, own] of counts) {
      this.#entities.set(key, nth([...own].sort((a, b) => b[1] - a[1]), 0)[0]);
    }
  }

  /** A sentence's tags by {@linkcode Dictionary.find}. */
  tag(words: string[]): string[] {
    const tags = words.map(() => "O");
    for (const { type, start, end } of this.find(words)) {
      for (let i = start; i < end; i++) tags[i] = `${i === start ? "B" : "I"}-${type}`;
    }
    return tags;
  }

  /** The entities of a sentence's words, from left to right, the longest first. */
  find(words: string[]): Entity[] {
    const found: Entity[] = [];
    for (let start = 0; start < words.length;) {
      let end = Math.min(words.length, start + this.#longest);
      let type: string | undefined;
      for (; end > start; end--) {
        type = this.#entities.get(words.slice(start, end).join(" ").toLowerCase());
        if (type !== undefined) break;
      }
      if (type !== undefined) found.push({ type, start, end });
      start = Math.max(end, start + 1);
    }
    return found;
  }
}
