/**
 * PubTator: `PMID|t|title`, `PMID|a|abstract`, then a line per mention (PMID, start, end, text, type,
 * identifier) and per relation of the document (PMID, type, identifier, identifier), tabs between; a
 * blank line ends a document. BC5CDR and NCBI-disease are released so.
 * @module
 */
import { writeAtomic } from "../../../core/files.ts";
import { inCharacters, inOrder, placeSpans, titleAndRest, titled } from "./documents.ts";
import { failAt, readLinesOf } from "./files.ts";
import { offsetsOf } from "./offsets.ts";
import type { AnnotatedDocument, DocumentRelation, Format, Mention } from "./types.ts";

const TEXT_LINE = /^([^|\t]+)\|([ta])\|(.*)$/i;

/** A line that is not blank, with its number. */
interface Line {
  text: string;
  number: number;
}

/** The lines of each document: its title begins it, whether or not a blank line stands before. */
function blocks(path: string): Line[][] {
  const out: Line[][] = [];
  for (const [i, text] of readLinesOf(path).entries()) {
    if (text.trim() === "") continue;
    const begins = TEXT_LINE.exec(text)?.[2]?.toLowerCase() === "t";
    if (begins || out.length === 0) out.push([]);
    out.at(-1)?.push({ text, number: i + 1 });
  }
  return out;
}

function readDocument(path: string, lines: readonly Line[]): AnnotatedDocument {
  const texts = { t: "", a: "" };
  let id = "";
  let body = 0;
  for (; body < lines.length; body++) {
    const match = TEXT_LINE.exec(lines[body]?.text ?? "");
    if (!match) break;
    id = (match[1] ?? "").trim();
    texts[(match[2] ?? "t").toLowerCase() as "t" | "a"] = match[3] ?? "";
  }
  if (!id) {
    const [{ text, number } = { text: "", number: 1 }] = lines;
    failAt(path, number, `"${text.slice(0, 60)}" does not begin a document (PMID|t|title)`);
  }
  const { text, passages } = titled(texts.t, texts.a);
  const offsets = offsetsOf(text);
  const mentions: Mention[] = [];
  const relations: DocumentRelation[] = [];
  for (const { text: line, number } of lines.slice(body)) {
    const columns = line.split("\t");
    if (columns[0]?.trim() !== id) {
      failAt(path, number, `"${columns[0]}" is not the document's id, ${id}`);
    }
    if (/^\d+$/.test(columns[1] ?? "") && /^\d+$/.test(columns[2] ?? "")) {
      const [, start, end, words, type, identifier] = columns;
      if (!type) failAt(path, number, "the mention has no type");
      const told = [{ start: Number(start), end: Number(end) }];
      const spans = placeSpans(text, told, words, { path, line: number, offsets });
      const identifiers = (identifier ?? "").split("|").map((x) => x.trim())
        .filter((x) => x !== "" && x !== "-1" && x !== "-");
      mentions.push({ id: `T${mentions.length + 1}`, type, spans, text: words ?? "", identifiers });
    } else if (columns.length >= 4 && columns[1]) {
      const [, type, one, two] = columns;
      relations.push({
        type,
        level: "document",
        arguments: [{ role: "Arg1", entity: one ?? "" }, { role: "Arg2", entity: two ?? "" }],
      });
    } else failAt(path, number, `"${line.slice(0, 60)}" is neither a mention nor a relation`);
  }
  return { kind: "document", id, text, passages, mentions, relations };
}

/** See the module's text. */
export const pubtator: Format<"document"> = {
  name: "pubtator",
  kind: "document",
  title:
    "PubTator's text lines and tab-separated mentions, as BC5CDR and NCBI-disease are released",
  extension: ".txt",
  recognise({ isFolder, lines }) {
    if (isFolder) return 0;
    const begun = lines.find((line) => line.trim() !== "");
    return begun !== undefined && /^[^|\t]+\|t\|/i.test(begun) ? 0.98 : 0;
  },
  read: (path) => blocks(path).map((lines) => readDocument(path, lines)),
  write(documents, path) {
    const text = documents.map((document) => {
      const { id } = document;
      const { title, rest } = titleAndRest(document);
      const place = inCharacters(document);
      const oneLine = (part: string) => part.replaceAll("\n", " ");
      const lines = [`${id}|t|${oneLine(title)}`, `${id}|a|${oneLine(rest)}`];
      // Without a title its place stays, one character long, before the text.
      const shift = title === "" ? 1 : 0;
      for (const mention of inOrder(document.mentions)) {
        // The format knows no interrupted mentions: they become the stretch from first to last word.
        const whole = place({
          start: mention.spans[0]?.start ?? 0,
          end: mention.spans.at(-1)?.end ?? 0,
        });
        const words = oneLine(
          document.text.slice(mention.spans[0]?.start, mention.spans.at(-1)?.end),
        );
        lines.push([
          id,
          whole.start + shift,
          whole.end + shift,
          words,
          mention.type,
          mention.identifiers.join("|") || "-1",
        ].join("\t"));
      }
      for (const relation of documentRelations(document)) {
        lines.push([id, relation.type, ...relation.arguments.map((a) => a.entity)].join("\t"));
      }
      return lines.join("\n") + "\n";
    });
    writeAtomic(path, text.join("\n"));
  },
};

/** A document's relations between identifiers; those between mentions are told by what these stand for. */
export function documentRelations(document: AnnotatedDocument): DocumentRelation[] {
  const identifier = new Map(document.mentions.map((m) => [m.id, m.identifiers[0] ?? m.id]));
  const seen = new Set<string>();
  return document.relations.map((relation): DocumentRelation =>
    relation.level === "document" ? relation : {
      type: relation.type,
      level: "document",
      arguments: relation.arguments.map(({ role, entity }) => ({
        role,
        entity: identifier.get(entity) ?? entity,
      })),
    }
  ).filter((relation) => {
    const key = [relation.type, ...relation.arguments.map((a) => a.entity)].join("\t");
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}
