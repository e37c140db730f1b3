/** What documents can be told apart by: their year, their types, their MeSH headings. @module */
import { exists } from "../../core/files.ts";
import { ParquetReader } from "../documents/parquet_file.ts";
import { corpusPaths, documentsHome } from "../corpus_paths.ts";
import type { MeshBranches } from "./mesh_tree.ts";

/** What documents can be told apart by. */
export const FACETS = ["year", "type", "mesh", "branch"] as const;
/** One of {@linkcode FACETS}. */
export type Facet = typeof FACETS[number];

/** A document's groups in each facet. */
type Facts = Record<Facet, string[]>;

/** A citation's columns that its groups come from. */
interface Row {
  pmid: number;
  version: number;
  published: { iso: string };
  publication_types: { name: string }[];
  mesh: { ui: string; name: string; major: boolean }[];
}

/**
 * What some documents of a source file are, by "PMID.version", as the corpus's documents have it.
 * @param branches where MeSH headings stand, for the facet "branch"
 */
export async function documentFacts(
  corpus: string,
  source: string,
  documents: readonly { pmid: number; version: number }[],
  branches: MeshBranches,
): Promise<Map<string, Facts>> {
  const path = corpusPaths.documents(documentsHome(corpus), source);
  const found = new Map<string, Facts>();
  if (!exists(path)) return found;
  const wanted = new Set(documents.map((d) => `${d.pmid}.${d.version}`));
  const columns = ["pmid", "version", "published", "publication_types", "mesh"];
  const orNone = (names: string[]) => names.length ? names : ["none"];
  using reader = new ParquetReader(path);
  for await (const { rows } of reader.each<Row>(columns)) {
    for (const { pmid, version, published, publication_types, mesh } of rows) {
      const key = `${pmid}.${version}`;
      if (!wanted.has(key)) continue;
      found.set(key, {
        year: [published.iso.slice(0, 4) || "unknown"],
        type: orNone(publication_types.map((t) => t.name)),
        mesh: orNone(mesh.filter((m) => m.major).map((m) => m.name)),
        branch: orNone([...new Set(mesh.flatMap((m) => branches(m.name, m.ui)))]),
      });
    }
  }
  return found;
}
