/** What the formats of annotated documents share: placing mentions, and reading them back. @module */
import { failAt } from "./files.ts";
import { type Offsets, offsetsOf } from "./offsets.ts";
import type { AnnotatedDocument, Mention, Span } from "./types.ts";

const collapsed = (text: string): string => text.replace(/\s+/g, " ").trim();

/** The pieces of a text, joined by a space. */
export const textAt = (text: string, spans: readonly Span[]): string =>
  spans.map(({ start, end }) => text.slice(start, end)).join(" ");

/**
 * Spans of a mention in UTF-16 units. Files count characters, some UTF-16 units: what fits the words is
 * taken.
 * @param told the mention's words as the file has them; undefined where it tells none
 * @throws {UserError} where the words do not stand at the place.
 */
export function placeSpans(
  text: string,
  spans: readonly Span[],
  told: string | undefined,
  at: { path: string; line: number; offsets?: Offsets },
): Span[] {
  const offsets = at.offsets ?? offsetsOf(text);
  const converted = spans.map(({ start, end }) => ({
    start: offsets.toUnits(start),
    end: offsets.toUnits(end),
  }));
  for (const candidate of [converted, [...spans]]) {
    const inside = candidate.every(({ start, end }) =>
      start >= 0 && start < end && end <= text.length
    );
    if (!inside) continue;
    if (told === undefined || collapsed(textAt(text, candidate)) === collapsed(told)) {
      return candidate;
    }
  }
  const places = spans.map(({ start, end }) => `${start}-${end}`).join(";");
  const found = textAt(text, converted).slice(0, 40);
  return failAt(
    at.path,
    at.line,
    `the entity "${
      told ?? ""
    }" is said to be at ${places}, where the text has "${found}"; mend the offsets`,
  );
}

/** Mentions in the order of the text, the longer first where two begin together. */
export function inOrder(mentions: readonly Mention[]): Mention[] {
  const start = (m: Mention) => m.spans[0]?.start ?? 0;
  const end = (m: Mention) => m.spans.at(-1)?.end ?? 0;
  return [...mentions].sort((a, b) => start(a) - start(b) || end(b) - end(a));
}

/** A mention's places in characters, as files have them. */
export function inCharacters(document: AnnotatedDocument): (span: Span) => Span {
  const offsets = offsetsOf(document.text);
  return ({ start, end }) => ({
    start: offsets.toCharacters(start),
    end: offsets.toCharacters(end),
  });
}

/** A document's title and the rest of its text: PubTator and ChemProt tell the two apart. */
export function titleAndRest(document: AnnotatedDocument): { title: string; rest: string } {
  const first = document.passages[0];
  if (!first || document.passages.length < 2 || first.start !== 0) {
    return { title: "", rest: document.text };
  }
  return { title: document.text.slice(0, first.end), rest: document.text.slice(first.end + 1) };
}

/** Title and abstract with one character between them, as nearly every format counts them. */
export function titled(
  title: string,
  abstract: string,
): Pick<AnnotatedDocument, "text" | "passages"> {
  const text = `${title} ${abstract}`;
  return {
    text,
    passages: [
      { type: "title", start: 0, end: title.length },
      { type: "abstract", start: title.length + 1, end: text.length },
    ],
  };
}
