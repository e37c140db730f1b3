/** The documents' Parquet files: every field, by another reader, and the schema as documented. @module */
import { parquetMetadata, parquetReadObjects } from "hyparquet";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { join } from "../../core/std.ts";
import { type Citation } from "../../pipeline/citation/types.ts";
import { givenDate, monthNumber, normalizeDate } from "../../pipeline/citation/dates.ts";
import { ParquetFile, ParquetReader } from "../../pipeline/documents/parquet_file.ts";
import {
  COLUMN_NAMES,
  DOCUMENT_SCHEMA,
  DOCUMENTS_SCHEMA_VERSION,
  SCHEMA_KEY,
} from "../../pipeline/documents/schema.ts";
import { DocumentWriter } from "../../pipeline/documents/writer.ts";
import { UserError } from "../../core/errors.ts";
import { assert, assertEquals, assertRejects } from "../assert.ts";
import { integers } from "../random.ts";
import { ROOT } from "../shared.ts";
import { parse, withFolder } from "./support.ts";

/** A citation as its row must be. */
function rowOf(c: Citation, ordinal: number): Record<string, unknown> {
  const published = normalizeDate(c.published);
  return {
    pmid: c.pmid,
    version: c.version,
    ordinal,
    kind: c.kind,
    status: c.status,
    title: c.title,
    vernacular_title: c.vernacularTitle,
    sections: c.sections,
    other_abstracts: c.otherAbstracts,
    languages: c.languages,
    journal: c.journal,
    journal_abbreviation: c.journalAbbreviation,
    nlm_id: c.nlmId,
    published: { given: givenDate(c.published), ...published },
    completed: normalizeDate(c.completed).iso,
    revised: normalizeDate(c.revised).iso,
    publication_types: c.publicationTypes,
    mesh: c.mesh,
    keywords: c.keywords,
    authors: c.authors.map((a) => ({
      last_name: a.lastName,
      fore_name: a.foreName,
      initials: a.initials,
      suffix: a.suffix,
      collective_name: a.collectiveName,
      orcid: a.orcid,
      affiliations: a.affiliations,
    })),
    grants: c.grants,
    article_ids: c.articleIds,
    chemicals: c.chemicals.map((x) => ({
      registry_number: x.registryNumber,
      ui: x.ui,
      name: x.name,
    })),
    references: c.references,
    corrections: c.corrections,
  };
}

const readAll = async (path: string) => {
  const bytes = Deno.readFileSync(path);
  const rows = await parquetReadObjects({
    file: bytes.buffer,
    compressors: { ZSTD: (input: Uint8Array) => zstdDecompressSync(input) },
  });
  return { rows, metadata: parquetMetadata(bytes.buffer) };
};

Deno.test("every field of every fixture comes back from its Parquet file", () =>
  withFolder(async (folder) => {
    for (const name of ["baseline/pubmed26n0001", "updatefiles/pubmed26n0005"]) {
      const data = Deno.readFileSync(join(ROOT, "fixtures/mirror", name + ".xml.gz"));
      const { citations } = parse(gunzipSync(data));
      const path = join(folder, "x.parquet");
      const writer = new DocumentWriter(path, "x", "all");
      citations.forEach((c, i) => writer.add(c, i * 3));
      writer.commit();
      const { rows, metadata } = await readAll(path);
      assertEquals(rows.length, citations.length);
      rows.forEach((row, i) =>
        assertEquals(row as unknown, rowOf(citations[i]!, i * 3) as unknown, `${name} row ${i}`)
      );
      const keys = Object.fromEntries(metadata.key_value_metadata!.map((k) => [k.key, k.value]));
      assertEquals(keys[SCHEMA_KEY], String(DOCUMENTS_SCHEMA_VERSION));
      assert(
        metadata.row_groups.every((g) => g.columns.every((c) => c.meta_data?.codec === "ZSTD")),
      );
    }
  }));

Deno.test("rows of any shape come back: empty and nested lists, long runs, wide dictionaries", () =>
  withFolder(async (folder) => {
    const path = join(folder, "x.parquet");
    const columns = ["pmid", "title", "mesh", "other_abstracts"];
    const at = (name: string) => COLUMN_NAMES.indexOf(name);
    const next = integers(7);
    const words = Array.from({ length: 300 }, (_, i) => `term ${i} \u03b1`.repeat(1 + i % 5));
    const word = () => words[next(next(2) ? 300 : 3)]!;
    const list = <T>(limit: number, make: () => T): T[] =>
      Array.from({ length: next(limit) }, make);
    const rows: unknown[][] = [];
    const empty = (name: string): unknown => {
      const index = DOCUMENT_SCHEMA.findIndex((e) => e.name === name);
      const element = DOCUMENT_SCHEMA[index]!;
      if (element.type === "INT32") return 0;
      if (element.converted_type === "LIST") return [];
      return element.type ? "" : { given: "", iso: "", precision: "" };
    };
    const file = new ParquetFile(path, DOCUMENT_SCHEMA, {});
    for (let r = 0; r < 700; r++) {
      const row = COLUMN_NAMES.map(empty);
      row[at("pmid")] = next(2) ? r : 0x7fffffff - r;
      row[at("title")] = r % 7 ? word() : "x".repeat(next(200)) + "\u{1F9EC}";
      row[at("mesh")] = list(r < 100 ? 1 : 5, () => ({
        ui: word(),
        name: word(),
        major: next(2) === 1,
        qualifiers: list(4, () => ({ ui: word(), name: "same", major: false })),
      }));
      row[at("other_abstracts")] = list(3, () => ({
        type: "t",
        language: word(),
        sections: list(3, () => ({ label: "", category: word(), text: "y".repeat(next(3000)) })),
      }));
      rows.push(row);
      file.add(row);
      if (r === 3 || r === 500) file.endGroup();
    }
    file.commit();
    const found = (await readAll(path)).rows as Record<string, unknown>[];
    assertEquals(found.length, rows.length);
    found.forEach((row, r) => {
      for (const name of columns) assertEquals(row[name], rows[r]![at(name)], `row ${r} ${name}`);
    });
  }));

Deno.test("a file without rows is a Parquet file; a damaged one is refused by name", () =>
  withFolder(async (folder) => {
    const path = join(folder, "x.parquet");
    new DocumentWriter(path, "x", "all").commit();
    assertEquals((await readAll(path)).rows, []);
    Deno.writeTextFileSync(path, "PAR1 and nothing else PAR1");
    const reader = new ParquetReader(path);
    await assertRejects(() => reader.groups(), UserError, path);
    reader.close();
    const writer = new DocumentWriter(join(folder, "y.parquet"), "y", "all");
    writer.abort();
    assertEquals([...Deno.readDirSync(folder)].map((e) => e.name), ["x.parquet"]);
  }));

Deno.test("docs/documents.md names every column and the schema's version", () => {
  const text = Deno.readTextFileSync(join(ROOT, "docs/documents.md"));
  const named = [...text.matchAll(/^\| `([a-z_]+)` +\|/gm)].map((m) => m[1]);
  assertEquals(named, [...COLUMN_NAMES]);
  assert(text.replace(/\s+/g, " ").includes(`version ${DOCUMENTS_SCHEMA_VERSION} of the schema`));
});

Deno.test("publication dates are normalised as exactly as they are given", () => {
  const date = (parts: Partial<Citation["published"]>) => {
    const { iso, precision } = normalizeDate({
      year: "",
      month: "",
      day: "",
      season: "",
      medlineDate: "",
      ...parts,
    });
    return `${iso} ${precision}`.trim();
  };
  const cases: [Partial<Citation["published"]>, string][] = [
    [{ year: "2019", month: "Mar", day: "7" }, "2019-03-07 day"],
    [{ year: "2019", month: "03", day: "07" }, "2019-03-07 day"],
    [{ year: "2019", month: "December" }, "2019-12 month"],
    [{ year: "2019" }, "2019 year"],
    [{ year: "2019", season: "Fall" }, "2019-09 season"],
    [{ year: "2013", season: "Jan-Mar" }, "2013-01 season"],
    [{ year: "2019", month: "Feb", day: "30" }, "2019-02 month"],
    [{ year: "2020", month: "Feb", day: "29" }, "2020-02-29 day"],
    [{ year: "2019", month: "13" }, "2019 year"],
    [{ medlineDate: "1998 Dec-1999 Jan" }, "1998-12 month"],
    [{ medlineDate: "2008 Jan-Mar" }, "2008-01 month"],
    [{ medlineDate: "2018 May - Jun" }, "2018-05 month"],
    [{ medlineDate: "2000 Spring" }, "2000-03 season"],
    [{ medlineDate: "Summer 2000" }, "2000-06 season"],
    [{ medlineDate: "2000 Spring-Summer" }, "2000-03 season"],
    [{ medlineDate: "1947-1948" }, "1947 year"],
    [{ medlineDate: "2008" }, "2008 year"],
    [{ medlineDate: "2015 Nov 5-12" }, "2015-11-05 day"],
    [{ medlineDate: "2015 Nov-Dec 2" }, "2015-11 month"],
    [{ medlineDate: "1st Quart" }, ""],
    [{}, ""],
  ];
  for (const [parts, expected] of cases) assertEquals(date(parts), expected, JSON.stringify(parts));
  assertEquals(["Jan", "may", "SEPT", "9", "0", "x"].map(monthNumber), [1, 5, 9, 9, 0, 0]);
});
