/** What is live, by the rules as they are written down: slow, plain, and another way than the catalogue's. @module */

/** A record of a source file, or a version that a DeleteCitation names. */
export interface Event {
  pmid: number;
  version: number;
  deleted: boolean;
}

/** The record that is in force for a PMID, and where it is. */
interface LiveRecord<E extends Event> {
  event: E;
  file: number;
  ordinal: number;
}

/** The rules: files in order of their numbers, one event after another. By ascending PMID. */
export function liveRecords<E extends Event>(files: Map<number, E[]>): LiveRecord<E>[] {
  const versions = new Map<number, Map<number, LiveRecord<E>>>();
  for (const [file, events] of [...files].sort(([a], [b]) => a - b)) {
    events.forEach((event, ordinal) => {
      const held = versions.get(event.pmid) ?? new Map<number, LiveRecord<E>>();
      versions.set(event.pmid, held);
      if (event.deleted) held.delete(event.version);
      else held.set(event.version, { event, file, ordinal });
    });
  }
  return [...versions].filter(([, held]) => held.size > 0).sort(([a], [b]) => a - b)
    .flatMap(([, held]) => {
      const newest = held.get(Math.max(...held.keys()));
      return newest ? [newest] : [];
    });
}
