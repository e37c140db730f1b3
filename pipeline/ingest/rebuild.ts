/**
 * Builds the citations anew from the documents and deletions of every file: needed after a file
 * was issued again, because the catalogue keeps only the latest event of each version.
 * @module
 */
import type { FileEvents } from "../catalogue/catalogue.ts";
import type { Corpus } from "../corpus.ts";
import { checkDocuments } from "./check_documents.ts";
import { ParquetReader } from "../documents/parquet_file.ts";
import { corpusPaths } from "../corpus_paths.ts";

/** The events of a file of the corpus, read back. @throws {UserError} where its documents are damaged. */
export async function readEvents(
  corpus: Pick<Corpus, "folder" | "catalogue">,
  file: { number: number; name: string },
): Promise<FileEvents> {
  const reader = new ParquetReader(corpusPaths.documents(corpus.folder, file.name));
  try {
    const total = (await reader.groups()).reduce((sum, n) => sum + n, 0);
    const rows = await reader.rows<{ pmid: number; version: number; ordinal: number }>(
      0,
      total,
      ["pmid", "version", "ordinal"],
    );
    const deletions = corpus.catalogue.deletionsOf(file.number);
    return {
      pmids: Int32Array.from(rows, (r) => r.pmid),
      versions: Int32Array.from(rows, (r) => r.version),
      ordinals: Int32Array.from(rows, (r) => r.ordinal),
      deletedPmids: Int32Array.from(deletions, (d) => d.pmid),
      deletedVersions: Int32Array.from(deletions, (d) => d.version),
      deletedOrdinals: Int32Array.from(deletions, (d) => d.ordinal),
    };
  } finally {
    reader.close();
  }
}

/** Replaces all citations by what the files say, in one transaction. */
export async function rebuildCitations(corpus: Corpus): Promise<void> {
  const { catalogue } = corpus;
  await catalogue.rebuild(async (apply) => {
    for (const file of catalogue.files()) {
      checkDocuments(corpus.folder, file);
      apply(file.number, await readEvents(corpus, file));
    }
  });
}
