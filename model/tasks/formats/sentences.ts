/**
 * From annotated documents to tagged sentences and back. Sentences are found by the platform's own
 * segmenter (Unicode's rules, Intl.Segmenter), never cutting an entity; tokens are runs of letters and
 * digits, and every other character alone, as the IOB forms of BC5CDR and NCBI-disease have them.
 * @module
 */
import { inOrder } from "./documents.ts";
import type { AnnotatedDocument, Mention, Span, TaggedTokens } from "./types.ts";

/** A token at its place. */
export interface PlacedToken extends Span {
  text: string;
}

/** The tokens of a text from `from` to `to`. */
export function tokensOf(text: string, from = 0, to: number = text.length): PlacedToken[] {
  const pattern = /[\p{L}\p{N}\p{M}]+|[^\s\p{L}\p{N}\p{M}]/gu;
  return [...text.slice(from, to).matchAll(pattern)].map((match) => {
    const start = from + match.index;
    return { text: match[0], start, end: start + match[0].length };
  });
}

const segmenter = new Intl.Segmenter("en", { granularity: "sentence" });

/** The sentences of a document, passage by passage; none ends inside a mention. */
export function sentencesOf(document: AnnotatedDocument): Span[] {
  const inside = (at: number) =>
    document.mentions.some((mention) => {
      const start = mention.spans[0]?.start ?? 0;
      const end = mention.spans.at(-1)?.end ?? 0;
      return start < at && at < end;
    });
  const out: Span[] = [];
  const passages = document.passages.length
    ? document.passages
    : [{ type: "text", start: 0, end: document.text.length }];
  for (const passage of passages) {
    let start = passage.start;
    for (
      const { index, segment } of segmenter.segment(
        document.text.slice(passage.start, passage.end),
      )
    ) {
      const end = passage.start + index + segment.length;
      if (end < passage.end && inside(end)) continue;
      if (document.text.slice(start, end).trim() !== "") out.push({ start, end });
      start = end;
    }
  }
  return out;
}

/** Sentences, and how many mentions could not be told by tags because they overlap others. */
interface TaggedDocument {
  sentences: TaggedTokens[];
  overlapping: number;
}

/** The mentions of a document that do not overlap each other: of those that do, the longer is kept. */
export function separateMentions(document: AnnotatedDocument): Mention[] {
  const length = (m: Mention) => (m.spans.at(-1)?.end ?? 0) - (m.spans[0]?.start ?? 0);
  const longest = [...document.mentions].sort((a, b) => length(b) - length(a));
  const kept: Mention[] = [];
  for (const mention of longest) {
    const overlaps = kept.some((other) =>
      (mention.spans[0]?.start ?? 0) < (other.spans.at(-1)?.end ?? 0) &&
      (other.spans[0]?.start ?? 0) < (mention.spans.at(-1)?.end ?? 0)
    );
    if (!overlaps) kept.push(mention);
  }
  return kept;
}

/** A document's sentences with IOB2 tags; of overlapping mentions the longer is kept. */
export function tagDocument(document: AnnotatedDocument): TaggedDocument {
  const kept = separateMentions(document);
  const sentences = sentencesOf(document).map((span, i): TaggedTokens => {
    const tokens = tokensOf(document.text, span.start, span.end);
    const tags = tokens.map(() => "O");
    for (const mention of kept) {
      const start = mention.spans[0]?.start ?? 0;
      const end = mention.spans.at(-1)?.end ?? 0;
      let first = true;
      tokens.forEach((token, t) => {
        if (token.end <= start || token.start >= end) return;
        tags[t] = `${first ? "B" : "I"}-${mention.type}`;
        first = false;
      });
    }
    return {
      kind: "sentence",
      tokens: tokens.map((t) => t.text),
      tags,
      line: i + 1,
      document: document.id,
    };
  });
  return { sentences, overlapping: document.mentions.length - kept.length };
}

/** Sentences as documents: those of one document together, tokens joined by spaces. */
export function documentsOf(sentences: readonly TaggedTokens[]): AnnotatedDocument[] {
  const documents = new Map<string, AnnotatedDocument>();
  sentences.forEach((sentence, i) => {
    const id = sentence.document ?? `sentence-${i + 1}`;
    const document = documents.get(id) ??
      { kind: "document", id, text: "", passages: [], mentions: [], relations: [] };
    documents.set(id, document);
    const begin = document.text === "" ? 0 : document.text.length + 1;
    let at = begin;
    const places = sentence.tokens.map((token) => {
      const place = { start: at, end: at + token.length };
      at = place.end + 1;
      return place;
    });
    const text = sentence.tokens.join(" ");
    document.text = begin === 0 ? text : `${document.text} ${text}`;
    document.passages.push({ type: "sentence", start: begin, end: begin + text.length });
    let open: Mention | undefined;
    sentence.tags.forEach((tag, t) => {
      const place = places[t] ?? { start: begin, end: begin };
      const last = open?.spans[0];
      if (tag.startsWith("I-") && open && last && open.type === tag.slice(2)) {
        last.end = place.end;
        open.text = document.text.slice(last.start, last.end);
        return;
      }
      if (tag === "O") {
        open = undefined;
        return;
      }
      open = {
        id: `T${document.mentions.length + 1}`,
        type: tag.slice(2),
        spans: [place],
        text: document.text.slice(place.start, place.end),
        identifiers: [],
      };
      document.mentions.push(open);
    });
  });
  return [...documents.values()].map((d) => ({ ...d, mentions: inOrder(d.mentions) }));
}
