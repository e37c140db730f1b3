/**
 * Builds citations out of what the scanner reports.
 * @module
 */
import { bytesOf } from "../xml/bytes.ts";
import { XmlScanner } from "../xml/scanner.ts";
import type { ElementHandler } from "../xml/content.ts";
import {
  type Author,
  type Citation,
  type Correction,
  type Deletion,
  emptyCitation,
  type Grant,
  type MeshHeading,
  noDate,
  type OtherAbstract,
  type RawDate,
  type Reference,
} from "./types.ts";
import * as E from "./elements.ts";

const VERSION = bytesOf("Version");
const STATUS = bytesOf("Status");
const LABEL = bytesOf("Label");
const CATEGORY = bytesOf("NlmCategory");
const UI = bytesOf("UI");
const MAJOR = bytesOf("MajorTopicYN");
const REF_TYPE = bytesOf("RefType");
const TYPE = bytesOf("Type");
const LANGUAGE = bytesOf("Language");
const SOURCE = bytesOf("Source");
const ID_TYPE = bytesOf("IdType");

/** The largest PMID and version: catalogue and token files have 32 bits for them. */
export const MAX_NUMBER = 0x7fffffff;

/** What a PubMed file holds, in document order. */
export interface CitationSink {
  /** A record. Its PMID or version is 0 where the file does not say it in a usable way. */
  citation(citation: Citation): void;
  /** The versions that a DeleteCitation names; PMID or version is 0 where that is not usable. */
  deletions(deletions: Deletion[]): void;
  /** A child of the root that is none of the elements known. */
  unknown?(name: string): void;
}

/** A scanner of PubMed XML; see {@linkcode XmlScanner} for `push` and `finish`. */
export class CitationScanner extends XmlScanner {
  readonly #builder: CitationBuilder;

  constructor(sink: CitationSink, fields: E.FieldSelection = "all", maxRecordBytes?: number) {
    const builder = new CitationBuilder(sink);
    super(E.elementTree(fields), builder, E.ROOT_ELEMENTS, maxRecordBytes);
    builder.scanner = this;
    this.#builder = builder;
  }

  /** The PMID of the last complete record, 0 before the first. */
  get lastPmid(): number {
    return this.#builder.lastPmid;
  }
}

/** Where a builder reads the attributes and texts of what it is told of. */
interface ElementReader {
  attribute(name: Uint8Array): string | undefined;
  readonly text: {
    read(from: number, to: number, marks: number, high: number): string;
    integer(from: number, to: number): number;
  };
}

/** Builds citations out of elements, whatever parser reports them. */
export class CitationBuilder implements ElementHandler {
  scanner!: ElementReader;
  lastPmid = 0;
  readonly #sink: CitationSink;
  // Of the record under construction; the scanner may open a record again when more bytes came.
  #citation: Citation = emptyCitation("article");
  #deletions: Deletion[] = [];
  #bookTitle = "";
  #date: RawDate = noDate();
  #version = 1;
  #a = "";
  #b = "";
  #mesh!: MeshHeading;
  #author!: Author;
  #grant!: Grant;
  #reference!: Reference;
  #correction!: Correction;
  #other!: OtherAbstract;
  #chemical!: Citation["chemicals"][number];

  constructor(sink: CitationSink) {
    this.#sink = sink;
  }

  #attribute(name: Uint8Array): string {
    return this.scanner.attribute(name) ?? "";
  }

  unknown(name: string): void {
    this.#sink.unknown?.(name);
  }

  open(code: number): void {
    const c = this.#citation;
    switch (code) {
      case E.ARTICLE:
        this.#citation = emptyCitation("article");
        break;
      case E.BOOK:
        this.#citation = emptyCitation("book");
        this.#bookTitle = "";
        break;
      case E.DELETE:
        this.#deletions = [];
        break;
      case E.CITATION:
        c.status = this.#attribute(STATUS);
        break;
      case E.PMID:
      case E.DELETED_PMID: {
        const version = this.scanner.attribute(VERSION);
        this.#version = version === undefined || version === "1" ? 1 : parseVersion(version);
        break;
      }
      case E.SECTION:
      case E.OTHER_SECTION:
        this.#a = this.#attribute(LABEL);
        this.#b = this.#attribute(CATEGORY);
        break;
      case E.TYPE:
      case E.SUBSTANCE:
        this.#a = this.#attribute(UI);
        break;
      case E.PUBLISHED:
        this.#date = c.published = noDate();
        break;
      case E.COMPLETED:
        this.#date = c.completed = noDate();
        break;
      case E.REVISED:
        this.#date = c.revised = noDate();
        break;
      case E.MESH:
        this.#mesh = { ui: "", name: "", major: false, qualifiers: [] };
        c.mesh.push(this.#mesh);
        break;
      case E.DESCRIPTOR:
      case E.QUALIFIER:
        this.#a = this.#attribute(UI);
        this.#b = this.#attribute(MAJOR);
        break;
      case E.KEYWORD:
        this.#b = this.#attribute(MAJOR);
        break;
      case E.CORRECTION:
        this.#correction = { type: this.#attribute(REF_TYPE), source: "", pmid: 0, note: "" };
        c.corrections.push(this.#correction);
        break;
      case E.OTHER_ABSTRACT:
        this.#other = {
          type: this.#attribute(TYPE),
          language: this.#attribute(LANGUAGE),
          sections: [],
        };
        c.otherAbstracts.push(this.#other);
        break;
      case E.AUTHOR:
        this.#author = {
          lastName: "",
          foreName: "",
          initials: "",
          suffix: "",
          collectiveName: "",
          orcid: "",
          affiliations: [],
        };
        c.authors.push(this.#author);
        break;
      case E.IDENTIFIER:
        this.#a = this.#attribute(SOURCE);
        break;
      case E.GRANT:
        this.#grant = { id: "", acronym: "", agency: "", country: "" };
        c.grants.push(this.#grant);
        break;
      case E.ARTICLE_ID:
      case E.REFERENCE_ID:
        this.#a = this.#attribute(ID_TYPE);
        break;
      case E.CHEMICAL:
        this.#chemical = { registryNumber: "", ui: "", name: "" };
        c.chemicals.push(this.#chemical);
        break;
      case E.REFERENCE:
        this.#reference = { citation: "", ids: [] };
        c.references.push(this.#reference);
        break;
    }
  }

  close(code: number, from: number, to: number, marks: number, high: number): void {
    const c = this.#citation;
    switch (code) {
      case E.ARTICLE:
        this.lastPmid = c.pmid;
        this.#sink.citation(c);
        return;
      case E.BOOK:
        // A book's own record has no article title; a chapter's journal is its book.
        if (c.title === "") c.title = this.#bookTitle;
        c.journal = this.#bookTitle;
        this.lastPmid = c.pmid;
        this.#sink.citation(c);
        return;
      case E.DELETE:
        this.#sink.deletions(this.#deletions);
        return;
      case E.PMID:
        c.pmid = Math.max(0, this.scanner.text.integer(from, to));
        c.version = this.#version;
        return;
      case E.DELETED_PMID: {
        // One that is no number is passed on as 0, to be counted.
        const pmid = Math.max(0, this.scanner.text.integer(from, to));
        this.#deletions.push({ pmid, version: this.#version });
        return;
      }
      case E.CORRECTION_PMID:
        this.#correction.pmid = Math.max(0, this.scanner.text.integer(from, to));
        return;
    }
    this.#field(code, this.scanner.text.read(from, to, marks, high));
  }

  #field(code: number, text: string): void {
    const c = this.#citation;
    switch (code) {
      case E.TITLE:
        c.title = text;
        break;
      case E.VERNACULAR:
        c.vernacularTitle = text;
        break;
      case E.BOOK_TITLE:
        this.#bookTitle = text;
        break;
      case E.SECTION:
      case E.OTHER_SECTION:
        (code === E.SECTION ? c : this.#other).sections.push(
          { label: this.#a, category: this.#b, text },
        );
        break;
      case E.LANGUAGE:
        c.languages.push(text);
        break;
      case E.TYPE:
        c.publicationTypes.push({ ui: this.#a, name: text });
        break;
      case E.JOURNAL:
        c.journal = text;
        break;
      case E.ABBREVIATION:
        c.journalAbbreviation = text;
        break;
      case E.NLM_ID:
        c.nlmId = text;
        break;
      case E.YEAR:
        this.#date.year = text;
        break;
      case E.MONTH:
        this.#date.month = text;
        break;
      case E.DAY:
        this.#date.day = text;
        break;
      case E.SEASON:
        this.#date.season = text;
        break;
      case E.MEDLINE_DATE:
        this.#date.medlineDate = text;
        break;
      case E.DESCRIPTOR:
        this.#mesh.ui = this.#a;
        this.#mesh.name = text;
        this.#mesh.major = this.#b === "Y";
        break;
      case E.QUALIFIER:
        this.#mesh.qualifiers.push({ ui: this.#a, name: text, major: this.#b === "Y" });
        break;
      case E.KEYWORD:
        c.keywords.push({ text, major: this.#b === "Y" });
        break;
      default:
        this.#otherField(code, text);
    }
  }

  #otherField(code: number, text: string): void {
    const author = this.#author;
    switch (code) {
      case E.CORRECTION_SOURCE:
        this.#correction.source = text;
        break;
      case E.CORRECTION_NOTE:
        this.#correction.note = text;
        break;
      case E.LAST_NAME:
        author.lastName = text;
        break;
      case E.FORE_NAME:
        author.foreName = text;
        break;
      case E.INITIALS:
        author.initials = text;
        break;
      case E.SUFFIX:
        author.suffix = text;
        break;
      case E.COLLECTIVE:
        author.collectiveName = text;
        break;
      case E.IDENTIFIER:
        if (this.#a === "ORCID") author.orcid = normalizeOrcid(text);
        break;
      case E.AFFILIATION:
        author.affiliations.push(text);
        break;
      case E.GRANT_ID:
        this.#grant.id = text;
        break;
      case E.ACRONYM:
        this.#grant.acronym = text;
        break;
      case E.AGENCY:
        this.#grant.agency = text;
        break;
      case E.COUNTRY:
        this.#grant.country = text;
        break;
      case E.ARTICLE_ID:
        this.#citation.articleIds.push({ type: this.#a, value: text });
        break;
      case E.REGISTRY:
        this.#chemical.registryNumber = text;
        break;
      case E.SUBSTANCE:
        this.#chemical.ui = this.#a;
        this.#chemical.name = text;
        break;
      case E.REFERENCE_TEXT:
        this.#reference.citation = text;
        break;
      case E.REFERENCE_ID:
        this.#reference.ids.push({ type: this.#a, value: text });
        break;
    }
  }
}

/** The version that an attribute says; 0 where it is no number from 1 to 2^31 - 1. */
function parseVersion(text: string): number {
  const version = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  return version <= MAX_NUMBER ? version : 0;
}

/** "https://orcid.org/0000-0001-..." and "000000012345678X" as "0000-0001-2345-678X". */
export function normalizeOrcid(text: string): string {
  const match = /(\d{4})-?(\d{4})-?(\d{4})-?(\d{3}[\dXx])\s*$/.exec(text);
  return match ? match.slice(1).join("-").toUpperCase() : text;
}
