/** The XML scanner on every legal form, on malformed input, and against saxes. @module */
import { gunzipSync } from "node:zlib";
import { join } from "../../core/std.ts";
import { CitationScanner } from "../../pipeline/citation/builder.ts";
import type { Citation } from "../../pipeline/citation/types.ts";
import { XmlError } from "../../pipeline/xml/markup.ts";
import { normalizeSpace } from "../../pipeline/xml/text.ts";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "../assert.ts";
import { ROOT, SHARED, sharedTest } from "../shared.ts";
import { oracle } from "./oracle.ts";
import { article, deletion, encode, parse, pubmedSet } from "./support.ts";

const titleOf = (title: string) => parse(pubmedSet(article(7, { title }))).citations[0]!.title;

Deno.test("text drops markup, decodes references, collapses white space, keeps the rest", () => {
  const cases: [string, string][] = [
    ["Plain.", "Plain."],
    ["  two\n\t spaces  ", "two spaces"],
    ["H<sub>2</sub>O and <i>E. <b>coli</b></i>", "H2O and E. coli"],
    ["a<!-- gone -->b<?pi gone?>c", "abc"],
    ["<![CDATA[1 < 2 && <i>x</i> ]] >]]>!", "1 < 2 && <i>x</i> ]] >!"],
    ["a &lt;b&gt; &amp;amp; &quot;c&quot; &apos;", 'a <b> &amp; "c" \''],
    ["&#946;-&#x3B2;-\u03b2 &#x1F9EC;", "\u03b2-\u03b2-\u03b2 \u{1F9EC}"],
    ["a&#10;&#32;&#xA0;b\u00a0\u2003\u3000c", "a b c"],
    ["\u00a0edge\u2009", "edge"],
    [
      "zero\u200bwidth \ufeffmark\ufeff soft\u00adhyphen",
      "zero\u200bwidth \ufeffmark\ufeff soft\u00adhyphen",
    ],
    [
      `<mml:math xmlns:mml="http://x"><mml:mi a='>"/'>x</mml:mi> <mml:mo>=</mml:mo></mml:math>`,
      "x =",
    ],
    ["<sup/>a<sub />b", "ab"],
    ["e\u0301 stays as it is", "e\u0301 stays as it is"],
    ["]]&gt; ] ]", "]]> ] ]"],
  ];
  for (const [xml, expected] of cases) assertEquals(titleOf(xml), expected, xml);
  assertEquals(normalizeSpace("\ufeff a "), "\ufeff a");
});

Deno.test("attributes may come in any order, quoting and spacing", () => {
  const xml = pubmedSet(
    article(7).replace('<PMID Version="1">', "<PMID  x='\"' \n Version\t=\r\n'3'\n>")
      .replace(
        "<AbstractText>",
        "<AbstractText NlmCategory = 'METHODS'\n Label=\"A &amp; &#66;\n C>\" >",
      ),
  );
  const [citation] = parse(xml).citations;
  assertEquals(citation!.version, 3);
  assertEquals(citation!.sections[0]!.label, "A & B C>");
  assertEquals(citation!.sections[0]!.category, "METHODS");
});

Deno.test("prolog, comments and instructions between records, and an internal subset are legal", () => {
  const xml = `\ufeff<?xml version='1.0' encoding="UTF-8" standalone='no' ?>
<!-- <PubmedArticle> --><?xml-stylesheet href="a>b"?>
<!DOCTYPE PubmedArticleSet SYSTEM 'a>b' [
  <!ELEMENT PMID (#PCDATA)> <!-- ]> -->
  <!ATTLIST PMID Version CDATA "4" Other (a|b) #IMPLIED>
  <?pi ]> ?>
] >
<PubmedArticleSet
  a="1"
>${article(1).replace(' Version="1"', "")}<!-- ${article(2)} --><?x?>text &amp; more ${
    article(3)
  }</PubmedArticleSet
>
<!-- end -->`;
  const { citations } = parse(xml);
  assertEquals(citations.map((c) => [c.pmid, c.version]), [[1, 4], [3, 1]]);
});

Deno.test("a record inside a CDATA section or a comment of another record is text", () => {
  const xml = pubmedSet(
    article(1, { title: "<![CDATA[</ArticleTitle></PubmedArticle><PubmedArticle>]]>x" }),
    article(2, { title: "<!-- </PubmedArticle> -->y" }),
  );
  assertEquals(parse(xml).citations.map((c) => c.title), [
    "</ArticleTitle></PubmedArticle><PubmedArticle>x",
    "y",
  ]);
});

Deno.test("books, deletions and unknown records are told apart", () => {
  const book =
    `<PubmedBookArticle><BookDocument><PMID Version="1">20301295</PMID><Book><BookTitle>` +
    `The <i>book</i></BookTitle><PubDate><Year>1993</Year></PubDate></Book><Language>eng</Language>` +
    `<ArticleTitle>A chapter</ArticleTitle><Abstract><AbstractText>Text.</AbstractText></Abstract>` +
    `</BookDocument></PubmedBookArticle>`;
  const { citations, deletions } = parse(
    pubmedSet(book, "<Other><PMID>9</PMID></Other>", article(5), deletion([1, 1], [2, 3])),
  );
  assertEquals(citations.map((c) => [c.kind, c.pmid, c.title, c.journal]), [
    ["book", 20301295, "A chapter", "The book"],
    ["article", 5, "Title 5.", "A journal"],
  ]);
  assertEquals(deletions, [{ pmid: 1, version: 1 }, { pmid: 2, version: 3 }]);
});

Deno.test("of what the DTD allows once, the later counts; lists add up", () => {
  const second = `<PMID Version="12">4294967</PMID><Article><ArticleTitle>Later.</ArticleTitle>` +
    `<Abstract><AbstractText>More.</AbstractText></Abstract></Article>`;
  const xml = pubmedSet(article(7).replace("</Article>", `</Article>stray text${second}`));
  const [citation] = parse(xml).citations;
  assertEquals(
    [citation!.pmid, citation!.version, citation!.title, citation!.sections.length],
    [4294967, 12, "Later.", 2],
  );
  assertEquals(parse(xml), oracle(encode(xml)));
});

Deno.test("the selection of fields for text leaves the rest empty and the text the same", () => {
  for (const xml of fixtureFiles()) {
    const all = parse(xml, "all").citations;
    const text = parse(xml, "text").citations;
    const view = (
      c: Citation,
    ) => [c.pmid, c.version, c.title, c.sections, c.languages, c.published];
    assertEquals(text.map(view), all.map(view));
    assert(text.every((c) => c.authors.length === 0 && c.references.length === 0));
  }
});

Deno.test("malformed XML is refused at the byte where it goes wrong", () => {
  const wrap = (inside: string) => pubmedSet(article(7, { title: inside }));
  const cases: [string, string, string][] = [
    [wrap("a & b"), " b", "&amp;"],
    [wrap("a &nbsp; b"), "&nbsp;", "not defined"],
    [wrap("a &#0; b"), "&#0;", "no XML character"],
    [wrap("a &#x110000; b"), "&#x110000;", "no XML character"],
    [wrap("a < b"), " b", "&lt;"],
    [wrap("<i>a</b>"), "b></Ar", "does not close"],
    [wrap("<i>a"), "ArticleTitle><Abs", "does not close"],
    [wrap("<i a=b>x</i>"), "b>x", "without quotes"],
    [wrap("<i a>x</i>"), ">x", "without a value"],
    [wrap("<i a='1'b='2'>x</i>"), "b='2'", "no space"],
    [wrap("<i a='1' a='2'>x</i>"), "a='2'", "twice"],
    [wrap("<i a='<'>x</i>"), "<'>x", "inside an attribute"],
    [wrap("a ]]> b"), "]]> b", "]]>"],
    [wrap("a <!-- x -- y --> b"), " y", "--"],
    [wrap("a \u0001 b"), "\u0001", "control"],
    [wrap("a \0 b"), "\0", "control"],
    [wrap("a \uffff b"), "\uffff", "UTF-8"],
    [wrap("<?xml version='1.0'?>"), "<?xml version='1.0'?>", "not at the start"],
    [wrap("<1a/>"), "1a", "starts no tag"],
    [pubmedSet(article(1)) + "<x/>", "x/>", "after the root"],
    [pubmedSet(article(1)) + "x", "x", "after the root"],
    ["x" + pubmedSet(), "x<?xml", "start with <"],
    ["<html></html>", "<html>", "root element is <html>"],
    [`<!DOCTYPE a [<!ENTITY b "c">]><PubmedArticleSet/>`, "<!ENTITY", "declares an entity"],
    [`<!DOCTYPE a [%b;]><PubmedArticleSet/>`, "%b;", "parameter entity"],
    [`<!DOCTYPE a [<!ELEMENT>]><PubmedArticleSet/>`, "<!ELEMENT", "malformed"],
    [`<!DOCTYPE a [<!ELEMENT b [[c]]>]><PubmedArticleSet/>`, "<!ELEMENT", "malformed"],
    [`<!DOCTYPE a [<!ATTLIST b c (d[e]) 'd'>]><PubmedArticleSet/>`, "<!ATTLIST", "malformed"],
    [`<?xml version="1.0" encoding="ISO-8859-1"?><PubmedArticleSet/>`, "<?xml", "ISO-8859-1"],
  ];
  for (const [xml, at, message] of cases) {
    const error = assertThrows(() => parse(xml), XmlError) as XmlError;
    assertStringIncludes(error.message, message, xml);
    const before = xml.slice(0, xml.lastIndexOf(at));
    assertEquals(error.offset, encode(before).length, `${error.message}: ${at}`);
  }
  for (const xml of ["", "  ", "<PubmedArticleSet>", pubmedSet(article(1)).slice(0, -3)]) {
    const error = assertThrows(() => parse(xml), XmlError) as XmlError;
    assertEquals(error.offset, encode(xml).length);
  }
  const bytes = encode(wrap("a\u00e9b"));
  bytes[bytes.indexOf(0xc3) + 1] = 0x20;
  assertStringIncludes(assertThrows(() => parse(bytes), XmlError).message, "not UTF-8");
});

Deno.test("the scanner knows the PMID before a fault", () => {
  const scanner = new CitationScanner({ citation() {}, deletions() {} });
  const xml = pubmedSet(article(11), article(12), article(13, { title: "<i>" }));
  assertThrows(() => scanner.push(encode(xml)), XmlError);
  assertEquals(scanner.lastPmid, 12);
});

Deno.test("nesting, attributes and records are bounded", () => {
  const deep = "<i>".repeat(5000) + "</i>".repeat(5000);
  assertStringIncludes(assertThrows(() => titleOf(deep), XmlError).message, "deeper");
  const wide = `<i ${Array.from({ length: 300 }, (_, i) => `a${i}=""`).join(" ")}/>`;
  assertStringIncludes(assertThrows(() => titleOf(wide), XmlError).message, "256");
  const scanner = new CitationScanner({ citation() {}, deletions() {} }, "all", 1 << 20);
  const error = assertThrows(() => {
    scanner.push(encode("<PubmedArticleSet><PubmedArticle>"));
    for (;;) scanner.push(new Uint8Array(1 << 18).fill(0x61));
  }, XmlError);
  assertStringIncludes(error.message, "more than 1048576 bytes");
  assertEquals(titleOf("x".repeat(2 << 20)).length, 2 << 20);
});

/** The invented fixtures' XML. */
function fixtureFiles(): Uint8Array[] {
  const root = join(ROOT, "fixtures/mirror");
  const files: Uint8Array[] = [];
  for (const folder of ["baseline", "updatefiles"]) {
    for (const entry of Deno.readDirSync(join(root, folder))) {
      if (!entry.name.endsWith(".gz")) continue;
      files.push(gunzipSync(Deno.readFileSync(join(root, folder, entry.name))));
    }
  }
  return files;
}

/** Parses in pieces cut at `cuts`. */
function parseCut(xml: Uint8Array, cuts: number[]): Citation[] {
  const citations: Citation[] = [];
  const scanner = new CitationScanner({ citation: (c) => citations.push(c), deletions() {} });
  let from = 0;
  for (const cut of [...cuts, xml.length]) {
    scanner.push(xml.slice(from, cut));
    from = cut;
  }
  scanner.finish();
  return citations;
}

const DENSE =
  `\ufeff<?xml version="1.0" encoding="utf-8"?><!-- \u03b1 --><!DOCTYPE PubmedArticleSet [<!-- x -->` +
  `<!ATTLIST PMID V CDATA "1">]><?pi \u03b2?><PubmedArticleSet>` +
  article(1, {
    title:
      "\u03b1<i a='\u03b2' b=\"&#947;\">\u{1F9EC}</i>&amp;<![CDATA[]\u03b4]]]>&#x3b5;<!--\u03b6-->\u00a0x",
  }) +
  `\n<!-- \u03b7 -->\u03b8&lt;` + article(2, { title: "<mml:mi/>]y" }) + deletion([1, 1]) +
  "</PubmedArticleSet >\n<!-- \u03b9 -->\n";

Deno.test("a document cut anywhere, into two pieces or into single bytes, reads the same", () => {
  const xml = encode(DENSE);
  const whole = parseCut(xml, []);
  assertEquals(whole.length, 2);
  assertEquals(whole[0]!.title, "\u03b1\u{1F9EC}&]\u03b4]\u03b5 x");
  for (let cut = 1; cut < xml.length; cut++) assertEquals(parseCut(xml, [cut]), whole, `${cut}`);
  for (const size of [1, 2, 3, 7, 64]) {
    const cuts = Array.from({ length: Math.ceil(xml.length / size) - 1 }, (_, i) => (i + 1) * size);
    assertEquals(parseCut(xml, cuts), whole, `pieces of ${size}`);
  }
});

Deno.test("a document cut anywhere inside a fault is refused at the same byte", () => {
  const xml = encode(pubmedSet(article(1), article(2, { title: "a <i b='1' b='2'>" })));
  const offset = (cuts: number[]) =>
    (assertThrows(() => parseCut(xml, cuts), XmlError) as XmlError).offset;
  const expected = offset([]);
  for (let cut = 1; cut < xml.length; cut += 3) assertEquals(offset([cut]), expected, `${cut}`);
});

Deno.test("saxes finds the same in every fixture, whole and in pieces", () => {
  for (const xml of [...fixtureFiles(), encode(DENSE)]) {
    const expected = oracle(xml);
    assertEquals(parse(xml), expected);
    const pieces = [1000, 4099, 65536].map((size) =>
      parseCut(
        xml,
        Array.from({ length: Math.ceil(xml.length / size) - 1 }, (_, i) => (i + 1) * size),
      )
    );
    for (const citations of pieces) assert(same(citations, expected.citations));
  }
});

const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

sharedTest("data/pubmed/baseline", "saxes finds the same in real files", () => {
  for (const folder of ["baseline", "updatefiles", "efetch"]) {
    for (const entry of Deno.readDirSync(join(SHARED, "data/pubmed", folder))) {
      if (!/\.xml(\.gz)?$/.test(entry.name)) continue;
      const data = Deno.readFileSync(join(SHARED, "data/pubmed", folder, entry.name));
      const xml = entry.name.endsWith(".gz") ? gunzipSync(data) : data;
      assertEquals(parse(xml), oracle(xml), entry.name);
    }
  }
});
