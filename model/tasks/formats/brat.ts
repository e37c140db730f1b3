/**
 * BRAT's standoff format: for each document NAME.txt and NAME.ann, whose lines are mentions (T), binary
 * relations (R) and identifiers of mentions (N). Events (E) are read as relations from their trigger to
 * each argument; attributes (A, M) and notes (#) are passed over.
 * @module
 */
import { writeAtomic } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { inCharacters, placeSpans } from "./documents.ts";
import { failAt, readLinesOf, readText } from "./files.ts";
import { offsetsOf } from "./offsets.ts";
import type { AnnotatedDocument, DocumentRelation, Format, Mention } from "./types.ts";

const namesOf = (folder: string): string[] => {
  const names = new Set([...Deno.readDirSync(folder)].map((entry) => entry.name));
  return [...names].filter((name) => name.endsWith(".ann"))
    .map((name) => name.slice(0, -".ann".length)).filter((name) => names.has(`${name}.txt`)).sort();
};

function readDocument(folder: string, name: string): AnnotatedDocument {
  const path = join(folder, `${name}.ann`);
  // Offsets count the file's own characters, so its lines keep their ends.
  const text = readText(join(folder, `${name}.txt`));
  const offsets = offsetsOf(text);
  const mentions = new Map<string, Mention>();
  const relations: DocumentRelation[] = [];
  const identifiers: { mention: string; identifier: string; line: number }[] = [];
  const triggers = new Map<string, string>();
  for (const [i, line] of readLinesOf(path).entries()) {
    const number = i + 1;
    const [id = "", body = "", words] = line.split("\t");
    if (id.startsWith("T")) {
      const match = /^(\S+) (\d+ \d+(?:;\d+ \d+)*)$/.exec(body);
      if (!match) failAt(path, number, `"${line.slice(0, 60)}" is not a type and a place`);
      const told = (match[2] ?? "").split(";").map((pair) => {
        const [start, end] = pair.split(" ").map(Number);
        return { start: start ?? 0, end: end ?? 0 };
      });
      const spans = placeSpans(text, told, words, { path, line: number, offsets });
      mentions.set(id, {
        id,
        type: match[1] ?? "",
        spans,
        text: words ?? "",
        identifiers: [],
      });
    } else if (id.startsWith("R") || id.startsWith("*")) {
      const [type = "", ...rest] = body.trim().split(/\s+/);
      const args = rest.map((part, k) => {
        const [role, entity] = part.includes(":") ? part.split(/:(.*)/s) : [`Arg${k + 1}`, part];
        return { role: role ?? "", entity: entity ?? "" };
      });
      if (args.length < 2) failAt(path, number, `"${line.slice(0, 60)}" relates nothing`);
      relations.push({ type, level: "mention", arguments: args });
    } else if (id.startsWith("E")) {
      const [head = "", ...rest] = body.trim().split(/\s+/);
      const trigger = head.split(":")[1] ?? "";
      triggers.set(id, trigger);
      for (const part of rest) {
        const [role = "", entity = ""] = part.split(/:(.*)/s);
        relations.push({
          type: role,
          level: "mention",
          arguments: [{ role: "Trigger", entity: trigger }, { role, entity }],
        });
      }
    } else if (id.startsWith("N")) {
      const [, mention = "", identifier = ""] = body.trim().split(/\s+/);
      identifiers.push({ mention, identifier, line: number });
    } else if (!/^[AM#]/.test(id) && line.trim() !== "") {
      failAt(path, number, `"${line.slice(0, 60)}" is not a line of BRAT's standoff format`);
    }
  }
  for (const { mention, identifier, line } of identifiers) {
    const found = mentions.get(mention) ?? failAt(path, line, `there is no mention ${mention}`);
    found.identifiers.push(identifier);
  }
  for (const relation of relations) {
    for (const argument of relation.arguments) {
      // An event can be an argument: what stands for it is its trigger.
      argument.entity = triggers.get(argument.entity) ?? argument.entity;
      if (!mentions.has(argument.entity)) {
        failAt(path, 1, `a relation names ${argument.entity}, which is no mention`);
      }
    }
  }
  return {
    kind: "document",
    id: name,
    text,
    passages: [{ type: "text", start: 0, end: text.length }],
    mentions: [...mentions.values()],
    relations,
  };
}

/** See the module's text. */
export const brat: Format<"document"> = {
  name: "brat",
  kind: "document",
  title: "a folder of BRAT's .txt and .ann files",
  folder: true,
  extension: "",
  recognise({ isFolder, names }) {
    if (!isFolder) return 0;
    const texts = new Set(names);
    const pairs = names.filter((n) => n.endsWith(".ann") && texts.has(n.replace(/ann$/, "txt")));
    return pairs.length ? 0.97 : 0;
  },
  read: (folder) => namesOf(folder).map((name) => readDocument(folder, name)),
  write(documents, folder) {
    for (const document of documents) {
      const place = inCharacters(document);
      const lines: string[] = [];
      let notes = 0;
      for (const mention of document.mentions) {
        const spans = mention.spans.map(place).map(({ start, end }) => `${start} ${end}`).join(";");
        const words = mention.spans.map(({ start, end }) => document.text.slice(start, end))
          .join(" ").replaceAll("\n", " ");
        lines.push(`${mention.id}\t${mention.type} ${spans}\t${words}`);
        for (const identifier of mention.identifiers) {
          notes++;
          lines.push(`N${notes}\tReference ${mention.id} ${identifier}\t${words}`);
        }
      }
      mentionRelations(document).forEach((relation, i) => {
        const args = relation.arguments.map(({ role, entity }) => `${role}:${entity}`).join(" ");
        lines.push(`R${i + 1}\t${relation.type} ${args}`);
      });
      writeAtomic(join(folder, `${document.id}.txt`), document.text);
      writeAtomic(join(folder, `${document.id}.ann`), lines.map((line) => line + "\n").join(""));
    }
  },
};

/**
 * A document's relations between mentions. One of the whole document becomes one between the first
 * mentions of what it relates; where something is never mentioned it is left out.
 */
export function mentionRelations(document: AnnotatedDocument): DocumentRelation[] {
  return document.relations.flatMap((relation): DocumentRelation[] => {
    if (relation.level === "mention") return [relation];
    const args = relation.arguments.map(({ role, entity }) => ({
      role,
      entity: document.mentions.find((m) => m.identifiers.includes(entity))?.id,
    }));
    const found = args.flatMap(({ role, entity }) =>
      entity === undefined ? [] : [{ role, entity }]
    );
    return found.length === args.length
      ? [{ type: relation.type, level: "mention", arguments: found }]
      : [];
  });
}
