/** The catalogue's live set against a naive model of the rules, over random histories. @module */
import { join } from "../../core/std.ts";
import { Catalogue, type FileEvents, type FileRow } from "../../pipeline/catalogue/catalogue.ts";
import { LiveBits } from "../../pipeline/catalogue/live_set.ts";
import { assertEquals } from "../assert.ts";
import { faults } from "./faults.ts";
import { type Event, liveRecords } from "./live_model.ts";
import { withFolder } from "./support.ts";

const ROUNDS = faults(60, 200, 400);

function generator(seed: number): (below: number) => number {
  return (below) => {
    seed = Math.imul(seed ^ seed >>> 15, 0x2c1b3c6d) + 0x9e3779b9 | 0;
    return ((seed ^ seed >>> 13) >>> 0) % below;
  };
}

function randomFile(next: (below: number) => number): Event[] {
  const pmid = () => 1 + next(12);
  const version = () => 1 + Math.max(0, next(5) - 2);
  const events: Event[] = Array.from(
    { length: next(8) },
    () => ({ pmid: pmid(), version: version(), deleted: false }),
  );
  if (next(2)) {
    for (let i = next(5); i > 0; i--) {
      events.push({ pmid: pmid(), version: version(), deleted: true });
    }
  }
  return events;
}

const naive = (files: Map<number, Event[]>): string[] =>
  liveRecords(files).map(({ event, file, ordinal }) =>
    `${event.pmid} v${event.version} file ${file} record ${ordinal}`
  );

function eventsOf(events: Event[]): FileEvents {
  const column = (deleted: boolean, value: (e: Event, i: number) => number) =>
    Int32Array.from(events.flatMap((e, i) => e.deleted === deleted ? [value(e, i)] : []));
  return {
    pmids: column(false, (e) => e.pmid),
    versions: column(false, (e) => e.version),
    ordinals: column(false, (_, i) => i),
    deletedPmids: column(true, (e) => e.pmid),
    deletedVersions: column(true, (e) => e.version),
    deletedOrdinals: column(true, (_, i) => i),
  };
}

function rowOf(number: number, events: Event[]): FileRow {
  const documents = events.filter((e) => !e.deleted).length;
  return {
    number,
    name: `file${number}`,
    folder: "baseline",
    md5: "",
    state: "documents" as const,
    records: documents,
    documents,
    deletions: events.length - documents,
    xml_bytes: 0,
    counts: "{}",
    tokens: null,
    documents_sha256: "",
    tokens_sha256: null,
    stamp: "",
    rejected_sha256: "",
    raw: 0,
  };
}

function shuffled<T>(items: T[], next: (below: number) => number): T[] {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = next(i + 1);
    [result[i], result[j]] = [result[j]!, result[i]!];
  }
  return result;
}

const liveOf = (catalogue: Catalogue) =>
  [...catalogue.live()].map((c) => `${c.pmid} v${c.version} file ${c.file} record ${c.ordinal}`);

Deno.test("the live set of any history, in any order, twice over and re-issued, is the model's", () =>
  withFolder(async (folder) => {
    for (let round = 0; round < ROUNDS; round++) {
      const next = generator(round + 1);
      const files = new Map<number, Event[]>();
      for (let number = 1; number <= 5; number++) files.set(number, randomFile(next));
      const catalogue = new Catalogue(join(folder, `${round}.sqlite`));
      try {
        for (const [number, events] of shuffled([...files], next)) {
          catalogue.addFile(rowOf(number, events), eventsOf(events));
          // A file applied twice changes nothing.
          if (next(3) === 0) catalogue.addFile(rowOf(number, events), eventsOf(events));
        }
        assertEquals(liveOf(catalogue), naive(files), `round ${round}`);
        const again = 1 + next(5);
        const events = randomFile(next);
        files.set(again, events);
        catalogue.addFile(rowOf(again, events), eventsOf(events), true);
        await catalogue.rebuild((apply) => {
          for (const [number, list] of files) apply(number, eventsOf(list));
          return Promise.resolve();
        });
        const expected = naive(files);
        assertEquals(liveOf(catalogue), expected, `round ${round}, file ${again} re-issued`);

        const bits = new LiveBits(catalogue);
        const live = [...files].flatMap(([number, list]) =>
          list.flatMap(({ pmid, version, deleted }, ordinal) =>
            !deleted && bits.isLive(`file${number}`, pmid, version, ordinal)
              ? [`${pmid} v${version} file ${number} record ${ordinal}`]
              : []
          )
        );
        assertEquals(live.sort(), [...expected].sort());
        const counts = catalogue.counts();
        assertEquals(counts.live, expected.length);
        assertEquals(counts.live + counts.superseded + counts.deleted, counts.records);
      } finally {
        catalogue.close();
      }
    }
  }));

Deno.test("a catalogue of another layout, or no catalogue, is refused by name", () =>
  withFolder((folder) => {
    const path = join(folder, "c.sqlite");
    const catalogue = new Catalogue(path);
    catalogue.set("schema", "99");
    catalogue.close();
    const message = (open: () => Catalogue) => {
      try {
        open().close();
        return "";
      } catch (error) {
        return (error as Error).message;
      }
    };
    assertEquals(/version 99/.test(message(() => new Catalogue(path))), true);
    Deno.writeTextFileSync(
      path,
      "not a database, and long enough to be looked at as one".repeat(40),
    );
    assertEquals(/Cannot use the catalogue/.test(message(() => new Catalogue(path))), true);
    // A run killed before it made its tables.
    Deno.writeTextFileSync(path, "");
    const empty = message(() => new Catalogue(path, { readOnly: true }));
    assertEquals(/its catalogue is still empty.*run "pipeline run" again/.test(empty), true, empty);
    assertEquals(message(() => new Catalogue(path)), "");
  }));
