/**
 * The same citations by another way: saxes makes a tree, plain code walks it. Slow and simple, it
 * says what the byte scanner has to find.
 * @module
 */
import { SaxesParser } from "saxes";
import { emptyCitation } from "../../pipeline/citation/types.ts";
import type { Citation, Deletion, RawDate, Section } from "../../pipeline/citation/types.ts";
import { normalizeOrcid } from "../../pipeline/citation/builder.ts";

interface Node {
  name: string;
  attributes: Record<string, string>;
  children: (Node | string)[];
}

/** Parses with saxes. @throws where saxes finds the XML malformed. */
function tree(xml: Uint8Array): Node {
  const text = new TextDecoder("utf-8", { fatal: true }).decode(xml);
  const parser = new SaxesParser({ xmlns: false });
  const stack: Node[] = [];
  let root: Node | undefined;
  parser.on("error", (error: Error) => {
    throw error;
  });
  parser.on("opentag", (tag: { name: string; attributes: Record<string, string> }) => {
    const node: Node = { name: tag.name, attributes: { ...tag.attributes }, children: [] };
    stack.at(-1)?.children.push(node);
    root ??= node;
    stack.push(node);
  });
  parser.on("closetag", () => stack.pop());
  const onText = (t: string) => stack.at(-1)?.children.push(t);
  parser.on("text", onText);
  parser.on("cdata", onText);
  parser.on("doctype", (doctype: string) => {
    const bare = doctype.replace(/<!--[^]*?-->|<\?[^]*?\?>|"[^"]*"|'[^']*'/g, "");
    if (/<!ENTITY/.test(bare)) throw new Error("entities are refused");
  });
  parser.write(text).close();
  return root!;
}

const SPACES = /[ \t\r\n\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/g;
const normalize = (text: string) => text.replace(SPACES, " ").replace(/^ | $/g, "");
/** All text below a node, without recursion: elements may lie thousands deep. */
function rawText(node: Node): string {
  let text = "";
  const waiting = [...node.children].reverse();
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (typeof next === "string") text += next;
    else for (const child of [...next.children].reverse()) waiting.push(child);
  }
  return text;
}
const textOf = (node: Node | undefined): string => node ? normalize(rawText(node)) : "";
const attribute = (node: Node, name: string) => normalize(node.attributes[name] ?? "");

/** All elements at a path below `node`; a name with `+` may hold itself. */
function all(node: Node, path: string): Node[] {
  let nodes = [node];
  for (const step of path.split("/")) {
    const name = step.replace("+", "");
    const below = (n: Node) =>
      n.children.filter((c): c is Node => typeof c !== "string" && c.name === name);
    const deep = (n: Node): Node[] => below(n).flatMap((c) => [c, ...deep(c)]);
    nodes = nodes.flatMap(step.endsWith("+") ? deep : below);
  }
  return nodes;
}
const last = (node: Node, path: string) => all(node, path).at(-1);

function date(node: Node | undefined): RawDate {
  const part = (name: string) => node ? textOf(last(node, name)) : "";
  return {
    year: part("Year"),
    month: part("Month"),
    day: part("Day"),
    season: part("Season"),
    medlineDate: part("MedlineDate"),
  };
}

const sections = (nodes: Node[]): Section[] =>
  nodes.map((n) => ({
    label: attribute(n, "Label"),
    category: attribute(n, "NlmCategory"),
    text: textOf(n),
  }));
/** 1 where nothing is said, 0 where it is no number from 1 to 2^31 - 1. */
const versionOf = (node: Node) => {
  if (node.attributes.Version === undefined) return 1;
  const text = attribute(node, "Version");
  return /^\d{1,10}$/.test(text) && Number(text) < 2 ** 31 ? Number(text) : 0;
};
const number = (node: Node | undefined) => {
  const text = textOf(node);
  return /^\d{1,15}$/.test(text) ? Number(text) : 0;
};
const ids = (nodes: Node[]) =>
  nodes.map((n) => ({ type: attribute(n, "IdType"), value: textOf(n) }));

/** Longer than 100 lines, because each field of a citation is read here, one after the other. */
function citationOf(record: Node): Citation {
  const book = record.name === "PubmedBookArticle";
  const citation = emptyCitation(book ? "book" : "article");
  const main = last(record, book ? "BookDocument" : "MedlineCitation");
  const data = last(record, book ? "BookDocument" : "PubmedData");
  if (data) {
    citation.articleIds = ids(all(data, "ArticleIdList/ArticleId"));
    citation.references = all(data, "ReferenceList+/Reference").map((r) => ({
      citation: textOf(last(r, "Citation")),
      ids: ids(all(r, "ArticleIdList/ArticleId")),
    }));
  }
  if (!main) return citation;
  // No record has two of them by its DTD. If one had, what is said once would be what the later
  // says, and lists would add up: as for every other element that comes twice.
  const inArticle = book ? "" : "Article/";
  const pmid = last(main, "PMID");
  citation.pmid = number(pmid);
  citation.version = pmid ? versionOf(pmid) : 1;
  citation.status = book ? "" : attribute(main, "Status");
  citation.completed = date(book ? undefined : last(main, "DateCompleted"));
  citation.revised = date(last(main, "DateRevised"));
  citation.mesh = book ? [] : all(main, "MeshHeadingList/MeshHeading").map((m) => {
    const descriptor = last(m, "DescriptorName");
    return {
      ui: descriptor ? attribute(descriptor, "UI") : "",
      name: textOf(descriptor),
      major: descriptor?.attributes.MajorTopicYN === "Y",
      qualifiers: all(m, "QualifierName").map((q) => ({
        ui: attribute(q, "UI"),
        name: textOf(q),
        major: q.attributes.MajorTopicYN === "Y",
      })),
    };
  });
  citation.keywords = all(main, "KeywordList/Keyword").map((k) => ({
    text: textOf(k),
    major: k.attributes.MajorTopicYN === "Y",
  }));
  if (!book) {
    citation.chemicals = all(main, "ChemicalList/Chemical").map((c) => {
      const name = last(c, "NameOfSubstance");
      return {
        registryNumber: textOf(last(c, "RegistryNumber")),
        ui: name ? attribute(name, "UI") : "",
        name: textOf(name),
      };
    });
    citation.corrections = all(main, "CommentsCorrectionsList/CommentsCorrections").map((c) => ({
      type: attribute(c, "RefType"),
      source: textOf(last(c, "RefSource")),
      pmid: number(last(c, "PMID")),
      note: textOf(last(c, "Note")),
    }));
    citation.otherAbstracts = all(main, "OtherAbstract").map((o) => ({
      type: attribute(o, "Type"),
      language: attribute(o, "Language"),
      sections: sections(all(o, "AbstractText")),
    }));
    citation.nlmId = textOf(last(main, "MedlineJournalInfo/NlmUniqueID"));
  }
  citation.title = textOf(last(main, inArticle + "ArticleTitle"));
  citation.vernacularTitle = textOf(last(main, inArticle + "VernacularTitle"));
  citation.sections = sections(all(main, inArticle + "Abstract/AbstractText"));
  citation.languages = all(main, inArticle + "Language").map(textOf);
  citation.publicationTypes = all(
    main,
    book ? "PublicationType" : "Article/PublicationTypeList/PublicationType",
  ).map((t) => ({ ui: attribute(t, "UI"), name: textOf(t) }));
  citation.published = date(
    last(main, book ? "Book/PubDate" : "Article/Journal/JournalIssue/PubDate"),
  );
  if (book) {
    citation.journal = textOf(last(main, inArticle + "Book/BookTitle"));
    if (citation.title === "") citation.title = citation.journal;
  } else {
    citation.journal = textOf(last(main, inArticle + "Journal/Title"));
    citation.journalAbbreviation = textOf(last(main, inArticle + "Journal/ISOAbbreviation"));
  }
  citation.authors = all(main, inArticle + "AuthorList/Author").map((a) => ({
    lastName: textOf(last(a, "LastName")),
    foreName: textOf(last(a, "ForeName")),
    initials: textOf(last(a, "Initials")),
    suffix: textOf(last(a, "Suffix")),
    collectiveName: textOf(last(a, "CollectiveName")),
    orcid: normalizeOrcid(
      textOf(all(a, "Identifier").filter((i) => attribute(i, "Source") === "ORCID").at(-1)),
    ),
    affiliations: a.children.flatMap((c) =>
      typeof c === "string"
        ? []
        : c.name === "Affiliation"
        ? [textOf(c)]
        : c.name === "AffiliationInfo"
        ? all(c, "Affiliation").map(textOf)
        : []
    ),
  }));
  citation.grants = all(main, inArticle + "GrantList/Grant").map((g) => ({
    id: textOf(last(g, "GrantID")),
    acronym: textOf(last(g, "Acronym")),
    agency: textOf(last(g, "Agency")),
    country: textOf(last(g, "Country")),
  }));
  return citation;
}

/** What saxes makes of a PubMed file. @throws where it finds the XML malformed. */
export function oracle(xml: Uint8Array): { citations: Citation[]; deletions: Deletion[] } {
  const root = tree(xml);
  const records = root.children.filter((c): c is Node => typeof c !== "string");
  return {
    citations: records.filter((r) => /^Pubmed(Book)?Article$/.test(r.name)).map(citationOf),
    deletions: records.filter((r) => r.name === "DeleteCitation").flatMap((d) =>
      all(d, "PMID").map((p) => ({ pmid: number(p), version: versionOf(p) }))
    ),
  };
}
