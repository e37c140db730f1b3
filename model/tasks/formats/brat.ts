/**
 * BRAT's standoff format: for each document NAME.txt and NAME.ann, whose lines are mentions (T), binary
 * relations (R) and identifiers of mentions (N); BioNLP's shared tasks have NAME.a1 and NAME.a2 in the
 * place of NAME.ann. Events (E) are read as relations from their trigger to
 * each argument; attributes (A, M) and notes (#) are passed over.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { exists, writeAtomic } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { inCharacters, placeSpans } from "./documents.ts";
import { failAt, readLinesOf, readWholeText } from "./files.ts";
import { offsetsOf } from "./offsets.ts";
import type { AnnotatedDocument, DocumentRelation, Format, Mention, Span } from "./types.ts";

/** The files that hold a document's annotations: BRAT's one, or BioNLP's two, given and sought. */
const ANNOTATIONS = [[".ann"], [".a1", ".a2"]] as const;

/** A document's name and the ends of its annotation files' names. */
interface Named {
  name: string;
  endings: readonly string[];
}

/** The documents of a folder's names. */
function namesOf(names: readonly string[]): Named[] {
  const all = new Set(names);
  return ANNOTATIONS.flatMap(([first, ...others]) =>
    names.filter((name) => name.endsWith(first)).map((file) => file.slice(0, -first.length))
      .map((name) => ({
        name,
        endings: [first, ...others.filter((ending) => all.has(name + ending))],
      }))
  ).sort((a, b) => a.name < b.name ? -1 : 1);
}

/** A line of annotations at its place. */
interface Line {
  text: string;
  path: string;
  number: number;
}

/** A mention as its line tells it. */
interface ToldMention {
  id: string;
  type: string;
  places: Span[];
  words: string | undefined;
  line: Line;
}

function toldMention(line: Line): ToldMention {
  const [id = "", body = "", words] = line.text.split("\t");
  const match = /^(\S+) (\d+ \d+(?:;\d+ \d+)*)\s*$/.exec(body);
  if (!match) {
    return failAt(
      line.path,
      line.number,
      `"${line.text.slice(0, 60)}" is not a type and a place`,
    );
  }
  const places = (match[2] ?? "").split(";").map((pair) => {
    const [start, end] = pair.split(" ").map(Number);
    return { start: start ?? 0, end: end ?? 0 };
  });
  return { id, type: match[1] ?? "", places, words, line };
}

/**
 * The text that the places count in, and the mentions in it: the file's own characters, or, as programs
 * count that read a file as text, without its byte order mark or with every line's end as one character.
 * @throws {UserError} where no way of counting finds every mention's words.
 */
function placeMentions(
  path: string,
  told: readonly ToldMention[],
): { text: string; mentions: Map<string, Mention> } {
  const whole = readWholeText(path);
  const unmarked = whole.replace(/^\ufeff/, "");
  const texts = [
    unmarked,
    whole,
    unmarked.replaceAll("\r\n", "\n"),
    whole.replaceAll("\r\n", "\n"),
  ];
  let failure: unknown;
  for (const text of new Set(texts)) {
    const offsets = offsetsOf(text);
    try {
      const mentions = new Map<string, Mention>();
      for (const { id, type, places, words, line } of told) {
        const at = { path: line.path, line: line.number, offsets };
        const spans = placeSpans(text, places, words, at);
        mentions.set(id, { id, type, spans, text: words ?? "", identifiers: [] });
      }
      return { text, mentions };
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      failure ??= error;
    }
  }
  throw failure;
}

/** A relation or an event, and where it is told. */
type ToldRelation = DocumentRelation & { line: Line };

/** What a line with arguments tells: a relation, or an event, which is one for each of its arguments. */
function toldRelations(line: Line, triggers: Map<string, string>): ToldRelation[] {
  const [id = "", body = ""] = line.text.split("\t");
  const [head = "", ...rest] = body.trim().split(/\s+/);
  if (id.startsWith("E")) {
    const trigger = head.split(":")[1] ?? "";
    triggers.set(id, trigger);
    return rest.map((part) => {
      const [role = "", entity = ""] = part.split(/:(.*)/s);
      return {
        type: role,
        level: "mention",
        arguments: [{ role: "Trigger", entity: trigger }, { role, entity }],
        line,
      };
    });
  }
  const args = rest.map((part, k) => {
    const [role, entity] = part.includes(":") ? part.split(/:(.*)/s) : [`Arg${k + 1}`, part];
    return { role: role ?? "", entity: entity ?? "" };
  });
  if (args.length < 2) {
    failAt(line.path, line.number, `"${line.text.slice(0, 60)}" relates nothing`);
  }
  return [{ type: head, level: "mention", arguments: args, line }];
}

function readDocument(folder: string, { name, endings }: Named): AnnotatedDocument {
  const lines = endings.map((ending) => join(folder, name + ending)).flatMap((path) =>
    readLinesOf(path).map((text, i): Line => ({ text, path, number: i + 1 }))
  );
  const textPath = join(folder, `${name}.txt`);
  if (!exists(textPath)) {
    throw new UserError(
      `Cannot read ${
        lines[0]?.path ?? folder
      }: its text ${name}.txt is not beside it; put it there`,
    );
  }
  const told: ToldMention[] = [];
  const toldOf: ToldRelation[] = [];
  const identifiers: { mention: string; identifier: string; line: Line }[] = [];
  const triggers = new Map<string, string>();
  for (const line of lines) {
    const { text } = line;
    if (text.startsWith("T")) told.push(toldMention(line));
    else if (/^[RE*]/.test(text)) toldOf.push(...toldRelations(line, triggers));
    else if (text.startsWith("N")) {
      const [, mention = "", identifier = ""] = (text.split("\t")[1] ?? "").trim().split(/\s+/);
      identifiers.push({ mention, identifier, line });
    } else if (!/^[AM#]/.test(text) && text.trim() !== "") {
      failAt(
        line.path,
        line.number,
        `"${text.slice(0, 60)}" is not a line of BRAT's standoff format`,
      );
    }
  }
  const { text, mentions } = placeMentions(textPath, told);
  for (const { mention, identifier, line } of identifiers) {
    const found = mentions.get(mention) ??
      failAt(line.path, line.number, `there is no mention ${mention}`);
    found.identifiers.push(identifier);
  }
  const relations = toldOf.map(({ line, ...relation }): DocumentRelation => ({
    ...relation,
    arguments: relation.arguments.map(({ role, entity }) => {
      // An event can be an argument: what stands for it is its trigger.
      const named = triggers.get(entity) ?? entity;
      if (!mentions.has(named)) {
        failAt(line.path, line.number, `a relation names ${named}, which is no mention`);
      }
      return { role, entity: named };
    }),
  }));
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
  title: "a folder of BRAT's .txt and .ann files, or of BioNLP's .txt, .a1 and .a2",
  folder: true,
  extension: "",
  recognise({ isFolder, names }) {
    if (!isFolder) return 0;
    const texts = new Set(names);
    return namesOf(names).some(({ name }) => texts.has(`${name}.txt`)) ? 0.97 : 0;
  },
  read(folder) {
    const names = [...Deno.readDirSync(folder)].map((entry) => entry.name);
    return namesOf(names).map((named) => readDocument(folder, named));
  },
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
