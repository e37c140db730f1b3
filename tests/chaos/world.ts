/**
 * An invented mirror that changes, and what must be live in a corpus that was brought up to date with
 * it: the model that histories are held against.
 * @module
 */
import { join } from "../../core/std.ts";
import { type Event, liveRecords } from "../pipeline/live_model.ts";
import { article, deletion, pubmedSet, putFile } from "../pipeline/support.ts";
import type { Chance } from "./chance.ts";

/** What kind of record it is, which decides whether it is training text. */
type Kind = "plain" | "bare" | "retracted";

/** A record or a deletion; `edition` tells the texts of the same version apart. */
interface Entry extends Event {
  kind: Kind;
  edition: number;
}

/** PMIDs are few, so that files speak of the same ones again and again. */
const PMIDS = 40;
const RETRACTED = '<PublicationType UI="D016441">Retracted Publication</PublicationType>';

/** Twenty words that every text of a PMID has, and no other: what evaluation items share with it. */
const passageOf = (pmid: number): string =>
  Array.from({ length: 20 }, (_, i) => `observation${pmid}n${i}`).join(" ");

const titleOf = ({ pmid, version, edition }: Entry): string =>
  `Title of ${pmid} version ${version} edition ${edition}.`;

function abstractOf(entry: Entry): string {
  if (entry.kind === "bare") return "";
  const { pmid, version, edition } = entry;
  const words: string[] = [];
  const count = 5 + (pmid * 7 + version * 11 + edition * 13) % 60;
  for (let i = 0; i < count; i++) words.push(`measure${(pmid * 31 + edition * 17 + i * i) % 997}`);
  return `${words.join(" ")}. We saw ${passageOf(pmid)}.`;
}

/** The text that a corpus must hold for a record. */
const textOf = (entry: Entry): string =>
  [titleOf(entry), abstractOf(entry)].filter((part) => part !== "").join("\n\n");

/** The mirror's folder and its history. */
export class World {
  readonly files: Map<number, Entry[]> = new Map();
  /** PMIDs that evaluation files name, and those whose passage they have. */
  readonly heldOut: Set<number> = new Set();
  year = 26;
  #baseline = 0;
  #edition = 0;

  constructor(readonly root: string, readonly chance: Chance) {}

  /** Publishes a new baseline of `count` files, in the place of all that was there. */
  newBaseline(count: number): void {
    for (const number of this.files.keys()) this.#remove(number);
    this.files.clear();
    this.#baseline = count;
    for (let number = 1; number <= count; number++) this.#put(number, this.#entries(20, false));
  }

  /**
   * Begins the next year's series with the first `count` files of its baseline, of as many as the old
   * one has; the old series is gone.
   */
  newYear(count: number): void {
    for (const number of this.files.keys()) this.#remove(number);
    this.files.clear();
    this.year++;
    for (let number = 1; number <= count; number++) this.#put(number, this.#entries(20, false));
  }

  /** Adds what the baseline of a new year still lacks. */
  completeBaseline(): void {
    for (let number = this.files.size + 1; number <= this.#baseline; number++) {
      this.#put(number, this.#entries(20, false));
    }
  }

  /** How many files a baseline has. */
  get baseline(): number {
    return this.#baseline;
  }

  /** Publishes an update file; returns its number. */
  publish(): number {
    const number = this.files.size + 1;
    this.#put(number, this.#entries(12, true));
    return number;
  }

  /** Issues a file again, with other content. */
  issueAgain(): number {
    const number = this.chance.of([...this.files.keys()]);
    this.#put(number, this.#entries(number <= this.#baseline ? 20 : 12, number > this.#baseline));
    return number;
  }

  /** What must be live, by ascending PMID. */
  live(): { pmid: number; version: number; text: string }[] {
    return liveRecords(this.files).map(({ event }) => ({
      pmid: event.pmid,
      version: event.version,
      text: textOf(event),
    }));
  }

  /** The PMIDs that must be in the shards, ascending. */
  training(): number[] {
    return liveRecords(this.files).map((r) => r.event)
      .filter((e) => e.kind === "plain" && !this.heldOut.has(e.pmid)).map((e) => e.pmid);
  }

  /** Writes an evaluation file that names some PMIDs and quotes others, and holds them out. */
  writeEvaluation(path: string): void {
    const { chance } = this;
    const items: Record<string, unknown> = {};
    const named = chance.between(1, PMIDS);
    const quoted = chance.between(1, PMIDS);
    items[String(named)] = { question: "Is it so?" };
    items.quotation = { question: `Does it hold that ${passageOf(quoted)} always?` };
    Deno.writeTextFileSync(path, JSON.stringify(items));
    this.heldOut.add(named);
    this.heldOut.add(quoted);
  }

  #entries(most: number, deletions: boolean): Entry[] {
    const { chance } = this;
    const entries: Entry[] = [];
    for (let i = chance.between(2, most); i > 0; i--) {
      entries.push({
        pmid: chance.between(1, PMIDS),
        version: Math.max(1, chance.below(5) - 1),
        deleted: false,
        kind: chance.of(["plain", "plain", "plain", "plain", "plain", "bare", "retracted"]),
        edition: ++this.#edition,
      });
    }
    for (let i = deletions ? chance.below(5) : 0; i > 0; i--) {
      const version = Math.max(1, chance.below(5) - 1);
      const pmid = chance.between(1, PMIDS);
      entries.push({ pmid, version, deleted: true, kind: "plain", edition: 0 });
    }
    return entries;
  }

  #put(number: number, entries: Entry[]): void {
    this.files.set(number, entries);
    const records = entries.filter((e) => !e.deleted).map((entry) =>
      article(entry.pmid, {
        version: entry.version,
        title: titleOf(entry),
        abstract: abstractOf(entry),
        extra: entry.kind === "retracted" ? RETRACTED : "",
      })
    );
    const gone = entries.filter((e) => e.deleted).map((e): [number, number] => [e.pmid, e.version]);
    if (gone.length > 0) records.push(deletion(...gone));
    const folder = number <= this.#baseline ? "baseline" : "updatefiles";
    putFile(this.root, folder, number, pubmedSet(...records), this.year);
  }

  #remove(number: number): void {
    const name = `pubmed${this.year}n${String(number).padStart(4, "0")}.xml.gz`;
    const folder = number <= this.#baseline ? "baseline" : "updatefiles";
    for (const suffix of ["", ".md5"]) Deno.removeSync(join(this.root, folder, name + suffix));
  }
}
