/**
 * The DDI corpus as SemEval-2013 task 9 released it: XML documents of sentences with entities (places
 * within the sentence, the last character included) and every pair of them, interacting or not.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { placeSpans, textAt } from "./documents.ts";
import { offsetsOf } from "./offsets.ts";
import type { AnnotatedDocument, Format, Probe } from "./types.ts";
import { childrenOf, readXml } from "./xml.ts";

/** The type of a pair that interacts where the corpus does not say how. */
const UNTYPED = "int";

function readDocument(path: string): AnnotatedDocument {
  const root = readXml(path);
  if (root.name !== "document") {
    throw new UserError(`Cannot read ${path}: its root is <${root.name}>, not <document>`);
  }
  const document: AnnotatedDocument = {
    kind: "document",
    id: root.attributes.id ?? "",
    text: "",
    passages: [],
    mentions: [],
    relations: [],
    unrelated: [],
  };
  for (const sentence of childrenOf(root, "sentence")) {
    const text = sentence.attributes.text ?? "";
    const start = document.text === "" ? 0 : document.text.length + 1;
    document.text = start === 0 ? text : `${document.text} ${text}`;
    document.passages.push({ type: "sentence", start, end: start + text.length });
    const offsets = offsetsOf(text);
    for (const entity of childrenOf(sentence, "entity")) {
      const { id = "", type = "", charOffset = "" } = entity.attributes;
      const told = charOffset.split(";").map((pair) => {
        const [first, last] = pair.split("-").map(Number);
        return { start: first ?? 0, end: (last ?? 0) + 1 };
      });
      // The words of an interrupted entity are written in several ways; its place decides.
      const words = told.length === 1 ? entity.attributes.text : undefined;
      const within = placeSpans(text, told, words, { path, line: entity.line, offsets });
      const spans = within.map((s) => ({ start: s.start + start, end: s.end + start }));
      document.mentions.push({
        id,
        type,
        spans,
        text: textAt(document.text, spans),
        identifiers: [],
      });
    }
    for (const pair of childrenOf(sentence, "pair")) {
      const { e1 = "", e2 = "", ddi, type } = pair.attributes;
      const relates = ddi?.toLowerCase() === "true";
      const list = relates ? document.relations : document.unrelated;
      list?.push({
        type: relates ? type ?? UNTYPED : "false",
        level: "mention",
        arguments: [{ role: "e1", entity: e1 }, { role: "e2", entity: e2 }],
      });
    }
  }
  return document;
}

const isDdi = ({ isFolder, lines }: Probe): boolean => {
  const text = lines.join("\n");
  return !isFolder && /<document\s/.test(text) && /<sentence\s[^>]*\btext=/.test(text);
};

/** The files of a folder and of those in it: DrugBank's and MEDLINE's documents lie apart. */
function filesBelow(folder: string): string[] {
  const entries = [...Deno.readDirSync(folder)].sort((a, b) => a.name < b.name ? -1 : 1);
  return entries.flatMap(({ name, isDirectory }) => {
    const path = join(folder, name);
    if (isDirectory) return filesBelow(path);
    return name.endsWith(".xml") ? [path] : [];
  });
}

/** The first document in a folder, or in a folder in it. */
function firstFile(looked: Probe, depth = 2): Probe | undefined {
  const first = looked.names.find((name) => name.endsWith(".xml"));
  if (first !== undefined) return looked.child(first);
  for (const name of depth > 0 ? looked.names : []) {
    if (!isFolder(join(looked.path, name))) continue;
    const found = firstFile(looked.child(name), depth - 1);
    if (found) return found;
  }
  return undefined;
}

/** See the module's text; a file, or a folder of them. */
export const ddi: Format<"document"> = {
  name: "ddi",
  kind: "document",
  title: "the XML of the DDI corpus: sentences with drugs and every pair of them",
  extension: ".xml",
  recognise(probe) {
    if (!probe.isFolder) return isDdi(probe) ? 0.97 : 0;
    const first = firstFile(probe);
    return first !== undefined && isDdi(first) ? 0.96 : 0;
  },
  read(path) {
    if (!Deno.statSync(path).isDirectory) return [readDocument(path)];
    return filesBelow(path).map(readDocument);
  },
};

/** Whether a path is a folder; a link that leads nowhere is none. */
function isFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return false;
  }
}
