/**
 * BioC, in XML and in JSON (Comeau et al. 2013): a collection of documents, their passages with offsets,
 * annotations with locations, relations with nodes. BC5CDR's relations of a whole document have no
 * nodes; their infons name what they relate.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { writeAtomic } from "../../../core/files.ts";
import { inCharacters, placeSpans, textAt } from "./documents.ts";
import { failAt, objectOf, objectsOf, readJson, readText, textOf } from "./files.ts";
import { offsetsOf } from "./offsets.ts";
import type { AnnotatedDocument, DocumentRelation, Format, Probe, Span } from "./types.ts";
import { childrenOf, childText, escapeXml, readXml, type XmlElement } from "./xml.ts";

type Infons = Record<string, string>;

/** What XML and JSON both come to. */
interface BioCAnnotation {
  id: string;
  infons: Infons;
  /** Start and length, in characters of the document. */
  locations: { offset: number; length: number }[];
  text?: string;
  line: number;
}

interface BioCRelation {
  infons: Infons;
  nodes: { refid: string; role: string }[];
}

interface BioCPassage {
  infons: Infons;
  offset: number;
  text: string;
  annotations: BioCAnnotation[];
  relations: BioCRelation[];
  line: number;
}

interface BioCDocument {
  id: string;
  passages: BioCPassage[];
  annotations: BioCAnnotation[];
  relations: BioCRelation[];
}

/** Infons that name what kind of relation it is; every other one of a relation without nodes is a role. */
const RELATION_TYPE = ["relation", "type", "relation type"];
const typeOf = (infons: Infons): string =>
  RELATION_TYPE.map((key) => infons[key]).find((value) => value !== undefined) ?? "relation";

const IDENTIFIERS =
  /^(identifier|mesh|omim|umls|ncbi gene|ncbi taxonomy|entrezgene|normalized_id|concept.*)$/i;

function toDocument(path: string, document: BioCDocument): AnnotatedDocument {
  let text = "";
  let characters = 0;
  const passages: AnnotatedDocument["passages"] = [];
  for (const passage of document.passages) {
    const gap = passage.offset - characters;
    // The first passage may begin anywhere; what lies between passages is not told.
    if (gap < 0) {
      failAt(
        path,
        passage.line,
        `a passage of document ${document.id} begins at ${passage.offset}, before the end of the one ` +
          `before it (${characters}); mend the offsets`,
      );
    }
    text += " ".repeat(gap);
    const start = text.length;
    text += passage.text;
    characters += gap + [...passage.text].length;
    passages.push({ type: passage.infons.type ?? "text", start, end: text.length });
  }
  const offsets = offsetsOf(text);
  const all = [...document.annotations, ...document.passages.flatMap((p) => p.annotations)];
  const mentions = all.filter((a) => a.locations.length > 0).map((annotation) => {
    const told = annotation.locations.map(({ offset, length }) => ({
      start: offset,
      end: offset + length,
    }));
    const spans = placeSpans(text, told, annotation.text, {
      path,
      line: annotation.line,
      offsets,
    });
    const identifiers = Object.entries(annotation.infons)
      .filter(([key]) => IDENTIFIERS.test(key))
      .flatMap(([, value]) => value.split(/[|;,]/))
      .map((value) => value.trim()).filter((value) => value !== "" && value !== "-1");
    return {
      id: annotation.id,
      type: annotation.infons.type ?? "Entity",
      spans,
      text: textAt(text, spans),
      identifiers,
    };
  });
  const relations = [...document.relations, ...document.passages.flatMap((p) => p.relations)]
    .map(({ infons, nodes }): DocumentRelation =>
      nodes.length
        ? {
          type: typeOf(infons),
          level: "mention",
          arguments: nodes.map(({ refid, role }) => ({ role, entity: refid })),
        }
        : {
          type: typeOf(infons),
          level: "document",
          arguments: Object.entries(infons)
            .filter(([key]) => !RELATION_TYPE.includes(key.toLowerCase()))
            .map(([role, entity]) => ({ role, entity })),
        }
    ).filter((relation) => relation.arguments.length >= 2);
  return { kind: "document", id: document.id, text, passages, mentions, relations };
}

const infonsOf = (element: XmlElement): Infons =>
  Object.fromEntries(childrenOf(element, "infon").map((i) => [i.attributes.key ?? "", i.text]));

function annotationsOf(element: XmlElement): BioCAnnotation[] {
  return childrenOf(element, "annotation").map((annotation) => ({
    id: annotation.attributes.id ?? "",
    infons: infonsOf(annotation),
    locations: childrenOf(annotation, "location").map(({ attributes }) => ({
      offset: Number(attributes.offset),
      length: Number(attributes.length),
    })),
    text: childText(annotation, "text"),
    line: annotation.line,
  }));
}

function relationsOf(element: XmlElement): BioCRelation[] {
  return childrenOf(element, "relation").map((relation) => ({
    infons: infonsOf(relation),
    nodes: childrenOf(relation, "node").map(({ attributes }) => ({
      refid: attributes.refid ?? "",
      role: attributes.role ?? "",
    })),
  }));
}

function passagesOf(document: XmlElement): BioCPassage[] {
  return childrenOf(document, "passage").flatMap((passage) => {
    const infons = infonsOf(passage);
    const parts = childText(passage, "text") === undefined
      ? childrenOf(passage, "sentence")
      : [passage];
    return parts.map((part, i) => ({
      infons,
      offset: Number(childText(part, "offset") ?? part.attributes.offset ?? 0),
      text: childText(part, "text") ?? "",
      annotations: [
        ...annotationsOf(part),
        ...(i === 0 && part !== passage ? annotationsOf(passage) : []),
      ],
      relations: [
        ...relationsOf(part),
        ...(i === 0 && part !== passage ? relationsOf(passage) : []),
      ],
      line: part.line,
    }));
  });
}

/** BioC's XML. */
export const biocXml: Format<"document"> = {
  name: "bioc-xml",
  kind: "document",
  title: "BioC's XML: a collection of documents with passages, annotations and relations",
  extension: ".xml",
  recognise({ isFolder, lines }) {
    const text = lines.join("\n");
    return !isFolder && /<collection[\s>]/.test(text) && /<document[\s>]/.test(text) ? 0.97 : 0;
  },
  read(path) {
    const root = readXml(path);
    if (root.name !== "collection") {
      throw new UserError(`Cannot read ${path}: its root is <${root.name}>, not <collection>`);
    }
    return childrenOf(root, "document").map((document) =>
      toDocument(path, {
        id: childText(document, "id") ?? "",
        passages: passagesOf(document),
        annotations: annotationsOf(document),
        relations: relationsOf(document),
      })
    );
  },
  write(documents, path) {
    const infon = (key: string, value: string) =>
      `<infon key="${escapeXml(key)}">${escapeXml(value)}</infon>`;
    const body = documents.map((document) => {
      const bioc = fromDocument(document);
      const annotations = (list: BioCAnnotation[]) =>
        list.map((a) =>
          `<annotation id="${escapeXml(a.id)}">${
            Object.entries(a.infons).map(([k, v]) => infon(k, v)).join("")
          }${
            a.locations.map((l) => `<location offset="${l.offset}" length="${l.length}"/>`).join("")
          }<text>${escapeXml(a.text ?? "")}</text></annotation>\n`
        ).join("");
      const passages = bioc.passages.map((p) =>
        `<passage>${
          Object.entries(p.infons).map(([k, v]) => infon(k, v)).join("")
        }<offset>${p.offset}</offset><text>${escapeXml(p.text)}</text>\n${
          annotations(p.annotations)
        }</passage>\n`
      ).join("");
      const relations = bioc.relations.map((r, i) =>
        `<relation id="R${i + 1}">${
          Object.entries(r.infons).map(([k, v]) => infon(k, v)).join("")
        }${
          r.nodes.map((n) => `<node refid="${escapeXml(n.refid)}" role="${escapeXml(n.role)}"/>`)
            .join("")
        }</relation>\n`
      ).join("");
      return `<document><id>${escapeXml(document.id)}</id>\n${passages}${relations}</document>\n`;
    });
    writeAtomic(
      path,
      `<?xml version="1.0" encoding="UTF-8"?>\n<collection><source></source><date></date><key></key>\n` +
        `${body.join("")}</collection>\n`,
    );
  },
};

/** A document as BioC has it; annotations lie in the passage that their first word lies in. */
function fromDocument(document: AnnotatedDocument): BioCDocument {
  const place = inCharacters(document);
  const inside = (span: Span | undefined, at: number) => {
    const passage = document.passages[at];
    if (!span || !passage) return false;
    const next = document.passages[at + 1];
    return span.start >= (at ? passage.start : 0) && (!next || span.start < next.start);
  };
  const passages = document.passages.map((passage, at): BioCPassage => ({
    infons: { type: passage.type },
    offset: place(passage).start,
    text: document.text.slice(passage.start, passage.end),
    annotations: document.mentions.filter((m) => inside(m.spans[0], at)).map((mention) => ({
      id: mention.id,
      infons: {
        type: mention.type,
        ...(mention.identifiers.length ? { identifier: mention.identifiers.join("|") } : {}),
      },
      locations: mention.spans.map(place).map(({ start, end }) => ({
        offset: start,
        length: end - start,
      })),
      text: textAt(document.text, mention.spans),
      line: 0,
    })),
    relations: [],
    line: 0,
  }));
  const relations = document.relations.map(({ type, level, arguments: args }): BioCRelation =>
    level === "mention"
      ? {
        infons: { type },
        nodes: args.map(({ role, entity }) => ({ refid: entity, role })),
      }
      : {
        infons: { relation: type, ...Object.fromEntries(args.map((a) => [a.role, a.entity])) },
        nodes: [],
      }
  );
  return { id: document.id, passages, annotations: [], relations };
}

const stringsOf = (value: unknown): Infons =>
  Object.fromEntries(
    Object.entries(objectOf(value) ?? {}).map(([key, v]) => [key, textOf(v) ?? ""]),
  );

function annotationsFromJson(value: unknown): BioCAnnotation[] {
  return objectsOf(value).map((annotation) => ({
    id: textOf(annotation.id) ?? "",
    infons: stringsOf(annotation.infons),
    locations: objectsOf(annotation.locations).map((location) => ({
      offset: Number(location.offset),
      length: Number(location.length),
    })),
    text: textOf(annotation.text),
    line: 1,
  }));
}

function relationsFromJson(value: unknown): BioCRelation[] {
  return objectsOf(value).map((relation) => ({
    infons: stringsOf(relation.infons),
    nodes: objectsOf(relation.nodes).map((node) => ({
      refid: textOf(node.refid) ?? "",
      role: textOf(node.role) ?? "",
    })),
  }));
}

function documentFromJson(path: string, value: Record<string, unknown>): AnnotatedDocument {
  const passages = objectsOf(value.passages).flatMap((passage): BioCPassage[] => {
    const parts = textOf(passage.text) ? [passage] : objectsOf(passage.sentences);
    const infons = stringsOf(passage.infons);
    return (parts.length ? parts : [passage]).map((part) => ({
      infons,
      offset: Number(part.offset ?? 0),
      text: textOf(part.text) ?? "",
      annotations: [
        ...annotationsFromJson(part.annotations),
        ...(part === passage ? [] : annotationsFromJson(passage.annotations)),
      ],
      relations: relationsFromJson(part.relations),
      line: 1,
    }));
  });
  return toDocument(path, {
    id: textOf(value.id) ?? textOf(value._id) ?? "",
    passages,
    annotations: annotationsFromJson(value.annotations),
    relations: relationsFromJson(value.relations),
  });
}

/** The documents of a JSON value: a collection, a list, PubTator's wrapping, or one document. */
function jsonDocuments(value: unknown): Record<string, unknown>[] {
  if (Array.isArray(value)) return value.flatMap(jsonDocuments);
  const object = objectOf(value);
  if (!object) return [];
  // BigBIO's documents have passages too, without a number where each begins.
  if (Array.isArray(object.passages)) {
    return objectsOf(object.passages).some((passage) => "offsets" in passage) ? [] : [object];
  }
  for (const key of ["documents", "PubTator3"]) {
    if (Array.isArray(object[key])) return jsonDocuments(object[key]);
  }
  return [];
}

const probedDocuments = (probe: Probe): Record<string, unknown>[] => {
  const lines = probe.jsonLines();
  return lines.length > 1 ? lines.flatMap(jsonDocuments) : jsonDocuments(probe.json());
};

/** BioC's JSON, one value or one document per line. */
export const biocJson: Format<"document"> = {
  name: "bioc-json",
  kind: "document",
  title: "BioC's JSON, as PubTator's service gives it: a collection, or one document per line",
  extension: ".json",
  recognise: (probe) => !probe.isFolder && probedDocuments(probe).length ? 0.96 : 0,
  read(path) {
    const text = readText(path).trim();
    const lines = text.split("\n").filter((line) => line.trim() !== "");
    let values: unknown[];
    try {
      values = lines.length > 1 ? lines.map((line) => JSON.parse(line)) : [JSON.parse(text)];
    } catch {
      values = [readJson(path)];
    }
    return values.flatMap(jsonDocuments).map((document) => documentFromJson(path, document));
  },
  write(documents, path) {
    const out = documents.map((document) => {
      const { id, passages, relations } = fromDocument(document);
      return {
        id,
        infons: {},
        passages: passages.map(({ line: _, annotations, ...passage }) => ({
          ...passage,
          annotations: annotations.map(({ line: _, ...annotation }) => annotation),
        })),
        relations: relations.map((relation, i) => ({ id: `R${i + 1}`, ...relation })),
      };
    });
    const collection = { source: "", date: "", key: "", infons: {}, documents: out };
    writeAtomic(path, JSON.stringify(collection, undefined, 1) + "\n");
  },
};
