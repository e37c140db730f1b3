/** The live documents of a corpus, by ascending PMID. @module */
import { fail, UserError } from "../../core/errors.ts";
import type { Catalogue } from "../catalogue/catalogue.ts";
import { corpusPaths } from "../corpus_paths.ts";
import { DocumentStore, type PrintedDocument } from "./reader.ts";

/**
 * Yields the live documents; `pmid` narrows to one.
 * @throws {UserError} where a file does not hold what the catalogue says.
 */
export async function* liveDocuments(
  corpus: string,
  catalogue: Catalogue,
  pmid?: number,
): AsyncGenerator<PrintedDocument> {
  const names = new Map(catalogue.files().map((f) => [f.number, f.name]));
  const store = new DocumentStore((source) => corpusPaths.documents(corpus, source));
  for (const { file, ordinal, ...live } of catalogue.live(pmid)) {
    const source = names.get(file) ?? fail(`the catalogue has no file ${file}`);
    const document = await store.get(source, ordinal);
    if (document?.pmid !== live.pmid || document.version !== live.version) {
      throw new UserError(
        `Cannot find PMID ${live.pmid} at record ${ordinal} of ${
          corpusPaths.documents(corpus, source)
        }: ` +
          `the corpus is damaged; "pipeline verify --corpus ${corpus}" says where`,
      );
    }
    yield document;
  }
}
