/** The parser against the truth that another parser (lxml) found in real PubMed files. @module */
import { gunzipSync } from "node:zlib";
import { join } from "../../core/std.ts";
import { CitationScanner } from "../../pipeline/citation/builder.ts";
import { abstractText, type Citation, type Deletion } from "../../pipeline/citation/types.ts";
import { assert, assertEquals } from "../assert.ts";
import { SHARED, sharedTest } from "../shared.ts";

interface Truth {
  kind: "article" | "book" | "delete";
  pmid: number;
  version: number;
  pmids: [number, number][];
  [field: string]: unknown;
}

const PUBMED = join(SHARED, "data/pubmed");

function readTruth(name: string): Truth[] {
  const lines = Deno.readTextFileSync(join(PUBMED, "truth", name + ".jsonl")).trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as Truth);
}

/** The XML of a file of the truth, wherever it lies. */
function readXml(name: string): Uint8Array {
  for (const folder of ["baseline", "updatefiles"]) {
    try {
      return gunzipSync(Deno.readFileSync(join(PUBMED, folder, name + ".xml.gz")));
    } catch { /* the next folder */ }
  }
  return Deno.readFileSync(join(PUBMED, "efetch", name + ".xml"));
}

const dateOf = (date: Citation["published"]) =>
  Object.fromEntries(Object.entries(date).filter(([, v]) => v !== "")) as Record<string, string>;

/** A citation in the truth's own words. */
function asTruth(c: Citation): Record<string, unknown> {
  const { medlineDate, ...parts } = dateOf(c.published);
  const ids: Record<string, string> = {};
  for (const id of c.articleIds) ids[id.type] = id.value;
  return {
    kind: c.kind,
    pmid: c.pmid,
    version: c.version,
    status: c.status,
    title: c.title,
    vernacular: c.vernacularTitle,
    abstract: abstractText(c.sections),
    sections: c.sections.map((s) => ({ label: s.label, cat: s.category, text: s.text })),
    languages: c.languages,
    pub_types: c.publicationTypes.map((t) => t.name),
    mesh: c.mesh.map(({ ui, name, major }) => ({ ui, name, major })),
    pub_date: medlineDate ? { medlinedate: medlineDate } : parts,
    completed: dateOf(c.completed),
    revised: dateOf(c.revised),
    journal: c.journal,
    nlm_id: c.nlmId,
    ids,
  };
}

sharedTest("data/pubmed/truth", "every field of every real record equals the truth", () => {
  let records = 0;
  for (const entry of Deno.readDirSync(join(PUBMED, "truth"))) {
    if (!entry.name.endsWith(".jsonl")) continue;
    const name = entry.name.replace(/\.jsonl$/, "");
    const truth = readTruth(name);
    const found: (Citation | Deletion[])[] = [];
    const scanner = new CitationScanner({
      citation: (c) => found.push(c),
      deletions: (d) => found.push(d),
    });
    scanner.push(readXml(name));
    scanner.finish();
    assertEquals(found.length, truth.length, name);
    truth.forEach((expected, i) => {
      const item = found[i]!;
      if (Array.isArray(item)) {
        assertEquals(item.map((d) => [d.pmid, d.version]), expected.pmids, name);
        return;
      }
      records++;
      for (const [key, value] of Object.entries(asTruth(item))) {
        assertEquals(value, expected[key] ?? {}, `${name} PMID ${expected.pmid}: ${key}`);
      }
    });
  }
  assert(records >= 451, `${records} records compared`);
});
