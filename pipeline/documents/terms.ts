/** Names of drugs, genes and diseases, as the citations of a corpus are indexed with them. @module */
import type { Catalogue } from "../catalogue/catalogue.ts";
import { LiveBits } from "../catalogue/live_set.ts";
import { corpusPaths } from "../corpus_paths.ts";
import { ParquetReader } from "./parquet_file.ts";

/** Kinds of terms. */
type TermKind = "substances" | "genes" | "diseases" | "MeSH headings";

/** MeSH allows these qualifiers with diseases (category C) and hardly anywhere else. */
const OF_DISEASES = new Set([
  "complications",
  "diagnosis",
  "drug therapy",
  "epidemiology",
  "etiology",
  "mortality",
  "prevention & control",
]);
/** Supplementary names such as "TP53 protein, human" name a gene's product. */
const GENE = /^([\w-]+)(?: protein)?, (?:human|mouse|rat)$/i;

interface Row {
  pmid: number;
  version: number;
  ordinal: number;
  mesh: { name: string; qualifiers: { name: string }[] }[];
  chemicals: { name: string }[];
}

/** The distinct terms of the live citations, each under its kinds, sorted. */
export async function corpusTerms(
  corpus: string,
  catalogue: Catalogue,
): Promise<Map<TermKind, string[]>> {
  const found: Record<TermKind, Set<string>> = {
    substances: new Set(),
    genes: new Set(),
    diseases: new Set(),
    "MeSH headings": new Set(),
  };
  const live = new LiveBits(catalogue);
  for (const { name: source } of catalogue.files()) {
    using reader = new ParquetReader(corpusPaths.documents(corpus, source));
    const columns = ["pmid", "version", "ordinal", "mesh", "chemicals"];
    for await (const { rows } of reader.each<Row>(columns)) {
      for (const row of rows) {
        if (!live.isLive(source, row.pmid, row.version, row.ordinal)) continue;
        for (const { name, qualifiers } of row.mesh) {
          found["MeSH headings"].add(name);
          if (qualifiers.some((q) => OF_DISEASES.has(q.name))) found.diseases.add(name);
        }
        for (const { name } of row.chemicals) {
          const gene = GENE.exec(name)?.[1];
          if (gene) found.genes.add(gene);
          else found.substances.add(name);
        }
      }
    }
  }
  return new Map(
    Object.entries(found).map(([kind, names]) => [kind as TermKind, [...names].sort()]),
  );
}
