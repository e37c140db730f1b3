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

/** What names a document within its file. */
interface Key {
  pmid: number;
  version: number;
  ordinal: number;
}

/** The events of a file of the corpus, read back. @throws {UserError} where its documents are damaged. */
export async function readEvents(
  corpus: Pick<Corpus, "folder" | "catalogue">,
  file: { number: number; name: string },
): Promise<FileEvents> {
  using reader = new ParquetReader(corpusPaths.documents(corpus.folder, file.name));
  const pmids: number[] = [];
  const versions: number[] = [];
  const ordinals: number[] = [];
  for await (const { rows } of reader.each<Key>(["pmid", "version", "ordinal"])) {
    for (const { pmid, version, ordinal } of rows) {
      pmids.push(pmid);
      versions.push(version);
      ordinals.push(ordinal);
    }
  }
  const deletions = corpus.catalogue.deletionsOf(file.number);
  return {
    pmids: Int32Array.from(pmids),
    versions: Int32Array.from(versions),
    ordinals: Int32Array.from(ordinals),
    deletedPmids: Int32Array.from(deletions, (d) => d.pmid),
    deletedVersions: Int32Array.from(deletions, (d) => d.version),
    deletedOrdinals: Int32Array.from(deletions, (d) => d.ordinal),
  };
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
