/**
 * Where each field of a citation stands in PubMed's XML, and the two selections of fields: the
 * training text's ("text") and everything ("all").
 * @module
 */
import { type ElementRule, ElementTree, ON_CLOSE, ON_OPEN } from "../xml/element_tree.ts";

/** Which fields of a citation are read. */
export type FieldSelection = "text" | "all";
/** The names of the selections, for options. */
export const FIELD_SELECTIONS: readonly FieldSelection[] = ["all", "text"];

/** The root elements of PubMed's files. */
export const ROOT_ELEMENTS: readonly string[] = ["PubmedArticleSet", "PubmedBookArticleSet"];

/** What the scanner tells the builder: one code for each kind of element. */
export const ARTICLE = 1;
export const BOOK = 2;
export const DELETE = 3;
export const DELETED_PMID = 4;
export const CITATION = 5;
export const PMID = 6;
export const TITLE = 7;
export const VERNACULAR = 8;
export const SECTION = 9;
export const LANGUAGE = 10;
export const TYPE = 11;
export const JOURNAL = 12;
export const ABBREVIATION = 13;
export const NLM_ID = 14;
export const PUBLISHED = 15;
export const COMPLETED = 16;
export const REVISED = 17;
export const YEAR = 18;
export const MONTH = 19;
export const DAY = 20;
export const SEASON = 21;
export const MEDLINE_DATE = 22;
export const MESH = 23;
export const DESCRIPTOR = 24;
export const QUALIFIER = 25;
export const CORRECTION = 26;
export const CORRECTION_SOURCE = 27;
export const CORRECTION_PMID = 28;
export const CORRECTION_NOTE = 29;
export const OTHER_ABSTRACT = 30;
export const OTHER_SECTION = 31;
export const KEYWORD = 32;
export const AUTHOR = 33;
export const LAST_NAME = 34;
export const FORE_NAME = 35;
export const INITIALS = 36;
export const SUFFIX = 37;
export const COLLECTIVE = 38;
export const IDENTIFIER = 39;
export const AFFILIATION = 40;
export const GRANT = 41;
export const GRANT_ID = 42;
export const ACRONYM = 43;
export const AGENCY = 44;
export const COUNTRY = 45;
export const ARTICLE_ID = 46;
export const CHEMICAL = 47;
export const REGISTRY = 48;
export const SUBSTANCE = 49;
export const REFERENCE = 50;
export const REFERENCE_TEXT = 51;
export const REFERENCE_ID = 52;
export const BOOK_TITLE = 53;

const BOTH = ON_OPEN | ON_CLOSE;
type Rows = [path: string, code: number, when: number][];

const dateParts = (path: string, code: number): Rows => [
  [path, code, ON_OPEN],
  [`${path}/Year`, YEAR, ON_CLOSE],
  [`${path}/Month`, MONTH, ON_CLOSE],
  [`${path}/Day`, DAY, ON_CLOSE],
  [`${path}/Season`, SEASON, ON_CLOSE],
  [`${path}/MedlineDate`, MEDLINE_DATE, ON_CLOSE],
];

const M = "PubmedArticle/MedlineCitation";
const A = `${M}/Article`;
const B = "PubmedBookArticle/BookDocument";

const CORRECTIONS = `${M}/CommentsCorrectionsList/CommentsCorrections`;

const TEXT: Rows = [
  ["DeleteCitation", DELETE, BOTH],
  ["DeleteCitation/PMID", DELETED_PMID, BOTH],
  ["PubmedArticle", ARTICLE, BOTH],
  [M, CITATION, ON_OPEN],
  [`${M}/PMID`, PMID, BOTH],
  [`${A}/ArticleTitle`, TITLE, ON_CLOSE],
  [`${A}/Abstract/AbstractText`, SECTION, BOTH],
  [`${A}/Language`, LANGUAGE, ON_CLOSE],
  [`${A}/PublicationTypeList/PublicationType`, TYPE, BOTH],
  [`${A}/Journal/Title`, JOURNAL, ON_CLOSE],
  ...dateParts(`${A}/Journal/JournalIssue/PubDate`, PUBLISHED),
  ...dateParts(`${M}/DateCompleted`, COMPLETED),
  ...dateParts(`${M}/DateRevised`, REVISED),
  [`${M}/MeshHeadingList/MeshHeading`, MESH, ON_OPEN],
  [`${M}/MeshHeadingList/MeshHeading/DescriptorName`, DESCRIPTOR, BOTH],
  [CORRECTIONS, CORRECTION, ON_OPEN],
  ["PubmedBookArticle", BOOK, BOTH],
  [`${B}/PMID`, PMID, BOTH],
  [`${B}/ArticleTitle`, TITLE, ON_CLOSE],
  [`${B}/Book/BookTitle`, BOOK_TITLE, ON_CLOSE],
  [`${B}/Abstract/AbstractText`, SECTION, BOTH],
  [`${B}/Language`, LANGUAGE, ON_CLOSE],
  [`${B}/PublicationType`, TYPE, BOTH],
  ...dateParts(`${B}/Book/PubDate`, PUBLISHED),
  ...dateParts(`${B}/DateRevised`, REVISED),
];

const authors = (list: string): Rows => [
  [`${list}/Author`, AUTHOR, ON_OPEN],
  [`${list}/Author/LastName`, LAST_NAME, ON_CLOSE],
  [`${list}/Author/ForeName`, FORE_NAME, ON_CLOSE],
  [`${list}/Author/Initials`, INITIALS, ON_CLOSE],
  [`${list}/Author/Suffix`, SUFFIX, ON_CLOSE],
  [`${list}/Author/CollectiveName`, COLLECTIVE, ON_CLOSE],
  [`${list}/Author/Identifier`, IDENTIFIER, BOTH],
  [`${list}/Author/AffiliationInfo/Affiliation`, AFFILIATION, ON_CLOSE],
  // Files from before 2015 have it without the wrapper.
  [`${list}/Author/Affiliation`, AFFILIATION, ON_CLOSE],
];

const grants = (list: string): Rows => [
  [`${list}/Grant`, GRANT, ON_OPEN],
  [`${list}/Grant/GrantID`, GRANT_ID, ON_CLOSE],
  [`${list}/Grant/Acronym`, ACRONYM, ON_CLOSE],
  [`${list}/Grant/Agency`, AGENCY, ON_CLOSE],
  [`${list}/Grant/Country`, COUNTRY, ON_CLOSE],
];

const references = (list: string): Rows => [
  [`${list}/Reference`, REFERENCE, ON_OPEN],
  [`${list}/Reference/Citation`, REFERENCE_TEXT, ON_CLOSE],
  [`${list}/Reference/ArticleIdList/ArticleId`, REFERENCE_ID, BOTH],
];

const OTHERS: Rows = [
  [`${A}/VernacularTitle`, VERNACULAR, ON_CLOSE],
  [`${A}/Journal/ISOAbbreviation`, ABBREVIATION, ON_CLOSE],
  [`${M}/MedlineJournalInfo/NlmUniqueID`, NLM_ID, ON_CLOSE],
  [`${M}/MeshHeadingList/MeshHeading/QualifierName`, QUALIFIER, BOTH],
  [`${CORRECTIONS}/RefSource`, CORRECTION_SOURCE, ON_CLOSE],
  [`${CORRECTIONS}/PMID`, CORRECTION_PMID, ON_CLOSE],
  [`${CORRECTIONS}/Note`, CORRECTION_NOTE, ON_CLOSE],
  [`${M}/OtherAbstract`, OTHER_ABSTRACT, ON_OPEN],
  [`${M}/OtherAbstract/AbstractText`, OTHER_SECTION, BOTH],
  [`${M}/KeywordList/Keyword`, KEYWORD, BOTH],
  ...authors(`${A}/AuthorList`),
  ...grants(`${A}/GrantList`),
  [`${M}/ChemicalList/Chemical`, CHEMICAL, ON_OPEN],
  [`${M}/ChemicalList/Chemical/RegistryNumber`, REGISTRY, ON_CLOSE],
  [`${M}/ChemicalList/Chemical/NameOfSubstance`, SUBSTANCE, BOTH],
  ["PubmedArticle/PubmedData/ArticleIdList/ArticleId", ARTICLE_ID, BOTH],
  ...references("PubmedArticle/PubmedData/ReferenceList"),
  [`${B}/ArticleIdList/ArticleId`, ARTICLE_ID, BOTH],
  [`${B}/VernacularTitle`, VERNACULAR, ON_CLOSE],
  [`${B}/KeywordList/Keyword`, KEYWORD, BOTH],
  ...authors(`${B}/AuthorList`),
  ...grants(`${B}/GrantList`),
  ...references(`${B}/ReferenceList`),
];

// Reference lists may hold reference lists.
const LOOPS = [
  "PubmedArticle/PubmedData/ReferenceList/ReferenceList",
  `${B}/ReferenceList/ReferenceList`,
];

/** The elements that a selection of fields reads. */
export function elementRules(fields: FieldSelection): ElementRule[] {
  const rows = fields === "text" ? TEXT : [...TEXT, ...OTHERS];
  return rows.map(([path, code, when]) => ({ path, code, when }));
}

/** The tree of elements for a selection of fields. */
export function elementTree(fields: FieldSelection): ElementTree {
  return new ElementTree(elementRules(fields), fields === "text" ? [] : LOOPS);
}
