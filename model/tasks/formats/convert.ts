/** From one format to another, also of another kind where that can be done. @module */
import { UserError } from "../../../core/errors.ts";
import { exists } from "../../../core/files.ts";
import { formatNamed, FORMATS, readRecords } from "./mod.ts";
import { pairsOf } from "./pairs.ts";
import { documentsOf, tagDocument } from "./sentences.ts";
import type { AnnotatedDocument, RecordKind, TaggedTokens, TaskRecord } from "./types.ts";

/** What a conversion came to. */
export interface Conversion {
  /** The format that was read. */
  from: string;
  to: string;
  read: number;
  written: number;
  /** What the other format cannot say, in sentences. */
  losses: string[];
}

/** The formats that can be written. */
const WRITABLE: readonly string[] = FORMATS.filter((f) => f.write).map((f) => f.name);

/**
 * Converts a file or folder.
 * @throws {UserError} where the input cannot be read, the format is not written, or its kind cannot hold
 * what the input has; nothing is written then.
 */
export function convert(options: {
  input: string;
  out: string;
  to: string;
  from?: string;
}): Conversion {
  const { input, out } = options;
  const target = formatNamed(options.to);
  if (!target.write) {
    throw new UserError(
      `Cannot write the format "${target.name}": it is only read; choose one of ${
        WRITABLE.join(", ")
      }`,
    );
  }
  if (exists(out)) {
    throw new UserError(`Cannot convert to ${out}: it is there already; name another with --out`);
  }
  const { format, records } = readRecords(input, options.from);
  const { converted, losses } = toKind(records, format.kind, target.kind, input);
  target.write(converted as never, out);
  return {
    from: format.name,
    to: target.name,
    read: records.length,
    written: converted.length,
    losses,
  };
}

function toKind(
  records: TaskRecord[],
  from: RecordKind,
  to: RecordKind,
  input: string,
): { converted: TaskRecord[]; losses: string[] } {
  if (from === to) return { converted: records, losses: [] };
  if (from === "document" && to === "sentence") {
    const tagged = (records as AnnotatedDocument[]).map(tagDocument);
    const overlapping = tagged.reduce((sum, t) => sum + t.overlapping, 0);
    const relations = (records as AnnotatedDocument[])
      .reduce((sum, d) => sum + d.relations.length, 0);
    const losses: string[] = [];
    if (overlapping) {
      losses.push(`${overlapping} entities overlap longer ones and have no tags of their own`);
    }
    if (relations) losses.push(`${relations} relations are left out: tags cannot say them`);
    return { converted: tagged.flatMap((t) => t.sentences), losses };
  }
  if (from === "sentence" && to === "document") {
    return { converted: documentsOf(records as TaggedTokens[]), losses: [] };
  }
  if (from === "document" && to === "text") {
    const { texts, across } = pairsOf(records as AnnotatedDocument[]);
    if (!texts.length) {
      throw new UserError(
        `Cannot make texts to classify of ${input}: it relates no two entities within a sentence`,
      );
    }
    const losses = across
      ? [`${across} relations hold between entities of different sentences and are left out`]
      : [];
    return { converted: texts, losses };
  }
  const NAMES: Record<RecordKind, string> = {
    document: "annotated documents",
    sentence: "tagged sentences",
    text: "texts with labels",
    question: "questions",
  };
  throw new UserError(
    `Cannot convert ${input}: it holds ${NAMES[from]}, and the format asked for holds ${
      NAMES[to]
    }; ` +
      `choose a format of ${NAMES[from]}`,
  );
}
