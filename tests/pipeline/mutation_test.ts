/**
 * Damaged input: whatever the bytes, the scanner ends in what saxes finds too or in an error with
 * an offset. `deno task test:faults` makes it 20,000 mutants.
 * @module
 */
import { gunzipSync, gzipSync } from "node:zlib";
import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { readXml } from "../../pipeline/ingest/read_xml.ts";
import { XmlError } from "../../pipeline/xml/markup.ts";
import { assert, assertEquals, assertRejects } from "../assert.ts";
import { ROOT } from "../shared.ts";
import { oracle } from "./oracle.ts";
import { faults } from "./faults.ts";
import { article, deletion, encode, parse, pubmedSet, withFolder } from "./support.ts";

const MUTANTS = faults(1500, 4000, 20_000);

/** Records of every kind, from the fixtures, in a document of about 30 kB. */
function sample(): Uint8Array {
  const path = join(ROOT, "fixtures/mirror/updatefiles/pubmed26n0005.xml.gz");
  const xml = new TextDecoder().decode(gunzipSync(Deno.readFileSync(path)));
  const records = xml.match(/<Pubmed(Book)?Article>[^]*?<\/Pubmed(Book)?Article>/g) ?? [];
  const chosen = records.filter((_, i) => i % Math.ceil(records.length / 8) === 0);
  const odd = article(7, {
    title: "\u03b1<i a='>'>\u{1F9EC}</i>&amp;<![CDATA[<b>]]>&#x3b5;<!-- x --><?pi?>",
  });
  return encode(pubmedSet(...chosen, odd, deletion([1, 1], [2, 2])));
}

type Random = (below: number) => number;

function generator(seed: number): Random {
  return (below) => {
    seed = Math.imul(seed ^ seed >>> 16, 0x45d9f3b) + 0x9e3779b9 | 0;
    return ((seed ^ seed >>> 15) >>> 0) % below;
  };
}

const concat = (...parts: Uint8Array[]): Uint8Array => {
  const bytes = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
};

/** A stretch of `xml` from a `<` to a `>`. */
function someTag(xml: Uint8Array, next: Random): [number, number] {
  const from = xml.indexOf(0x3c, next(xml.length - 40));
  return from < 0 ? [0, 0] : [from, xml.indexOf(0x3e, from) + 1];
}

const MUTATIONS: ((xml: Uint8Array, next: Random) => Uint8Array)[] = [
  (xml, next) => {
    const copy = xml.slice();
    for (let i = 1 + next(3); i > 0; i--) copy[next(copy.length)]! ^= 1 << next(8);
    return copy;
  },
  (xml, next) => xml.slice(0, next(xml.length)),
  (xml, next) => {
    const [from, to] = someTag(xml, next);
    return concat(xml.subarray(0, from), xml.subarray(to));
  },
  (xml, next) => {
    const [from, to] = someTag(xml, next);
    return concat(xml.subarray(0, to), xml.subarray(from));
  },
  (xml, next) => {
    // An element that holds no other, twice.
    const [from, to] = someTag(xml, next);
    const end = xml.indexOf(0x3e, to) + 1;
    return concat(xml.subarray(0, end), xml.subarray(from));
  },
  (xml, next) => {
    const [, to] = someTag(xml, next);
    const name = "<x y='" + "z".repeat(next(20_000)) + "'/>";
    return concat(xml.subarray(0, to), encode(name), xml.subarray(to));
  },
  (xml, next) => {
    const [, to] = someTag(xml, next);
    const depth = next(3000);
    const deep = "<d>".repeat(depth) + "&lt;" + "</d>".repeat(depth - next(2));
    return concat(xml.subarray(0, to), encode(deep), xml.subarray(to));
  },
  (xml, next) => {
    const at = next(xml.length);
    const bytes = [0, 0xff, 0xc0, 0x80, 0xed, 0xa0, 0xf5, 0x26, 0x3c, 0x3e, 0x5d];
    return concat(
      xml.subarray(0, at),
      new Uint8Array([bytes[next(bytes.length)]!]),
      xml.subarray(at),
    );
  },
  (xml, next) => {
    const from = next(xml.length);
    const to = Math.min(xml.length, from + next(200));
    return concat(xml.subarray(0, from), xml.subarray(to));
  },
  (xml, next) => {
    const words = [
      "]]>",
      "<!--",
      "-->",
      "<![CDATA[",
      "&#x0;",
      "&amp",
      "<?x",
      "?>",
      "\ufffe",
      "'",
      '"',
      "--",
    ];
    const at = next(xml.length);
    const word = encode(words[next(words.length)]!);
    return concat(xml.subarray(0, at), word, xml.subarray(at));
  },
];

Deno.test("mutants end in what saxes finds, or in an error with an offset", () => {
  const xml = sample();
  assertEquals(parse(xml), oracle(xml));
  let accepted = 0;
  for (let i = 0; i < MUTANTS; i++) {
    const next = generator(i + 1);
    const mutate = MUTATIONS[i % MUTATIONS.length]!;
    const mutant = mutate(xml, next);
    let found;
    try {
      found = parse(mutant);
    } catch (error) {
      assert(error instanceof XmlError, `mutant ${i}: ${error}`);
      assert(error.offset >= 0 && error.offset <= mutant.length, `mutant ${i}: ${error.offset}`);
      continue;
    }
    accepted++;
    try {
      assertEquals(found, oracle(mutant));
    } catch (error) {
      throw new Error(`Mutant ${i} is read otherwise by saxes`, { cause: error });
    }
  }
  assert(accepted > MUTANTS / 50, `${accepted} mutants were legal`);
});

Deno.test("damaged gzip data ends in an error or in the same citations", () =>
  withFolder(async (folder) => {
    const xml = sample();
    const data = gzipSync(xml);
    const path = join(folder, "x.xml.gz");
    const expected = JSON.stringify(parse(xml).citations);
    for (let i = 0; i < MUTANTS / 20; i++) {
      const next = generator(i + 7);
      const copy = data.slice();
      for (let k = 1 + next(3); k > 0; k--) copy[next(copy.length)]! ^= 1 << next(8);
      Deno.writeFileSync(path, next(3) ? copy : copy.slice(0, next(copy.length)));
      const citations: unknown[] = [];
      try {
        await readXml(path, { citation: (c) => citations.push(c), deletions() {} }, "all");
      } catch (error) {
        assert(error instanceof UserError, `${i}: ${error}`);
        continue;
      }
      // Only bytes that say nothing about the content (a date, a system) may differ unseen.
      assertEquals(JSON.stringify(citations), expected);
    }
  }));

Deno.test("members of gzip data follow each other, and a small file may not become endless", () =>
  withFolder(async (folder) => {
    const path = join(folder, "x.xml.gz");
    const xml = sample();
    const members = [0, 1, 999, 20_000].map((from, i, all) =>
      gzipSync(xml.slice(from, all[i + 1]))
    );
    Deno.writeFileSync(path, concat(...members));
    let count = 0;
    await readXml(path, { citation: () => count++, deletions() {} }, "all");
    assertEquals(count, parse(xml).citations.length);

    const head = gzipSync(encode("<PubmedArticleSet><PubmedArticle><a>"));
    const block = gzipSync(new Uint8Array(16 << 20).fill(0x61));
    Deno.writeFileSync(path, concat(head, ...Array.from({ length: 64 }, () => block)));
    const before = Deno.memoryUsage().rss;
    await assertRejects(
      () => readXml(path, { citation() {}, deletions() {} }, "all"),
      UserError,
      "a record of more than 67108864 bytes",
    );
    assert(Deno.memoryUsage().rss - before < 600e6, "memory grew without bound");
  }));
