/**
 * One PubMed citation as the pipeline carries it. Texts follow one rule: the text nodes in order,
 * inline markup dropped, references decoded, white space collapsed; "" where there is none.
 * @module
 */

/** A part of an abstract. */
export interface Section {
  /** As given, "" where there is none. */
  label: string;
  /** NLM's category of the label, "" where there is none. */
  category: string;
  text: string;
}

/** A date in its given parts; "" for a part that is absent. */
export interface RawDate {
  year: string;
  month: string;
  day: string;
  season: string;
  /** A date in words, given instead of the parts: "1998 Dec-1999 Jan". */
  medlineDate: string;
}

/** A MeSH descriptor with its qualifiers. */
export interface MeshHeading {
  ui: string;
  name: string;
  major: boolean;
  qualifiers: MeshQualifier[];
}

/** A MeSH qualifier (subheading). */
interface MeshQualifier {
  ui: string;
  name: string;
  major: boolean;
}

/** A person or a group. */
export interface Author {
  lastName: string;
  foreName: string;
  initials: string;
  suffix: string;
  collectiveName: string;
  orcid: string;
  affiliations: string[];
}

/** A name with its identifier in some vocabulary. */
interface NamedTerm {
  ui: string;
  name: string;
}

/** An abstract beside the main one: another language, a plain-language summary. */
export interface OtherAbstract {
  type: string;
  language: string;
  sections: Section[];
}

/** An identifier of the article: type "doi", "pmc", "pii" ... */
interface ArticleId {
  type: string;
  value: string;
}

/** A cited work. */
export interface Reference {
  citation: string;
  ids: ArticleId[];
}

/** A link to a comment, an erratum, a retraction ... of this article. */
export interface Correction {
  /** NLM's RefType: "RetractionIn", "ErratumFor" ... */
  type: string;
  source: string;
  /** 0 where none is given. */
  pmid: number;
  note: string;
}

/** A grant. */
export interface Grant {
  id: string;
  acronym: string;
  agency: string;
  country: string;
}

/** A substance. */
interface Chemical {
  registryNumber: string;
  ui: string;
  name: string;
}

/** A keyword. */
interface Keyword {
  text: string;
  major: boolean;
}

/** One record of a PubMed file. */
export interface Citation {
  kind: "article" | "book";
  /** 0 where the record has no usable PMID; such records are rejected. */
  pmid: number;
  version: number;
  status: string;
  title: string;
  vernacularTitle: string;
  sections: Section[];
  otherAbstracts: OtherAbstract[];
  languages: string[];
  journal: string;
  journalAbbreviation: string;
  nlmId: string;
  published: RawDate;
  completed: RawDate;
  revised: RawDate;
  publicationTypes: NamedTerm[];
  mesh: MeshHeading[];
  keywords: Keyword[];
  authors: Author[];
  grants: Grant[];
  articleIds: ArticleId[];
  chemicals: Chemical[];
  references: Reference[];
  corrections: Correction[];
}

/** A version of a PMID that a DeleteCitation names. */
export interface Deletion {
  pmid: number;
  version: number;
}

/** An empty date. */
export function noDate(): RawDate {
  return { year: "", month: "", day: "", season: "", medlineDate: "" };
}

/** A citation with nothing in it. */
export function emptyCitation(kind: Citation["kind"]): Citation {
  return {
    kind,
    pmid: 0,
    version: 1,
    status: "",
    title: "",
    vernacularTitle: "",
    sections: [],
    otherAbstracts: [],
    languages: [],
    journal: "",
    journalAbbreviation: "",
    nlmId: "",
    published: noDate(),
    completed: noDate(),
    revised: noDate(),
    publicationTypes: [],
    mesh: [],
    keywords: [],
    authors: [],
    grants: [],
    articleIds: [],
    chemicals: [],
    references: [],
    corrections: [],
  };
}

const UNNAMED = new Set(["", "UNLABELLED", "UNLABELED", "UNASSIGNED"]);

/** The abstract: its non-empty sections, each on a line of its own, behind its label where that says something. */
export function abstractText(sections: readonly Section[]): string {
  let text = "";
  for (const section of sections) {
    if (section.text === "") continue;
    if (text !== "") text += "\n";
    const named = section.label !== "" && !UNNAMED.has(section.label.trim().toUpperCase());
    text += named ? `${section.label}: ${section.text}` : section.text;
  }
  return text;
}

/** The text a model is trained on: title, blank line, abstract, whichever are not empty. */
export function documentText(title: string, abstract: string): string {
  return title !== "" && abstract !== "" ? `${title}\n\n${abstract}` : title || abstract;
}

/** True for an article that was retracted, as its publication types or its links to others say. */
export function isRetracted(
  publicationTypes: readonly { name: string }[],
  corrections: readonly { type: string }[],
): boolean {
  return publicationTypes.some((t) => t.name === "Retracted Publication") ||
    corrections.some((c) => c.type === "RetractionIn");
}
